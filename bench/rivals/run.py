"""Side by side on the same files: true findings, false findings and misses of convlint and others.

    python bench/rivals/run.py --environments DIR [CHECKOUT...] [--list all|false|missed|unjudged]

``DIR`` keeps a virtual environment for each peer, made with pip on the first run: torch-preflight,
mldoct and TorchFix, in the versions ``tools.py`` names. Three sets of files are looked at:

* **fixtures**: ``fixtures/sick`` and ``fixtures/healthy``, with the labels they carry;
* **scripts**: ``bench/rivals/scripts``, each with one fault or a healthy look-alike of one;
* **public**: every ``.py`` file of the checkouts on the command line (the figures in the commit
  history are from pytorch/examples, nanoGPT, mae, pytorch-cifar and cleanrl).

``kinds.toml`` says what fault each code of each tool is about. A label ``# expect: kind`` (or a
rule's slug) at the end of a line makes one fault. A finding is true when its file has a label of
its kind, false when it has not, a repeat when it says again what was already found there; the
line does not matter, since tools differ in where they point. What a tool ranks below a warning,
and checks that are not about training going wrong, are hints and count for and against nobody.

Public code has no labels. There each finding is judged by hand in ``judgements.toml``: by tool,
code and file, true or false, with the reason. The faults of public code are those that any of the
tools rightly finds. A judgement of a fixture or script goes before its labels. Findings nobody has
judged are counted apart, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from tools import OWN, PEERS, Reported, ToolFailed, install, run_convlint

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LABEL = re.compile(r"# expect: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Judgement:
    """What reading the code says of the findings of ``codes`` in files that match ``files``."""

    tool: str
    codes: tuple[str, ...]
    files: tuple[str, ...]
    lines: tuple[int, ...]
    true: bool
    reason: str

    def covers(self, finding: Reported, name: str) -> bool:
        """Whether ``finding``, in the file called ``name``, is one of these."""
        return (
            self.tool == finding.tool
            and finding.code in self.codes
            and any(fnmatch(name, pattern) for pattern in self.files)
            and (not self.lines or finding.line in self.lines)
        )


@dataclass
class Kinds:
    """Which kinds of fault the codes of each tool are about; the first letters of hints."""

    by_code: dict[tuple[str, str], set[str]]
    hints: dict[str, list[str]]

    def of(self, tool: str, code: str) -> set[str]:
        """The kinds that ``code`` may mean; convlint's own slug where the table has none."""
        return self.by_code.get((tool, code), {code})

    def is_hint(self, finding: Reported) -> bool:
        """Whether the finding is not about training going wrong, or not meant as a warning."""
        if finding.hint:
            return True
        if (finding.tool, finding.code) in self.by_code:
            return False
        return finding.code.startswith(tuple(self.hints.get(finding.tool, ())))


@dataclass
class Score:
    """What one tool did on one set of files."""

    true: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    repeats: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    hints: int = 0


def read_kinds(path: Path = HERE / "kinds.toml") -> Kinds:
    """The table of kinds."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    by_code: dict[tuple[str, str], set[str]] = {}
    for kind, tools in table["kinds"].items():
        for tool, codes in tools.items():
            for code in codes:
                by_code.setdefault((tool, code), set()).add(kind)
    return Kinds(by_code, table["hints"])


def read_judgements(path: Path = HERE / "judgements.toml") -> list[Judgement]:
    """The judgements by hand."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["judgement"]
    return [
        Judgement(
            entry["tool"],
            tuple(entry["codes"]),
            tuple(entry["files"]),
            tuple(entry.get("lines", ())),
            entry["true"],
            entry["reason"],
        )
        for entry in entries
    ]


def labels_of(file: Path, kinds: Kinds) -> Counter[str]:
    """The kinds of fault that the file is labelled with."""
    found: Counter[str] = Counter()
    for match in LABEL.finditer(file.read_text(encoding="utf-8")):
        for label in match[1].split(","):
            found.update(kinds.of(OWN, label.strip()))
    return found


def score(
    findings: list[Reported],
    names: dict[Path, str],
    kinds: Kinds,
    judgements: list[Judgement],
    labelled: bool,
) -> Score:
    """Sort the findings of one tool into true, false and repeated ones, and hints.

    ``names`` has the files looked at. Faults of ``labelled`` files that stay unfound are missed.
    """
    result = Score()
    left = {file: labels_of(file, kinds) if labelled else Counter() for file in names}
    expected = {file: set(labels) for file, labels in left.items()}
    for finding in sorted(findings, key=lambda one: (str(one.path), one.line, one.code)):
        file = finding.path.resolve()
        name = names[file]
        text = f"{name}:{finding.line} {finding.code}"
        if kinds.is_hint(finding):
            result.hints += 1
            continue
        meant = kinds.of(finding.tool, finding.code)
        judged = next((one for one in judgements if one.covers(finding, name)), None)
        if judged is not None:
            (result.true if judged.true else result.false).append(f"{text} {judged.reason}")
            continue
        if not labelled:
            result.unjudged.append(text)
            continue
        hit = next((kind for kind in sorted(meant) if left[file][kind] > 0), None)
        if hit is not None:
            left[file][hit] -= 1
            result.true.append(text)
        elif meant & expected[file]:
            result.repeats.append(text)
        else:
            result.false.append(text)
    for file, labels in left.items():
        result.missed += [f"{names[file]} {kind}" for kind in (+labels).elements()]
    return result


def faults_found(entries: list[str], tool: str, kinds: Kinds) -> set[tuple[str, str]]:
    """(file, kind) of each true finding in public code."""
    found = set()
    for entry in entries:
        where, code = entry.split(" ")[:2]
        found.add((where.rpartition(":")[0], min(kinds.of(tool, code))))
    return found


def files_below(folders: list[Path]) -> dict[Path, str]:
    """Every Python file, with the name it goes by: its path from the folder above ``folders``."""
    return {
        file.resolve(): file.resolve().relative_to(folder.resolve().parent).as_posix()
        for folder in folders
        for file in sorted(folder.rglob("*.py"))
    }


def main() -> int:
    """Install, run, judge and print the table; 1 when findings wait for a judgement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkouts", nargs="*", type=Path)
    parser.add_argument("--environments", type=Path, required=True, metavar="DIR")
    parser.add_argument("--list", choices=["all", "false", "missed", "unjudged"], dest="listed")
    options = parser.parse_args()
    for checkout in options.checkouts:
        if not checkout.is_dir():
            parser.error(f"{checkout} is not a directory")
    kinds, judgements = read_kinds(), read_judgements()
    sets = {
        "fixtures": files_below([ROOT / "fixtures" / "sick", ROOT / "fixtures" / "healthy"]),
        "scripts": files_below([HERE / "scripts"]),
        "public": files_below(options.checkouts),
    }
    runners = {OWN: run_convlint}
    for peer in PEERS:
        try:
            environment = install(peer, options.environments)
        except ToolFailed as error:
            print(error, file=sys.stderr)
            continue
        runners[peer.name] = lambda files, peer=peer, environment=environment: peer.run(
            environment, files
        )
    print(
        f"{'':10}{'':18}{'true':>6}{'false':>7}{'missed':>8}{'repeats':>9}{'hints':>7}{'unjudged':>10}"
    )
    waiting = 0
    for name, files in sets.items():
        if not files:
            continue
        scores: dict[str, Score] = {}
        for tool, run in runners.items():
            try:
                findings = run(list(files))
            except ToolFailed as error:
                print(f"{tool}: {error}", file=sys.stderr)
                continue
            scores[tool] = score(findings, files, kinds, judgements, name != "public")
        if name == "public":
            found = {tool: faults_found(one.true, tool, kinds) for tool, one in scores.items()}
            every = set().union(*found.values())
            for tool, one in scores.items():
                one.missed = sorted(" ".join(fault) for fault in every - found[tool])
        for tool, one in scores.items():
            waiting += len(one.unjudged)
            print(
                f"{name:10}{tool:18}{len(one.true):6}{len(one.false):7}{len(one.missed):8}"
                f"{len(one.repeats):9}{one.hints:7}{len(one.unjudged):10}",
                flush=True,
            )
            for kind in ("true", "false", "missed", "repeats", "unjudged"):
                if options.listed in ("all", kind):
                    for entry in getattr(one, kind):
                        print(f"    {kind}: {entry}")
    return 1 if waiting else 0


if __name__ == "__main__":
    raise SystemExit(main())
