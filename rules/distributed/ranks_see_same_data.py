"""RNK001: the ranks train on the very same batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import measured_evidence
from convlint.rules.patterns.places import first_place, place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations

COMPARED = 2
"""Ranks may share one batch by chance of a small data set; two in a row they share by design."""


class RanksSeeSameData(Rule):
    """All ranks train on the same batches.

    ## What it does
    Compares the first batches that enter the model on every rank of a run under `torchrun`.

    ## Why it hurts
    The averaged gradient is that of one rank: the other processes cost their price and add nothing,
    and an epoch is as many times too long.

    ## Example
        loader = DataLoader(dataset, batch_size=32)
        model = DistributedDataParallel(model)

    ## Use instead
        sampler = DistributedSampler(dataset)
        loader = DataLoader(dataset, batch_size=32, sampler=sampler)
        model = DistributedDataParallel(model)

    ## When it is fine
    Tensor and pipeline parallelism feed the same batch to several ranks: sharded parameters and
    ranks that hold other parts of the model are not judged, nor is training on one and the same
    batch all the time.

    ## Measured
    At least two batches, the same bits on all ranks.

    ## References
    - PyTorch, `torch.utils.data.distributed.DistributedSampler`
    """

    code, slug, severity = "RNK001", "ranks-see-same-data", Severity.WARNING
    prediction = Prediction("identical batches", "at least", COMPARED)
    measurements = ("comparison of ranks",)
    explained_by = ("constant-batches",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the run."""
        ranks = seen.ranks
        if ranks is None or not ranks.same_batches or ranks.batches_compared < COMPARED:
            return
        if ranks.sharded or not ranks.compared or "full batch" in seen.recognised:
            return
        yield self.finding(
            place_to_location(first_place(use.place for use in seen.optimizers), seen),
            f"all {ranks.answered} ranks train on the same batches: the first "
            f"{ranks.batches_compared} are equal to the bit",
            help="give the loader a DistributedSampler, or each rank its own share of the data",
            evidence=measured_evidence(
                f"batches that are the same on {ranks.answered} ranks",
                quantity="identical batches",
                value=float(ranks.batches_compared),
                expected="none",
            ),
        )
