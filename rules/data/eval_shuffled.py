"""DAT005: a validation loader that shuffles."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.lazy_regex import lazy_regex
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.datasets import (
    is_evaluating,
)
from convlint.rules.patterns.flows import (
    objects_by_id,
    one_per_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )


TO_LOOK_AT = lazy_regex(r"sampl|vis(?!ion)|plot|show|demo|preview|display", re.IGNORECASE)
"""Names of loaders that draw a few random samples to look at."""


class EvalShuffled(Rule):
    """The validation or test loader shuffles.

    ## What it does
    Reports `shuffle=True` on a loader that serves validation or test.

    ## Why it hurts
    Shuffling costs nothing in the metric of a full pass, but predictions no longer line up with
    the data, partial passes differ from run to run, and random numbers are drawn that the training
    then lacks.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        val_set = datasets.CIFAR10("data", train=False, transform=transforms.Compose([transforms.ToTensor()]))
        val_loader = DataLoader(val_set, batch_size=64, shuffle=True)

    ## Use instead
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        val_set = datasets.CIFAR10("data", train=False, transform=transforms.Compose([transforms.ToTensor()]))
        val_loader = DataLoader(val_set, batch_size=64)

    ## When it is fine
    Looking at random samples.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `torch.utils.data.DataLoader`
    """

    code, slug, severity = "DAT005", "eval-shuffled", Severity.INFO
    fix = Applicability.SAFE
    default = False
    unmeasured_because = "the probe sees batches, not how they were put together"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per loader."""
        objects = objects_by_id(program)
        reported: set[Location] = set()
        for loader in program.objects:
            shuffle = loader.args.get("shuffle")
            if (
                loader.cls != "torch.utils.data.DataLoader"
                or shuffle is None
                or shuffle.constant is not True
            ):
                continue
            if any(TO_LOOK_AT.search(name) for name in loader.names):
                continue
            if is_evaluating(objects, loader) and one_per_place(reported, loader.location):
                yield self.finding(
                    shuffle.location or loader.location,
                    "the evaluation loader shuffles",
                    help="leave `shuffle` out",
                    evidence=(Evidence("static", "shuffle=True"),),
                    fix=self.repair(
                        "do not shuffle", edits.set_literal(program, loader, shuffle, "False")
                    ),
                )
