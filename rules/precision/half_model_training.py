"""AMP006: the weights themselves are trained in float16."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.imported import uses_library
from convlint.rules.patterns.ownership import name_of, object_of
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import TrainingProgram


class HalfModelTraining(Rule):
    """The weights themselves are trained in float16.

    ## What it does
    Reports a model brought to float16 with `half()` or `to(torch.float16)` whose parameters a
    `torch.optim` optimizer updates.

    ## Why it hurts
    An update smaller than about 1/2048 of a weight rounds to nothing, Adam's epsilon of 1e-8 is
    zero, and squared gradients underflow. Training stalls or turns into NaN.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)).cuda()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model = model.half()
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x.cuda().half()), y.cuda())
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
    Models used for inference only, bfloat16, DeepSpeed and apex with master weights, hand-made
    float32 copies: none is reported.

    ## Measured
    Not measured: a machine without the device does not run in half precision.

    ## References
    - Micikevicius et al., "Mixed Precision Training", 2018, section on master weights
    - PyTorch documentation, `torch.amp`
    """

    code = "AMP006"
    slug = "half-model-training"
    severity = Severity.ERROR
    confidence = Confidence.MEDIUM
    unmeasured_because = "a machine without the device does not run in half precision"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report float16 models that a plain optimizer steps."""
        if program.managed or uses_library(program, *_MASTER_WEIGHTS):
            return
        reported: set[int] = set()
        for loop in training_loops(program):
            if loop.has(EventKind.GRAD_WRITE, EventKind.PARAMETER_WRITE):
                continue
            for number in loop.optimizers:
                optimizer = object_of(program, number)
                if optimizer is None or not optimizer.cls.startswith("torch.optim."):
                    continue
                for owner in optimizer.parameters_of or ():
                    model = object_of(program, owner)
                    dtype = model.attributes.get("dtype") if model is not None else None
                    if model is None or dtype is None or dtype.name != "torch.float16":
                        continue
                    if owner in reported:
                        continue
                    reported.add(owner)
                    name = name_of(model, "the model")
                    yield self.finding(
                        optimizer.location,
                        f"the weights of `{name}` are float16, and this optimizer updates them there: "
                        "small updates round to nothing",
                        help="keep float32 weights and compute under `torch.autocast`",
                    )


_MASTER_WEIGHTS = ("apex", "deepspeed", "accelerate", "bitsandbytes")
