"""Recall on real repairs: does a rule fire on the version before a fix, and not after it?

    python bench/history/run.py --clones DIR [--commits FILE] [--only TEXT] [--failures]

``commits.toml`` lists commits that repaired a fault of training, chosen by their messages and
diffs; ``held_out.toml`` lists others, of repositories the rules were not written against. ``DIR`` has clones of the repositories in folders named ``owner+name`` (a bare repository
there, or in ``owner+name/repo``, serves as well). Of both versions the Python files of the whole
tree are unpacked into a temporary folder, so that imports resolve, and ``convlint check --select``
runs on the files of the entry with the rules that the fault is expected to set off.

A repair is recalled when one of its rules fires on the parent and none on the commit itself.
Entries with ``hidden`` are faults that no careful reader could see in those files alone; they are
listed, and left out of the recall. Clones that are not there are skipped and counted.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

COMMITS = Path(__file__).with_name("commits.toml")
FAILED = 2
"""Exit code of a check that could not read a file, or in which a rule failed."""


@dataclass(frozen=True)
class Repair:
    """One commit that repaired a fault; ``hidden`` says why source cannot show it ("" if it can)."""

    repository: str
    commit: str
    paths: tuple[str, ...]
    rules: tuple[str, ...]
    note: str
    hidden: str = ""


def read_repairs(path: Path = COMMITS) -> list[Repair]:
    """The entries of ``commits.toml``."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["repair"]
    return [
        Repair(
            entry["repository"],
            entry["commit"],
            tuple(entry["paths"]),
            tuple(entry["rules"]),
            entry["note"],
            entry.get("hidden", ""),
        )
        for entry in entries
    ]


def find_clone(clones: Path, repository: str) -> Path | None:
    """The git directory of ``repository`` under ``clones``, None when there is none."""
    folder = clones / repository.replace("/", "+")
    for candidate in (folder, folder / "repo", folder / "repo" / ".git"):
        if (candidate / ".git").exists() or (candidate / "HEAD").is_file():
            return candidate
    return None


def unpack(clone: Path, revision: str, into: Path) -> None:
    """Write the Python files of ``revision`` under ``into``."""
    archive = subprocess.run(
        ["git", "-C", str(clone), "archive", revision, "--", ":(glob)**/*.py"],
        capture_output=True,
        check=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        members.extractall(into, filter="data")


def count_findings(tree: Path, paths: tuple[str, ...], rules: tuple[str, ...]) -> int:
    """Findings of ``rules`` in those of ``paths`` that exist under ``tree``."""
    there = [path for path in paths if (tree / path).is_file()]
    if not there:
        return 0
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "convlint", "check", "--quiet", "--output-format", "json"),
            *("--select", ",".join(rules), "--", *there),
        ],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode == FAILED:
        print(f"       {ran.stderr.strip() or ran.stdout.strip()[:400]}")
    try:
        report = json.loads(ran.stdout)
    except json.JSONDecodeError:
        raise SystemExit(f"convlint failed on {' '.join(there)}:\n{ran.stderr}") from None
    return sum(finding["slug"] in rules for finding in report["findings"])


def judge(clone: Path, repair: Repair) -> tuple[int, int]:
    """Findings of the expected rules before and after the commit."""
    counts = []
    for revision in (f"{repair.commit}^", repair.commit):
        with tempfile.TemporaryDirectory() as folder:
            unpack(clone, revision, Path(folder))
            counts.append(count_findings(Path(folder), repair.paths, repair.rules))
    return counts[0], counts[1]


def main() -> None:
    """Print the table and the recall."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clones", type=Path, action="append", required=True, metavar="DIR")
    parser.add_argument("--commits", type=Path, default=COMMITS, metavar="FILE", help="the list")
    parser.add_argument("--only", default="", help="repositories, commits or rules with this text")
    parser.add_argument("--failures", action="store_true", help="leave out what is recalled")
    arguments = parser.parse_args()
    recalled = seen = hidden = absent = 0
    print(f"{'before':>6} {'after':>5}  {'':8}  commit")
    for repair in read_repairs(arguments.commits):
        if arguments.only not in " ".join((repair.repository, repair.commit, *repair.rules)):
            continue
        found = (find_clone(clones, repair.repository) for clones in arguments.clones)
        clone = next((candidate for candidate in found if candidate is not None), None)
        if clone is None:
            absent += 1
            continue
        before, after = judge(clone, repair)
        good = before > 0 and after == 0
        if repair.hidden:
            hidden += 1
            outcome = "(hidden)"
        else:
            seen += 1
            recalled += good
            outcome = "recalled" if good else "stays" if before else "missed"
        if good and arguments.failures:
            continue
        where = f"{repair.repository}@{repair.commit[:8]} {repair.paths[0]}"
        print(f"{before:6} {after:5}  {outcome:8}  {where}  {', '.join(repair.rules)}", flush=True)
    share = f" ({100 * recalled / seen:.0f} %)" if seen else ""
    print(f"\nrecalled {recalled} of {seen} visible faults{share}; {hidden} hidden", end="")
    print(f"; {absent} skipped: no clone" if absent else "")


if __name__ == "__main__":
    main()
