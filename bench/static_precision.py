"""How right the findings from source are over the fixtures, before and after the measurements.

    python bench/static_precision.py [--tier quick] [--steps 60] [--json FILE] [SCRIPT ...]

Every script of fixtures/healthy, sick and mistaken (healthy ones in which the source alone gives a
wrong warning) is checked and probed as the audit does. A finding from source is *true*
where the script's label (``# expect: slug``) stands at its line, *false* where it is a warning or an
error without a label, and *unjudged* where it is only worth knowing (info) or in doubt (low
confidence): labels do not speak of those. The table says how many of each kind were confirmed,
refuted and left unmeasured, and the precision that follows: true over true and false, before the
measurements; afterwards without what they refuted; and among what they confirmed alone.

Without SCRIPT all fixtures are run: about ten seconds for each at tier quick.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path

from convlint.audit import join
from convlint.engine import check_paths
from convlint.findings import Confidence, Finding, Severity, Verdict
from convlint.launch import run_probe
from convlint.rules import find_rule
from convlint.settings import Overrides

FIXTURES = Path(__file__).parent.parent / "fixtures"
KINDS = ("true", "false", "unjudged")


def labelled(script: Path) -> set[tuple[int, str]]:
    """Lines and slugs of the findings a script says must be found in it."""
    found = set()
    for number, line in enumerate(script.read_text().splitlines(), start=1):
        if expected := re.search(r"# expect: (.+)$", line):
            found.update((number, slug.strip()) for slug in expected[1].split(","))
    return found


def kind_of(finding: Finding, labels: set[tuple[int, str]]) -> str:
    """Whether a finding from source is true, false, or nothing the labels speak of."""
    if (finding.location.line, finding.slug) in labels:
        return "true"
    in_doubt = finding.severity is Severity.INFO or finding.confidence is Confidence.LOW
    return "unjudged" if in_doubt else "false"


def measurable(slug: str) -> bool:
    """Whether any measurement bears on findings of this rule."""
    rule = find_rule(slug)
    return rule is not None and (rule.has_measured() or bool(rule.confirmed_by))


def audited(script: Path, tier: str, steps: int, budget: float) -> list[dict[str, str]]:
    """Each finding from source: its rule, kind and verdict, and whether it could be measured."""
    everything = Overrides(min_confidence=Confidence.LOW, show_info=True)
    static = check_paths((script,), everything).findings
    labels = labelled(script)
    seen = run_probe(str(script), tier=tier, steps=steps, budget=budget, device="cpu")
    before = {(f.slug, f.location): kind_of(f, labels) for f in static}
    joined, _ = join(static, seen)
    return [
        {
            "script": script.stem,
            "slug": finding.slug,
            "line": str(finding.location.line),
            "kind": before[finding.slug, finding.location],
            "verdict": finding.judgement.verdict.value,
            "measurable": "yes" if measurable(finding.slug) else "no",
            "reason": finding.judgement.reason,
        }
        for finding in joined
        if finding.judgement is not None
    ]


def ratio(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" = {100 * part / whole:.0f} %" if whole else "")


def print_table(rows: list[dict[str, str]]) -> None:
    """Verdicts by kind, the precision before and after, and the findings that disagree."""
    verdicts = [v.value for v in (Verdict.CONFIRMED, Verdict.REFUTED, Verdict.UNMEASURED)]
    counts = Counter((row["kind"], row["verdict"]) for row in rows)
    print(f"{'finding from source':<22}" + "".join(f"{v:>12}" for v in verdicts) + f"{'all':>8}")
    for kind in KINDS:
        numbers = [counts[kind, verdict] for verdict in verdicts]
        print(f"{kind:<22}" + "".join(f"{n:>12}" for n in numbers) + f"{sum(numbers):>8}")

    def of(kind: str, *which: str) -> int:
        return sum(counts[kind, verdict] for verdict in which or verdicts)

    kept = (Verdict.CONFIRMED.value, Verdict.UNMEASURED.value)
    print()
    print("precision before:          ", ratio(of("true"), of("true") + of("false")))
    print(
        "precision, refuted dropped:",
        ratio(of("true", *kept), of("true", *kept) + of("false", *kept)),
    )
    only = Verdict.CONFIRMED.value
    print(
        "precision of the confirmed:", ratio(of("true", only), of("true", only) + of("false", only))
    )
    can = [row for row in rows if row["measurable"] == "yes"]
    decided = [row for row in can if row["verdict"] != Verdict.UNMEASURED.value]
    print("measurable ones decided:   ", ratio(len(decided), len(can)))
    weighty = [row for row in can if row["kind"] != "unjudged"]
    decided = [row for row in weighty if row["verdict"] != Verdict.UNMEASURED.value]
    print("  of warnings and errors:  ", ratio(len(decided), len(weighty)))
    wrong = [
        row
        for row in rows
        if (row["kind"], row["verdict"])
        in (("true", Verdict.REFUTED.value), ("false", Verdict.CONFIRMED.value))
    ]
    print("true refuted, false confirmed:", len(wrong))
    for row in wrong:
        print(f"  {row['script']}:{row['line']} {row['slug']} {row['kind']}: {row['reason']}")
    print()
    for row in rows:
        if row["measurable"] == "yes" and row["verdict"] == Verdict.UNMEASURED.value:
            print(f"undecided: {row['script']}:{row['line']} {row['slug']}: {row['reason']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scripts", nargs="*", type=Path, metavar="SCRIPT")
    parser.add_argument("--tier", default="quick")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--budget", type=float, default=300.0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every finding here")
    given = parser.parse_args()
    folders = ("healthy", "mistaken", "sick")
    scripts = given.scripts or [
        script for folder in folders for script in sorted((FIXTURES / folder).glob("*.py"))
    ]
    rows: list[dict[str, str]] = []
    for script in scripts:
        started = time.monotonic()
        rows += audited(script, given.tier, given.steps, given.budget)
        print(f"{script.stem}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1))
    print(f"{len(scripts)} scripts, tier {given.tier}, {given.steps} steps")
    print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
