"""OPT022: Adam with a short memory over embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.layers import canonical
from convlint.rules.patterns.ownership import object_of, submodules
from convlint.rules.patterns.settings import optimizer_class, optimizers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

SHORT_MEMORY = 0.9
_TABLES = ("embedding", "embedding_bag")


class AmsgradHint(Rule):
    """Adam with a second beta of 0.9 or less trains embeddings, whose gradients are rare.

    ## What it does
    Reports Adam and AdamW with a second beta of at most 0.9 and without `amsgrad` over a model
    with embeddings.

    ## Why it hurts
    A row of an embedding sees a gradient once in many steps. With a short memory its running size
    has faded to nothing by then, and the informative step is divided by too small a number: the
    example of non-convergence of Reddi et al.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Embedding(1000, 16), nn.Flatten(), nn.Linear(64, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.9))
        x, y = torch.randint(0, 1000, (64, 4)), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Embedding(1000, 16), nn.Flatten(), nn.Linear(64, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.999))
        x, y = torch.randint(0, 1000, (64, 4)), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Dense inputs; the rule is opt-in.

    ## Measured
    Not measured directly; the loss series of the probe shows the consequence.

    ## References
    - Reddi et al., On the convergence of Adam and beyond, ICLR 2018
    """

    code, slug, severity = "OPT022", "amsgrad-hint", Severity.INFO
    fix = Applicability.UNSAFE
    confidence = Confidence.LOW
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report short memories over embeddings."""
        places: set[Location] = set()
        for optimizer in optimizers_of(program, "Adam", "AdamW"):
            betas = optimizer.args.get("betas")
            numbers = betas.numbers if betas is not None else None
            amsgrad = optimizer.args.get("amsgrad")
            if numbers is None or len(numbers) != 2 or numbers[1] > SHORT_MEMORY:
                continue
            if amsgrad is not None and amsgrad.constant is not False:
                continue
            parts = [
                object_of(program, n) for n in submodules(program, optimizer.parameters_of or ())
            ]
            if not any(part is not None and canonical(part.cls) in _TABLES for part in parts):
                continue
            if one_per_place(places, optimizer.location):
                yield self.finding(
                    optimizer.location,
                    f"second beta {numbers[1]:g} of {optimizer_class(optimizer)} forgets the rare "
                    "gradients of the embeddings",
                    help="use 0.999, or amsgrad=True",
                    fix=self.repair(
                        "keep the largest second moment",
                        edits.set_argument(program, optimizer.location, "amsgrad", "True", 5),
                    ),
                )
