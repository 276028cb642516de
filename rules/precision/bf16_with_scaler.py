"""AMP007: a gradient scaler beside bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.scaling import autocast_dtypes, is_torch_scaler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import TrainingProgram


class Bf16WithScaler(Rule):
    """A gradient scaler is used with bfloat16.

    ## What it does
    Reports an enabled gradient scaler in a program whose autocast regions all use bfloat16.

    ## Why it hurts
    bfloat16 has the range of float32, so nothing underflows and there is nothing to scale. The
    scaler costs a check for infinities per step and may skip steps.

    ## Example
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
                with torch.autocast("cuda", dtype=torch.bfloat16):
                    loss = criterion(model(x.cuda()), y.cuda())
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()

    ## Use instead
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
                with torch.autocast("cuda", dtype=torch.bfloat16):
                    loss = criterion(model(x.cuda()), y.cuda())
                loss.backward()
                optimizer.step()

    ## When it is fine
    Programs that choose between float16 and bfloat16, and scalers that are switched off, are
    not reported.

    ## Measured
    Not measured: a machine without the device does not run in half precision.

    ## References
    - PyTorch documentation, `torch.amp`, "Gradient Scaling"
    """

    code = "AMP007"
    slug = "bf16-with-scaler"
    severity = Severity.INFO
    default = False
    unmeasured_because = "a machine without the device does not run in half precision"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report scalers at work beside bfloat16 alone."""
        if autocast_dtypes(program) != {"torch.bfloat16"}:
            return
        for scaler in program.objects:
            if scaler.kind is ObjectKind.SCALER and is_torch_scaler(program, scaler.id):
                enabled = scaler.args.get("enabled")
                if enabled is not None and enabled.constant is not True:
                    continue
                yield self.finding(
                    scaler.location,
                    "bfloat16 needs no gradient scaling",
                    help="drop the scaler",
                )
