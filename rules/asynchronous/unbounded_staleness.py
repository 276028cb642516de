"""ASY001: momentum on top of the momentum of asynchrony."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Confidence,
    Evidence,
    Finding,
    Severity,
)
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import (
    one_per_place,
)
from convlint.rules.patterns.paths import occurrences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Object,
        TrainingProgram,
    )

STARTING = frozenset({"Process", "spawn"})
BOUNDING = frozenset({"Barrier", "barrier", "BoundedSemaphore", "Lock", "lock", "acquire"})
QUEUES = frozenset({"Queue", "JoinableQueue"})
FULL = 0.9
"""The usual value; examples of Hogwild use 0.5 or none."""


class UnboundedStaleness(Rule):
    """Processes update shared weights without a bound on their lag, with full momentum.

    ## What it does
    Reports Hogwild training (`share_memory()` and several processes, no barrier) with SGD whose
    momentum is 0.9 or more.

    ## Why it hurts
    A gradient computed on weights that others have changed since acts like momentum: k processes
    without a bound on their lag add about 1 - 1/k of it. On top of 0.9 of its own the sum exceeds
    what the learning rate allows, and the loss oscillates or diverges.

    The lag alone costs learning rate: plain descent along gradients that are τ steps old is stable
    up to 2 sin(π / (4τ + 2)) over the largest curvature, 2 without a lag, 1 at one step, 0.18 at
    eight. `critical_product_of_delay` in `convlint.gpu_probes.curvature.stability` computes it.

    ## Example
        import torch
        import torch.multiprocessing as mp
        from torch import nn

        def train(model):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            for step in range(1000):
                x, y = torch.randn(64, 20), torch.randint(0, 2, (64,))
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()

        model = nn.Linear(20, 2)
        model.share_memory()
        workers = [mp.Process(target=train, args=(model,)) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    ## Use instead
        import torch
        import torch.multiprocessing as mp
        from torch import nn

        def train(model):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.0)
            for step in range(1000):
                x, y = torch.randn(64, 20), torch.randint(0, 2, (64,))
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()

        model = nn.Linear(20, 2)
        model.share_memory()
        workers = [mp.Process(target=train, args=(model,)) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    ## When it is fine
    A barrier or a bounded queue; less momentum; a learning rate scaled by the lag.

    ## Measured
    Not measured.

    ## References
    - Mitliagkas et al., Asynchrony begets momentum, 2016
    - Giladi et al., At stability's edge: how to adjust hyperparameters to preserve minima selection
      in asynchronous training of neural networks, ICLR 2020
    - Ho et al., More effective distributed ML via a stale synchronous parallel parameter server,
      NeurIPS 2013
    """

    code, slug, severity = "ASY001", "unbounded-staleness", Severity.WARNING
    confidence = Confidence.MEDIUM
    unmeasured_because = "one process cannot see what the others do"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per optimizer."""
        shared = any("share_memory" in item.methods for item in program.objects)
        started = "share_memory" in program.attributes_read and program.attributes_read & STARTING
        if not shared or not started or program.attributes_read & BOUNDING:
            return
        if any(_is_bounded_queue(item) for item in program.objects):
            return
        reported: set[Location] = set()
        for optimizer in program.objects:
            momentum = optimizer.args.get("momentum")
            value = momentum.number if momentum is not None else None
            if optimizer.cls != "torch.optim.SGD" or value is None or value < FULL:
                continue
            if _rate_is_scaled(program, optimizer):
                continue
            if one_per_place(reported, optimizer.location):
                yield self.finding(
                    optimizer.location,
                    f"momentum {value:g} adds to the momentum that unbounded asynchrony brings",
                    help="lower the momentum or the learning rate, or bound the lag with a barrier",
                    evidence=(Evidence("static", "share_memory, processes, no barrier"),),
                )


def _rate_is_scaled(program: TrainingProgram, optimizer: Object) -> bool:
    """Whether the rate may follow the lag: it is computed, not known, or set by the script."""
    rate = optimizer.args.get("lr")
    if rate is None or not rate.candidates:
        return True
    layout = program.layout(rate.location)
    if rate.origin is not None and rate.origin.kind == "computed":
        return True
    if layout is not None and layout.binary(rate.location) is not None:
        return True
    return any(
        o.kind is EventKind.LR_WRITE and o.event.target in (optimizer.id, None)
        for entry in program.entries
        for o in occurrences(entry.body)
    )


def _is_bounded_queue(item: Object) -> bool:
    """Whether this is a queue whose length is given, other than as no bound (0 or less)."""
    if item.cls.rpartition(".")[2] not in QUEUES:
        return False
    length = item.args.get("maxsize", item.args.get("0"))
    return length is not None and (length.number is None or length.number > 0)
