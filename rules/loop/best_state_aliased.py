"""LOP017: the kept best weights go on changing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import name_of, object_of
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes


class BestStateAliased(Rule):
    """The weights kept as the best are the live ones.

    ## What it does
    Reports `best = model.state_dict()` inside a training loop without a copy, when `best` is
    loaded or saved after the training has gone on.

    ## Why it hurts
    The tensors of a state dict are the parameters themselves. Every later step changes `best`
    too, so what is restored in the end are the last weights, not the best.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        best_loss = float("inf")
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            if loss.item() < best_loss:
                best_loss = loss.item()
                best_state = model.state_dict()
        model.load_state_dict(best_state)

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        import copy

        best_loss = float("inf")
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            if loss.item() < best_loss:
                best_loss = loss.item()
                best_state = copy.deepcopy(model.state_dict())
        model.load_state_dict(best_state)

    ## When it is fine
    `copy.deepcopy`, `{k: v.clone() for ...}`, a state that is saved to disk at once: none is
    reported.

    ## Measured
    Not measured: the probe stops before the weights are restored.

    ## References
    - PyTorch tutorial, "Saving and Loading Models", note on the best model's state dict
    """

    code = "LOP017"
    slug = "best-state-aliased"
    severity = Severity.ERROR
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report states kept in a training and used after more of it."""
        training = {loop.id for found in training_loops(program) for loop in found.nest}
        made = {
            call.result.object: call
            for call in program.calls
            if call.name == "torch.nn.Module.state_dict" and call.result.object is not None
        }
        places: set[Location] = set()
        for call in program.calls:
            if call.name not in ("torch.nn.Module.load_state_dict", "torch.save"):
                continue
            for value in call.args.values():
                kept = made.get(value.object) if value.object is not None else None
                state = object_of(program, value.object)
                if kept is None or state is None or not state.names:
                    continue
                left = set(kept.loops) - set(call.loops)
                if left & training and one_per_place(places, kept.location):
                    name = name_of(state, "it")
                    yield self.finding(
                        kept.location,
                        f"`{name}` holds the live weights, not a copy: later steps change it too",
                        help="keep `copy.deepcopy(model.state_dict())`",
                        related=(Related(call.location, "used here, after more training"),),
                        fix=self.repair("keep a copy", _copied(program, kept.location)),
                    )


def _copied(program: TrainingProgram, place: Location) -> Changes:
    if edits.call_at(program, place) is None:
        return None
    deepcopy = edits.name_for(program, place, "copy.deepcopy")
    if deepcopy is None:
        return None
    wrapped = edits.wrap(place, f"{deepcopy[0]}(", ")")
    return None if wrapped is None else (*wrapped, *deepcopy[1])
