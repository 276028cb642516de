"""NUM001: logarithm of a softmax or sigmoid in two steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.logarithms import logarithms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.logarithms import Logarithm


class LogOfSoftmax(Rule):
    """The logarithm of a softmax or sigmoid is taken in two steps.

    ## What it does
    Reports `log(softmax(x))`, `log(sigmoid(x))` and `log(1 - sigmoid(x))`; with a small constant added
    inside the logarithm as information only.

    ## Why it hurts
    The softmax rounds to 0 for a logit some 100 below the largest, and the logarithm is then -inf and its
    gradient NaN. The fused functions are exact for all logits.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = -torch.log(torch.softmax(model(x), dim=1))[range(64), y].mean()
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = -torch.log_softmax(model(x), dim=1)[range(64), y].mean()
            loss.backward()
            optimizer.step()

    ## When it is fine
    A clamp between the two. Logarithms under `no_grad`.

    ## Measured
    `convlint probe` looks for NaN and infinities; they come late, so silence refutes nothing.

    ## References
    - PyTorch, `torch.nn.functional.log_softmax`: mathematically equivalent, numerically more stable
    """

    code, slug, severity = "NUM001", "log-of-softmax", Severity.WARNING
    fix = Applicability.SAFE
    confirmed_by = ("non-finite",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per logarithm of a softmax or sigmoid computed beside it."""
        graph = FlowGraph(program)
        places: set[Location] = set()
        for log in logarithms(program, graph):
            if log.of_model or log.flow.detached or not one_per_place(places, log.location):
                continue
            instead = "logsigmoid" if log.source.op == "sigmoid" else "log_softmax"
            if log.complement:
                instead = "logsigmoid(-x)"
            form = f"1 - {log.source.op}" if log.complement else log.source.op
            yield self.finding(
                log.location,
                f"log({form}) in two steps is -inf with a NaN gradient for confident logits"
                if log.offset is None
                else f"log({form} + {log.offset:g}) bends the logarithm where it matters",
                help=f"use {instead} of the logits",
                severity=None if log.offset is None else Severity.INFO,
                fix=self.repair(f"use {instead}", _in_one_step(program, log)),
            )


def _in_one_step(program: TrainingProgram, log: Logarithm) -> Changes:
    """``log(softmax(x, d))`` to ``log_softmax(x, d)``, where the one is written inside the other."""
    layout, operand = program.layout(log.location), edits.operand_of(program, log.location)
    if layout is None or operand is None or log.offset is not None:
        return None
    inner = layout.call(operand)
    sides = layout.binary(operand)
    if log.complement and sides is not None and layout.text(sides[0]) in ("1", "1.0"):
        inner = layout.call(sides[2])
    if inner is None or inner.place != log.source.location or log.source.layer is not None:
        return None
    if log.source.op == "sigmoid":
        logits = edits.operand_of(program, inner.place)
        function = edits.name_for(program, log.location, "torch.nn.functional.logsigmoid")
        if logits is None or function is None:
            return None
        text = f"-({layout.text(logits)})" if log.complement else layout.text(logits)
        return ((edits.replace(log.location, f"{function[0]}({text})")) or ()) + function[1]
    renamed = edits.rename_last_part(program, inner.place, "log_softmax")
    if renamed is None or log.complement or inner.method != "softmax":
        return None
    whole = log.location
    before = edits.replace(edits.between(whole, edits.start_of(inner.place)), "")
    behind = edits.replace(edits.between(edits.end_of(inner.place), edits.end_of(whole)), "")
    return tuple(
        e for e in (*(before or ()), *renamed, *(behind or ())) if _takes_space(e.location)
    )


def _takes_space(place: Location) -> bool:
    return (place.line, place.column) != (place.end_line, place.end_column)
