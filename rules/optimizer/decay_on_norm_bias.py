"""OPT005: weight decay on the norms and biases of a transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.layers import canonical, is_attention
from convlint.rules.patterns.ownership import object_of, submodules
from convlint.rules.patterns.settings import optimizer_class, optimizers_of, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

NOTICEABLE = 0.05
"""Below, the gains of the norms shrink by less than the loss moves them."""


class DecayOnNormBias(Rule):
    """A transformer's norms, biases and embeddings are decayed like its weights.

    ## What it does
    Reports AdamW and SGD with a weight decay of 0.05 and more over all the parameters of a model
    with attention, in a single group.

    ## Why it hurts
    Decay pulls the gains of the norms towards zero and with them the signal of every block; it
    helps the matrices only. The usual recipes put one-dimensional parameters into a group without
    decay.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(
            nn.Linear(8, 16),
            nn.TransformerEncoderLayer(16, 4, batch_first=True),
            nn.Linear(16, 2),
        )
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(
            nn.Linear(8, 16),
            nn.TransformerEncoderLayer(16, 4, batch_first=True),
            nn.Linear(16, 2),
        )
        criterion = nn.CrossEntropyLoss()
        matrices = [p for p in model.parameters() if p.dim() > 1]
        vectors = [p for p in model.parameters() if p.dim() <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], lr=1e-3
        )
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Convolutional networks, and small decays.

    ## Measured
    Not measured directly; the loss series of the probe shows the consequence.

    ## References
    - Karpathy, nanoGPT, `configure_optimizers`
    """

    code, slug, severity = "OPT005", "decay-on-norm-bias", Severity.INFO
    default = False
    confidence = Confidence.MEDIUM

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report one group for all of a transformer."""
        places: set[Location] = set()
        for optimizer in optimizers_of(program, "AdamW", "SGD"):
            given = optimizer.args.get("params")
            if given is None or given.name != "parameters" or not optimizer.parameters_of:
                continue
            parts = [object_of(program, n) for n in submodules(program, optimizer.parameters_of)]
            if not any(part is not None and is_attention(canonical(part.cls)) for part in parts):
                continue
            for decay in settings(optimizer, "weight_decay"):
                if decay.number >= NOTICEABLE and one_per_place(places, decay.location):
                    yield self.finding(
                        decay.location,
                        f"{optimizer_class(optimizer)} decays norms and biases of the transformer as "
                        f"well, by {decay.text}",
                        help="give parameters of one dimension a group with weight_decay=0",
                        related=decay.related,
                    )
