"""FLO012: the autograd graphs of past steps are kept, or grow into the next."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import measured_evidence
from convlint.rules.patterns.places import place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations

FEWEST_PASSES = 12
"""A script that sums the losses of a few micro-batches or tasks keeps as many graphs and lets them
go with the step; over this many backward passes in a row nothing healthy keeps one more each."""
ACCUMULATED_TIMES = 2
"""Where gradients are accumulated, this many steps' micro-batches in a row."""
LARGER = 1.5
"""A graph that has grown by half over the run, at every step, takes earlier steps in."""


class GrowingGraph(Rule):
    """The graphs of past steps stay in memory, or become part of the next step's graph.

    ## What it does
    Counts the graphs of back-propagated losses that are still alive some steps later, and the
    nodes of each new one.

    ## Why it hurts
    A loss that is added up or kept in a list as a tensor holds everything it was computed from:
    memory grows with every step until the run is killed. A hidden state that is carried over with
    its history makes every backward pass longer than the one before.

    ## Example
        losses.append(loss)

    ## Use instead
        losses.append(loss.item())

    ## When it is fine
    A few losses kept until one common backward pass, graphs of different lengths for sequences of
    different lengths.

    ## Measured
    A mark on every back-propagated loss that lives as long as its graph, over all steps, and the
    nodes of the first graphs.

    ## References
    - PyTorch FAQ, My model reports "cuda runtime error(2): out of memory"
    """

    code, slug, severity = "FLO012", "growing-graph", Severity.WARNING
    prediction = Prediction("graphs kept in a row", "above", 1.0)
    measurements = ("graph growth",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """At most one finding: the graphs kept, else the graph that grows."""
        growth = seen.graph_growth
        if growth is None:
            return
        kept = _kept_in_a_row(growth.alive)
        accumulation = max((use.accumulation or 1.0 for use in seen.optimizers), default=1.0)
        if kept >= max(FEWEST_PASSES, ACCUMULATED_TIMES * accumulation):
            yield self.finding(
                place_to_location(growth.place, seen),
                f"the graphs of {kept} losses in a row are kept in memory, one more with every "
                "backward pass",
                help="keep numbers, not tensors: loss.item(), or loss.detach() where it stays on "
                "the device",
                evidence=measured_evidence(
                    "backward passes in a row after which one more graph was alive",
                    quantity="graphs kept in a row",
                    value=float(kept),
                    expected="one or two",
                ),
            )
        elif _grows(growth.nodes):
            first, last = growth.nodes[0], growth.nodes[-1]
            yield self.finding(
                place_to_location(growth.place, seen),
                f"the graph of the loss grows at every step, from {first} to {last:,} operations in "
                f"{len(growth.nodes)} backward passes: it takes in the steps before",
                help="detach what is carried from step to step (hidden = hidden.detach())",
                evidence=measured_evidence(
                    f"operations in the graph of backward pass {len(growth.nodes)}",
                    quantity="operations in the graph",
                    value=float(last),
                    expected=str(first),
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """How many graphs are alive in the end."""
        growth = seen.graph_growth
        if growth is None or len(growth.alive) < FEWEST_PASSES:
            return None
        return (
            f"over {len(growth.alive)} backward passes at most {max(growth.alive)} earlier losses "
            "still had a graph"
        )


def _kept_in_a_row(alive: tuple[int, ...]) -> int:
    """The longest stretch of passes each of which found one graph more than the one before."""
    longest = stretch = 0
    for earlier, later in itertools.pairwise(alive):
        stretch = stretch + 1 if later > earlier else 0
        longest = max(longest, stretch)
    return longest


def _grows(nodes: tuple[int, ...]) -> bool:
    if len(nodes) < FEWEST_PASSES or nodes[-1] < LARGER * nodes[0]:
        return False
    return all(later > earlier for earlier, later in itertools.pairwise(nodes))
