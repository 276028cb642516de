"""OPT023: a hyperparameter that nothing reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.lazy_regex import lazy_regex
from convlint.rules import Rule
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import TrainingProgram

HYPERPARAMETER = lazy_regex(
    r"^(base_|max_|initial_)?(lr|learning_rate)$|^(weight_decay|wd|momentum)$"
    r"|^(max_)?(grad(ient)?_(clip(ping)?|norm)(_val(ue)?|_norm)?|clip(_grad)?(_norm|_val(ue)?)?)$"
    r"|^(grad(ient)?_)?accum(ulat(e|ion))?(_(steps|iter(s|ations)?|grad(_batches)?))?$",
    re.IGNORECASE,
)


class UnusedHyperparameter(Rule):
    """A hyperparameter is defined and nothing reads it.

    ## What it does
    Reports an option of the command line, or a constant of the script, that is named like a learning
    rate, weight decay, momentum, clipping threshold or number of accumulation steps, when nothing
    reads it. Only in a script that trains.

    ## Why it hurts
    The run uses another value, often the default of the library, or a copy that will not follow when
    this one is changed; the log and the sweep say this one.

    ## Example
        import argparse
        import torch
        from torch import nn

        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float, default=0.1)
        parser.add_argument("--weight-decay", type=float, default=1e-4)
        args = parser.parse_args()
        model = nn.Linear(8, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for step in range(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    ## Use instead
        import argparse
        import torch
        from torch import nn

        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float, default=0.1)
        parser.add_argument("--weight-decay", type=float, default=1e-4)
        args = parser.parse_args()
        model = nn.Linear(8, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for step in range(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    ## When it is fine
    Configurations for other files, arguments handed on as a whole (`vars(args)`, `train(args)` of
    another module), and names that occur anywhere else in the file, a text included: none is
    reported.

    ## Measured
    Not measured: the probe sees the values the run uses, not those it does not.

    ## References
    - Python documentation, `argparse`
    """

    code, slug, severity = "OPT023", "unused-hyperparameter", Severity.WARNING
    unmeasured_because = "the probe sees the values a run uses, not those it does not"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per setting."""
        if program.role != "script" or program.managed:
            return
        wanted = [setting for setting in program.unread if HYPERPARAMETER.match(setting.name)]
        if not wanted or not any(not loop.entry.standalone for loop in training_loops(program)):
            return
        for setting in wanted:
            what = "option" if setting.kind == "option" else "constant"
            yield self.finding(
                setting.location,
                f"nothing reads the {what} `{setting.name}`: changing it changes nothing",
                help="pass it to the optimizer (or to what it is for), or remove it",
            )
