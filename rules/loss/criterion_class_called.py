"""LOS020: a loss constructed where it should be computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import Object, TrainingProgram
    from convlint.rules import Changes

WEIGHTS = frozenset({"weight", "pos_weight"})
NO_DATA = frozenset({"<symbol>", "<parameter>"})
"""Flows of settings rather than of data."""


class CriterionClassCalled(Rule):
    """A loss class is called with tensors: that constructs it and computes nothing.

    ## What it does
    Reports `nn.CrossEntropyLoss(output, target)` and other loss classes whose constructor receives
    tensors where it takes settings.

    ## Why it hurts
    The class takes its settings (weights, reduction); the result is a module, not a loss. It fails at
    `backward()`, or is silently accepted as a true value in a test.

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
            loss = nn.MSELoss(model(x), y)
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
            loss = nn.MSELoss()(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Class weights (`weight=`, `pos_weight=`), which are tensors.

    ## Measured
    Nothing is measured for it.

    ## References
    - PyTorch, loss functions: classes and functional forms
    """

    code, slug, severity = "LOS020", "criterion-class-called", Severity.ERROR
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per loss object constructed from tensors."""
        graph = FlowGraph(program)
        places: set[Location] = set()
        for item in program.objects:
            if item.kind is not ObjectKind.LOSS or not item.cls.startswith("torch.nn."):
                continue
            given = [graph.get(v.flow) for name, v in item.args.items() if name not in WEIGHTS]
            if not any(flow is not None and flow.op not in NO_DATA for flow in given):
                continue
            name = item.cls.rpartition(".")[2]
            if one_per_place(places, item.location):
                yield self.finding(
                    item.location,
                    f"{name}(...) with tensors constructs the loss with them as settings and computes "
                    "nothing",
                    help=f"write {name}()(output, target), or use the function of torch.nn.functional",
                    fix=self.repair("call the function", _as_function(program, item)),
                )


FUNCTIONS = {
    "CrossEntropyLoss": "cross_entropy",
    "NLLLoss": "nll_loss",
    "BCELoss": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "MSELoss": "mse_loss",
    "L1Loss": "l1_loss",
    "SmoothL1Loss": "smooth_l1_loss",
    "HuberLoss": "huber_loss",
    "KLDivLoss": "kl_div",
}


def _as_function(program: TrainingProgram, loss: Object) -> Changes:
    name = FUNCTIONS.get(loss.cls.rpartition(".")[2])
    if name is None:
        return None
    function = edits.name_for(program, loss.location, f"torch.nn.functional.{name}")
    if function is None:
        return None
    renamed = edits.rename_callee(program, loss.location, function[0])
    return None if renamed is None else (*renamed, *function[1])
