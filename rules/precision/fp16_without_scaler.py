"""AMP004: training in float16 without a gradient scaler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.program.facts import EventKind, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.scaling import autocast_dtypes
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

LIBRARY_SCALERS = frozenset(
    {
        "timm.utils.NativeScaler",
        "timm.utils.ApexScaler",
        "timm.utils.cuda.NativeScaler",
        "timm.utils.cuda.ApexScaler",
    }
)
"""Callables of libraries that scale, unscale, clip and step in one."""


class Fp16WithoutScaler(Rule):
    """A float16 autocast region trains without a gradient scaler.

    ## What it does
    Reports a training loop whose forward runs under `autocast` with float16 and whose loss is
    back-propagated without scaling, in a program that has no gradient scaler.

    ## Why it hurts
    Gradients below about 6e-8 are zero in float16. Without scaling, small gradients vanish and
    the layers they belong to stop learning, with no error.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)).cuda()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype=torch.float16):
                    loss = criterion(model(x.cuda()), y.cuda())
                loss.backward()
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)).cuda()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda")
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype=torch.float16):
                    loss = criterion(model(x.cuda()), y.cuda())
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()

    ## When it is fine
    bfloat16, a dtype that is not a constant, `enabled=False`, a program with any scaler,
    `accelerate` and other libraries that scale: none is reported.

    ## Measured
    Not measured: a machine without the device does not run in half precision.

    ## References
    - PyTorch documentation, `torch.amp`, "Gradient Scaling"
    - Micikevicius et al., "Mixed Precision Training", 2018
    """

    code = "AMP004"
    slug = "fp16-without-scaler"
    severity = Severity.WARNING
    unmeasured_because = "a machine without the device does not run in half precision"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report unscaled backwards of losses computed in float16."""
        if program.managed or any(
            item.kind in (ObjectKind.SCALER, ObjectKind.ACCELERATOR) for item in program.objects
        ):
            return
        if any(call.name in LIBRARY_SCALERS for call in program.calls):
            return
        if autocast_dtypes(program) != {"torch.float16"}:
            return
        places: set[Location] = set()
        for loop in training_loops(program):
            if not any("autocast" in o.event.context for o in loop.of_kind(EventKind.FORWARD)):
                continue
            for backward in loop.of_kind(EventKind.BACKWARD):
                if not backward.event.flags and one_per_place(places, backward.event.location):
                    yield self.finding(
                        backward.event.location,
                        "this loss was computed in float16 and is not scaled, so small gradients "
                        "become zero",
                        help='use `torch.amp.GradScaler("cuda")`, or autocast to bfloat16',
                    )
