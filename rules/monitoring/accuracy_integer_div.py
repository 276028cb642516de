"""MON003: an accuracy that divides by the number of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import objects_by_id, one_per_place
from convlint.rules.patterns.training_loops import all_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class AccuracyIntegerDiv(Rule):
    """A count of examples is divided by a number of batches.

    ## What it does
    Reports `correct / len(loader)` where `correct` counts the examples predicted right over the
    batches of that loader: `len(loader)` is the number of batches.

    ## Why it hurts
    The accuracy is too large by the batch size, above 1 as soon as the model learns anything. Rules
    for stopping and saving that compare it with a number go wrong, and it changes with the batch
    size.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32)
        model = nn.Linear(8, 2)
        model.eval()
        correct = 0
        with torch.no_grad():
            for x, y in loader:
                correct += (model(x).argmax(1) == y).sum().item()
        print(correct / len(loader))

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32)
        model = nn.Linear(8, 2)
        model.eval()
        correct = 0
        with torch.no_grad():
            for x, y in loader:
                correct += (model(x).argmax(1) == y).sum().item()
        print(correct / len(loader.dataset))

    ## When it is fine
    Means per batch (`.mean()`, a count divided by the batch), batches of one example, a further
    division by the batch size, and loops over anything but a loader: none is reported.

    ## Measured
    Not measured: a probe rarely reaches the first evaluation.

    ## References
    - PyTorch documentation, `torch.utils.data.DataLoader` (the length of a loader)
    """

    code = "MON003"
    slug = "accuracy-integer-div"
    severity = Severity.WARNING
    confidence = Confidence.MEDIUM
    unmeasured_because = "the probe rarely reaches the first evaluation"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per division."""
        if not program.batch_shares:
            return
        objects = objects_by_id(program)
        batched: set[Location] = set()
        for _, nest in all_loops(program):
            loader = objects.get(-1 if nest[-1].over.object is None else nest[-1].over.object)
            if loader is None or loader.kind is not ObjectKind.LOADER:
                continue
            size = loader.args.get("batch_size")
            if size is not None and size.number is not None and size.number > 1:
                batched.add(nest[-1].location)
        places: set[Location] = set()
        for share in program.batch_shares:
            if share.loop in batched and one_per_place(places, share.location):
                yield self.finding(
                    share.location,
                    f"`{share.count}` counts examples, and `len({share.over})` is the number of "
                    "batches",
                    help=f"divide by len({share.over}.dataset), or by the examples counted on the way",
                    related=(Related(share.loop, "counted here"),),
                )
