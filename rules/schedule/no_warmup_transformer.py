"""SCH013: a post-norm transformer trained from scratch without warm-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import object_of, scheduled_optimizer, submodules
from convlint.rules.patterns.rates import rate_is_set_elsewhere
from convlint.rules.patterns.settings import optimizer_class, optimizers_of, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram

HIGH = 3e-4
"""Xiong et al. find rates from 5e-4 on to fail without warm-up; 1e-4 is safe."""
_LAYERS = (
    "torch.nn.Transformer",
    "torch.nn.TransformerEncoderLayer",
    "torch.nn.TransformerDecoderLayer",
)


class NoWarmupTransformer(Rule):
    """A post-norm transformer is trained from scratch by Adam at a high rate without warm-up.

    ## What it does
    Reports Adam and AdamW with a constant rate of 3e-4 and more over `nn.TransformerEncoderLayer`
    or `TransformerDecoderLayer` with `norm_first=False`, their default.

    ## Why it hurts
    With the norms after the residual sum the gradients of the last layers are largest at the
    start, and Adam's running averages are not yet settled: the first steps throw the attention
    off, and it may not recover.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(
            nn.Linear(8, 16),
            nn.TransformerEncoderLayer(16, 4),
            nn.Linear(16, 2),
        )
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
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
            nn.TransformerEncoderLayer(16, 4, norm_first=True),
            nn.Linear(16, 2),
        )
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Pre-norm, rates up to 1e-4, RAdam, any scheduler or hand-written rate, loaded weights.

    ## Measured
    Not measured directly; the loss series of the probe shows the consequence.

    ## References
    - Xiong et al., On layer normalization in the transformer architecture, ICML 2020
    """

    code, slug, severity = "SCH013", "no-warmup-transformer", Severity.INFO
    default = False
    confidence = Confidence.MEDIUM
    confirmed_by = ("diverging-loss", "stalled-loss")
    unmeasured_because = "the loss series was too short"

    limit = Option(HIGH, "The learning rate from which on a warm-up is asked for.", least=0)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report constant high rates over post-norm transformers."""
        if program.role == "test" or program.managed:
            return
        places: set[Location] = set()
        for optimizer in optimizers_of(program, "Adam", "AdamW"):
            roots = optimizer.parameters_of or ()
            parts = [
                part
                for n in submodules(program, roots)
                if (part := object_of(program, n)) is not None
            ]
            if not any(part.cls in _LAYERS and _post_norm(part) for part in parts):
                continue
            if optimizer.escaped or any("load_state_dict" in part.methods for part in parts):
                continue
            if rate_is_set_elsewhere(program, optimizer) or any(
                scheduled_optimizer(program, item.id) == optimizer.id for item in program.objects
            ):
                continue
            for rate in settings(optimizer, "lr"):
                if rate.number >= self.limit and one_per_place(places, rate.location):
                    yield self.finding(
                        rate.location,
                        f"{optimizer_class(optimizer)} starts a post-norm transformer at its full rate of "
                        f"{rate.text}",
                        help="warm the rate up over the first thousand steps, or use norm_first=True",
                        related=rate.related,
                    )


def _post_norm(layer: Object) -> bool:
    first = layer.args.get("norm_first")
    return first is None or first.constant is False
