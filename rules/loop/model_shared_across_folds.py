"""LOP036: one model is trained through all folds of a cross-validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import object_of, submodules
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Loop, Object, TrainingProgram


class ModelSharedAcrossFolds(Rule):
    """One model is trained through all folds of a cross-validation.

    ## What it does
    Reports a loop over folds that trains a model and an optimizer made before it and never set
    back.

    ## Why it hurts
    From the second fold on the model has already seen the examples it is validated on. The
    scores rise from fold to fold and say nothing about new data.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)


        def build() -> nn.Module:
            return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))


        criterion = nn.CrossEntropyLoss()
        folds = [data] * 5
        model = build()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for fold in range(5):
            for epoch in range(10):
                for x, y in loader:
                    optimizer.zero_grad()
                    loss = criterion(model(x), y)
                    loss.backward()
                    optimizer.step()
            print(fold, criterion(model(data.tensors[0]), data.tensors[1]))

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)


        def build() -> nn.Module:
            return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))


        criterion = nn.CrossEntropyLoss()
        folds = [data] * 5
        for fold in range(5):
            model = build()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for epoch in range(10):
                for x, y in loader:
                    optimizer.zero_grad()
                    loss = criterion(model(x), y)
                    loss.backward()
                    optimizer.step()
            print(fold, criterion(model(data.tensors[0]), data.tensors[1]))

    ## When it is fine
    Models made, reloaded or re-initialised in each fold, and models handed to code that cannot
    be read: none is reported.

    ## Measured
    Not measured: the probe stops before the second fold.

    ## References
    - Kohavi, "A Study of Cross-Validation and Bootstrap for Accuracy Estimation and Model Selection", 1995
    """

    code = "LOP036"
    slug = "model-shared-across-folds"
    severity = Severity.ERROR

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report optimizers and models older than the loop over folds they train in."""
        places: set[Location] = set()
        for found in training_loops(program):
            for depth, folds in enumerate(found.around):
                if "fold" not in folds.index.lower() or folds.trips.number == 1:
                    continue
                for number in found.optimizers:
                    optimizer = object_of(program, number)
                    if optimizer is None or not _stays(program, optimizer, folds, depth):
                        continue
                    if one_per_place(places, optimizer.location):
                        yield self.finding(
                            optimizer.location,
                            "this optimizer and its model are made once and trained through all "
                            "folds, so later folds validate on examples already learnt",
                            help="make the model and the optimizer inside the loop over folds",
                        )


def _stays(program: TrainingProgram, optimizer: Object, folds: Loop, depth: int) -> bool:
    """Whether the optimizer and all it trains are made before the loop over folds, for good."""
    if not optimizer.parameters_of or len(optimizer.context) > depth or optimizer.escaped:
        return False
    if any(
        call.name == "torch.nn.Module.load_state_dict" and folds.id in call.loops
        for call in program.calls
    ):
        return False
    for number in submodules(program, optimizer.parameters_of):
        module = object_of(program, number)
        if module is None or module.symbolic or module.escaped or len(module.context) > depth:
            return False
        if {"apply", "reset_parameters", "init_weights", "modules", "children"} & {*module.methods}:
            return False
    return True
