"""LOS021: class imbalance corrected in the sampler and in the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Related, Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram

SAMPLER = "torch.utils.data.WeightedRandomSampler"
WEIGHTS = ("weight", "pos_weight")


class WeightedTwice(Rule):
    """Rare classes are drawn more often and weighted more: corrected twice.

    ## What it does
    Reports a loss with class weights in a program that also draws its training samples with a
    `WeightedRandomSampler`.

    ## Why it hurts
    Each correction alone balances the classes; both together overweight the rare ones by the same factor
    again, and the model predicts them too often.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

        x, y = torch.randn(100, 20), torch.randint(0, 2, (100,))
        counts = torch.bincount(y).float()
        sampler = WeightedRandomSampler((1 / counts)[y], 100)
        loader = DataLoader(TensorDataset(x, y), batch_size=10, sampler=sampler)
        model = nn.Linear(20, 2)
        criterion = nn.CrossEntropyLoss(weight=1 / counts)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

        x, y = torch.randn(100, 20), torch.randint(0, 2, (100,))
        counts = torch.bincount(y).float()
        sampler = WeightedRandomSampler((1 / counts)[y], 100)
        loader = DataLoader(TensorDataset(x, y), batch_size=10, sampler=sampler)
        model = nn.Linear(20, 2)
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Partial corrections that together make one. The rule is off unless selected.

    ## Measured
    Nothing is measured for it.

    ## References
    - PyTorch, `torch.utils.data.WeightedRandomSampler`
    """

    code, slug, severity = "LOS021", "weighted-twice", Severity.WARNING
    confidence = Confidence.MEDIUM
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per weighted loss beside a weighted sampler."""
        sampler = next((item for item in program.objects if item.cls == SAMPLER), None)
        if sampler is None:
            return
        places: set[Location] = set()
        for loss in trained_losses(program, None):
            given = [loss.args[name] for name in WEIGHTS if name in loss.args]
            if not any(value.flow is not None or value.items is not None for value in given):
                continue
            if one_per_place(places, loss.location):
                yield self.finding(
                    loss.location,
                    "classes are weighted in the loss and balanced by the sampler as well",
                    help="keep one of the two corrections",
                    related=(Related(sampler.location, "samples are balanced here"),),
                )
