"""``unused-suppression``: comments that silence nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Severity
from convlint.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convlint.findings import Finding
    from convlint.program.facts import TrainingProgram


class UnusedSuppression(Rule):
    """A comment silences a rule that does not exist or has nothing to say there.

    ## What it does
    Reports each name in a `# convlint:` comment (`ignore`, `ignore-next-line`, `ignore-file`,
    `disable`) that no rule has, or whose rule reports nothing there; codes of ours in a `noqa`
    that silence nothing; and an `enable` with nothing to end. `--fix` takes the name out, or the
    whole comment with its last name; what a misspelt name was meant to be is a guess, so that fix
    is unsafe.
    ## Why it hurts
    A misspelt name silences nothing. A comment left behind after its fault was put right hides the
    fault when it comes back.
    ## Example
        import torch

        model = torch.nn.Linear(4, 1)  # convlint: ignore[unknown-rule-name]
    ## Use instead
        import torch

        model = torch.nn.Linear(4, 1)
    ## When it is fine
    A rule that also judges a run is never called unused: the comment may be there for
    `convlint probe`. Neither are rules that were not selected, comments that name no rule, codes
    of other linters, and files that only define what other files run, when these are not checked beside them.
    ## Measured
    No: it speaks of comments alone.
    ## References
    - Ruff, [unused-noqa](https://docs.astral.sh/ruff/rules/unused-noqa/)
    """

    code, slug, severity = "SUP001", "unused-suppression", Severity.WARNING
    fix = Applicability.SAFE

    def static(self, program: TrainingProgram) -> Iterable[Finding]:
        """Nothing: what a comment silences is known once every other rule has spoken."""
        return ()
