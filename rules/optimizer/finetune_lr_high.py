"""OPT016: a pretrained transformer fine-tuned at a rate for training from scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.imported import uses_library
from convlint.rules.patterns.ownership import object_of
from convlint.rules.patterns.rates import rate_is_set_elsewhere
from convlint.rules.patterns.settings import optimizer_class, optimizers_of, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

HIGH = 1e-3
"""BERT's own grid ends at 5e-5; the largest rate in use, for distilled models, is 1e-4."""
_IMAGE_MODELS = ("ViT", "Image", "ResNet", "ConvNext", "Swin", "Deit", "Beit", "Detr", "T5")


class FinetuneLrHigh(Rule):
    """A pretrained transformer is fine-tuned with a learning rate that erases what it knows.

    ## What it does
    Reports AdamW or Adam with a rate of 0.001 and more over all parameters of a transformers model
    obtained by `from_pretrained`.

    ## Why it hurts
    Steps of a thousandth per weight move a pretrained transformer far from its solution within a
    hundred steps; fine-tuning then starts from worse than random features, or collapses to one
    class.

    ## Example
        import torch
        from transformers import AutoModelForSequenceClassification

        model = AutoModelForSequenceClassification.from_pretrained("bert-base-uncased")
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for batch in batches:
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from transformers import AutoModelForSequenceClassification

        model = AutoModelForSequenceClassification.from_pretrained("bert-base-uncased")
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
        for batch in batches:
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()

    ## When it is fine
    Adapters, prompt tuning, frozen backbones, new heads alone, T5 with Adafactor, image models.

    ## Measured
    Not measured directly; the loss series of the probe shows the consequence.

    ## References
    - Devlin et al., BERT, 2019, section A.3
    - Mosbach et al., On the stability of fine-tuning BERT, ICLR 2021
    """

    code, slug, severity = "OPT016", "finetune-lr-high", Severity.WARNING
    confidence = Confidence.MEDIUM
    confirmed_by = ("update-ratio-too-large", "diverging-loss")
    unmeasured_because = "the probe took too few real steps to judge the learning rate"

    limit = Option(HIGH, "The learning rate from which on it is reported.", least=0)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report high rates over pretrained transformers."""
        if program.role == "test" or uses_library(program, "peft", "adapters", "loralib"):
            return
        places: set[Location] = set()
        switched = {number for switch in program.switches for number in switch.modules}
        for optimizer in optimizers_of(program, "AdamW", "Adam"):
            models = [object_of(program, number) for number in optimizer.parameters_of or ()]
            pretrained = [
                model
                for model in models
                if model is not None
                and model.cls.startswith("transformers.")
                and model.cls.endswith(".from_pretrained")
                and not any(name in model.cls for name in _IMAGE_MODELS)
                and model.id not in switched
            ]
            if not pretrained or rate_is_set_elsewhere(program, optimizer):
                continue
            for rate in settings(optimizer, "lr"):
                if rate.number >= self.limit and one_per_place(places, rate.location):
                    yield self.finding(
                        rate.location,
                        f"learning rate {rate.text} of {optimizer_class(optimizer)} erases what the "
                        "pretrained transformer knows",
                        help="fine-tune with 2e-5 to 5e-5",
                        related=rate.related,
                    )
