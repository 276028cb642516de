"""RNK002: after a step the ranks no longer hold the same parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import measured_evidence, names
from convlint.rules.patterns.places import first_place, place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations


class RanksDiverge(Rule):
    """The ranks of a data-parallel run hold different parameters after a step.

    ## What it does
    Compares every parameter, and its gradient, between the ranks of a run under `torchrun`, at
    the first step.

    ## Why it hurts
    Each process trains a model of its own. What is saved is that of one rank, trained on its
    share of the data alone; what is averaged later are models that have nothing to do with each
    other.

    ## Example
        model = Net()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    ## Use instead
        model = DistributedDataParallel(Net())
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    ## When it is fine
    Sharded parameters are not compared, nor those that only some ranks have (pipeline
    parallelism), nor copies that an optimizer keeps for itself (ZeRO, Megatron). Local SGD, which averages every so many steps, is reported: suppress it there.

    ## Measured
    One parameter whose bits are not the same on all ranks right after the first real step.

    ## References
    - PyTorch, `torch.nn.parallel.DistributedDataParallel`
    - Lin et al., Don't use large mini-batches, use local SGD, ICLR 2020
    """

    code, slug, severity = "RNK002", "ranks-diverge", Severity.ERROR
    prediction = Prediction("parameters that differ", "above", 0.0)
    measurements = ("comparison of ranks",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the run."""
        ranks = seen.ranks
        if ranks is None or not ranks.parameters_differ:
            return
        differ = ranks.parameters_differ
        apart = (
            "their gradients differ already: nothing averages them"
            if ranks.gradients_differ
            else "their gradients are the same: they began apart, or their optimizers differ"
        )
        yield self.finding(
            place_to_location(first_place(use.place for use in seen.optimizers), seen),
            f"after the first step the {ranks.answered} ranks hold different parameters "
            f"({names(differ)}); {apart}",
            help="wrap the model in DistributedDataParallel, and train through the wrapper"
            if ranks.gradients_differ
            else "broadcast the parameters of the first rank before training, as "
            "DistributedDataParallel does",
            evidence=measured_evidence(
                f"parameters that differ between {ranks.answered} ranks, of {ranks.compared}",
                quantity="parameters that differ",
                value=float(len(differ)),
                expected="none",
            ),
        )
