"""Runs the rules over source: files in, findings out.

A file that cannot be read or parsed, and a rule that fails, become a line for the user; the other
files and rules go on.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from convlint import sources
from convlint.catalogue import cards_of, rule_cards
from convlint.config import SettingsFinder
from convlint.dependencies import Surroundings
from convlint.errors import UserError
from convlint.findings import Confidence, Finding
from convlint.gathering import Gathering
from convlint.judge import Judge, collecting_between_files
from convlint.judging import run_measured_rules, run_rules
from convlint.outcome import Outcome, keep_wanted, unused_comments
from convlint.selection import RuleChoice, resolve_selection
from convlint.settings import Overrides
from convlint.suppressions import find_suppressions, without_suppressed
from convlint.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from convlint.rules import Rule

__all__ = [
    "STDIN",
    "STDIN_NAME",
    "Outcome",
    "check_paths",
    "check_source",
    "keep_wanted",
    "run_measured_rules",
    "run_rules",
]

STDIN = "-"
STDIN_NAME = "<stdin>"


def check_paths(
    paths: Iterable[str | os.PathLike[str]],
    overrides: Overrides | None = None,
    *,
    stdin: bytes | None = None,
    stdin_name: str = STDIN_NAME,
    facts_only: bool = False,
    replaced: Mapping[str, bytes] = MappingProxyType({}),
    cache: Path | None = None,
    jobs: int = 1,
    on_note: Callable[[str], None] = lambda note: None,
) -> Outcome:
    """Check files and directories; ``-`` stands for ``stdin``, shown as ``stdin_name``.

    With ``facts_only`` no rule runs and ``programs`` holds what was extracted. ``replaced`` has
    bytes that stand for those on the disk, by shown path: files as they would be once fixed.
    ``cache`` is the directory where reports are kept from one run to the next, ``jobs`` the
    processes that share the work when there is much. ``on_note`` hears what only someone who
    wonders about the speed wants to know.

    Raises:
        UserError: the configuration or the choice of rules has a mistake.
    """
    named = [os.fspath(path) for path in paths]
    surroundings = Surroundings()
    if cache is None or facts_only or replaced or STDIN in named:
        memory = None
    else:
        from convlint.memory import Memory

        memory = Memory(cache, surroundings, on_note)
    known = contextlib.nullcontext() if memory is None else memory.rules_known()
    with known, collecting_between_files():
        finder = SettingsFinder(overrides)
        outcome = Outcome()
        for name in filter(None, named):
            finder.for_directory(Path(name) if Path(name).is_dir() else Path(name).parent)
        if STDIN in named:
            shown = sources.display_path(Path(stdin_name))
            replaced = {shown: stdin or b"", **replaced}
        for changed, data in replaced.items():
            with contextlib.suppress(UserError):
                outcome.sources[changed] = sources.decode(data, changed)
        judge = Judge(finder, surroundings, replaced)
        work = Workload(finder, judge, outcome, replaced, memory, surroundings)
        found = work.find(name for name in named if name != STDIN)
        if STDIN in named:
            rest = (e for e in found if isinstance(e, UserError) or e[1] != shown)
            found = [(stdin_name, shown), *rest]
        if facts_only:
            work.extract(found)
            return outcome
        files = [entry for entry in found if not isinstance(entry, UserError)]
        reports = work.reports(files, overrides, jobs)
        gathering = Gathering(finder, outcome)
        for entry in found:
            if isinstance(entry, UserError):
                outcome.problems.append(entry)
            else:
                path, shown = entry
                gathering.take(reports[shown], path, shown)
        in_walk = any(name != STDIN and Path(name).is_dir() for name in named)
        gathering.settle(whole_project=in_walk)
    return outcome


def check_source(
    source: str,
    path: str = STDIN_NAME,
    *,
    select: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
    rules: Iterable[Rule] | None = None,
    min_confidence: Confidence = Confidence.MEDIUM,
    project_root: Path | None = None,
) -> list[Finding]:
    """Every finding of any severity in one source text, configuration files left aside.

    ``select`` and ``ignore`` take slugs, codes and code prefixes; ``rules`` runs exactly these
    rules instead. Suppression comments hold.

    Raises:
        UserError: a name matches no rule.
        convlint.program.SourceSyntaxError: ``source`` does not parse.
    """
    from convlint.program import extract_program
    from convlint.rules import all_rules

    if rules is None:
        choice = RuleChoice(select=None if select is None else tuple(select), ignore=tuple(ignore))
        selection = resolve_selection((choice,))
        rules = (rule for rule in all_rules() if rule.slug in selection)
    if not sources.may_matter(source.encode(errors="surrogatepass")):
        return []
    program = extract_program(source, path, project_root=project_root)
    rules = tuple(rules)
    findings = run_rules(rules, program)
    suppressions = find_suppressions(source)
    judged = {rule.slug for rule in rules}
    known = tuple({card.slug: card for card in (*rule_cards(), *cards_of(rules))}.values())
    unused = unused_comments(suppressions, findings, path, judged, judged, known, {path: source})
    kept = without_suppressed([*findings, *unused], suppressions)
    kept = [finding for finding in kept if finding.confidence.rank >= min_confidence.rank]
    return sorted(kept, key=lambda finding: finding.sort_key)
