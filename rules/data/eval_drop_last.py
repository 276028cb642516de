"""DAT012: a validation loader that drops examples."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Severity
from convlint.lazy_regex import lazy_regex
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.datasets import (
    named_for_evaluation,
)
from convlint.rules.patterns.flows import (
    objects_by_id,
    one_per_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from convlint.findings import Location
    from convlint.program.facts import (
        Object,
        TrainingProgram,
    )

_COMPARES = lazy_regex(r"contrast|nt_?xent|info_?nce|simclr|triplet|clip_loss", re.IGNORECASE)


class EvalDropLast(Rule):
    """The validation or test loader drops its last batch.

    ## What it does
    Reports `drop_last=True` on a loader that serves validation or test.

    ## Why it hurts
    Up to batch_size - 1 examples are never evaluated; on small sets the metric moves visibly with
    the batch size.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        val_set = datasets.CIFAR10("data", train=False, transform=transforms.Compose([transforms.ToTensor()]))
        val_loader = DataLoader(val_set, batch_size=64, drop_last=True)

    ## Use instead
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        val_set = datasets.CIFAR10("data", train=False, transform=transforms.Compose([transforms.ToTensor()]))
        val_loader = DataLoader(val_set, batch_size=64)

    ## When it is fine
    Contrastive losses, and equal batches for every rank.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `torch.utils.data.DataLoader`
    """

    code, slug, severity = "DAT012", "eval-drop-last", Severity.WARNING
    fix = Applicability.SAFE
    default = False
    confidence = Confidence.MEDIUM
    unmeasured_because = "the probe sees batches, not how they were put together"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per loader."""
        objects = objects_by_id(program)
        reported: set[Location] = set()
        for loader in program.objects:
            drop = loader.args.get("drop_last")
            if (
                loader.cls != "torch.utils.data.DataLoader"
                or drop is None
                or drop.constant is not True
            ):
                continue
            if _needs_whole_batches(program, objects, loader):
                continue
            if named_for_evaluation(loader) and one_per_place(reported, loader.location):
                yield self.finding(
                    drop.location or loader.location,
                    "the evaluation loader drops the examples of its last batch",
                    help="leave `drop_last` out",
                    evidence=(Evidence("static", "drop_last=True"),),
                    fix=self.repair(
                        "keep the last batch", edits.set_literal(program, loader, drop, "False")
                    ),
                )


def _needs_whole_batches(
    program: TrainingProgram, objects: Mapping[int, Object], loader: Object
) -> bool:
    """Whether processes have to take part in as many batches, or examples are compared within
    one."""
    sampler = loader.args.get("sampler")
    drawn = objects.get(-1 if sampler is None or sampler.object is None else sampler.object)
    if drawn is not None and drawn.cls.endswith("DistributedSampler"):
        return True
    names = (*(loss.function for loss in program.losses), *(o.cls for o in program.objects))
    return any(_COMPARES.search(name) for name in names)
