"""SCH010: a plateau scheduler that waits in the wrong direction."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.lazy_regex import lazy_regex
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.courses import scheduler_class
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.schedules import step_sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram
    from convlint.rules import Changes

_SCORES = frozenset(
    {
        "acc", "accuracy", "accs", "f1", "auc", "auroc", "dice", "iou", "miou", "bleu", "score",
        "reward", "rewards", "r2", "ndcg", "psnr", "ssim", "recall", "precision", "map",
    }
)  # fmt: skip
_LOSSES = frozenset(
    {"loss", "losses", "err", "error", "wer", "cer", "ppl", "perplexity", "mae", "mse", "rmse"}
)
_TURNED = lazy_regex(r"^\s*(-|\(?\s*1(\.0*)?\s*-|100(\.0*)?\s*-)")


class PlateauMode(Rule):
    """ReduceLROnPlateau is told to minimise a score, or to maximise a loss.

    ## What it does
    Reports `ReduceLROnPlateau` in mode `min` (the default) that is stepped with something named
    accuracy, f1, auc, dice, iou, bleu, score, reward and the like, and in mode `max` with
    something named loss or error.

    ## Why it hurts
    Every improvement counts as a bad epoch: the learning rate is reduced exactly while training
    goes well.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                accuracy = (model(x).argmax(1) == y).float().mean().item()
            scheduler.step(accuracy)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max")
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                accuracy = (model(x).argmax(1) == y).float().mean().item()
            scheduler.step(accuracy)

    ## When it is fine
    A score with its sign turned, or subtracted from one.

    ## Measured
    Not measured directly; the loss series of the probe shows the consequence.

    ## References
    - PyTorch, `torch.optim.lr_scheduler.ReduceLROnPlateau`
    """

    code, slug, severity = "SCH010", "plateau-mode", Severity.ERROR
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe ends before a plateau could show"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report modes that do not fit the metric's name."""
        places: set[Location] = set()
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER:
                continue
            if scheduler_class(scheduler) != "ReduceLROnPlateau":
                continue
            mode = scheduler.args.get("mode")
            direction = mode.constant if mode is not None else "min"
            for event, _, _ in step_sites(program, scheduler):
                text = event.args["text"].constant if "text" in event.args else None
                wrong = _direction(text) if isinstance(text, str) else None
                if wrong is None or direction not in ("min", "max") or direction == wrong:
                    continue
                if one_per_place(places, event.location):
                    yield self.finding(
                        event.location,
                        f"`{text}` should {'grow' if wrong == 'max' else 'shrink'}, but the scheduler "
                        f'is in mode "{direction}"',
                        help=f'mode="{wrong}"',
                        related=(Related(scheduler.location, "the scheduler"),),
                        fix=self.repair(
                            f'set the mode to "{wrong}"', _in_mode(program, scheduler, wrong)
                        ),
                    )


def _direction(text: str) -> str | None:
    """The mode that a metric of this name needs, or None when its name does not tell."""
    if _TURNED.search(text):
        return None
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+\d?|[A-Z]+\d?(?![a-z])", text)}
    score, loss = bool(words & _SCORES), bool(words & _LOSSES)
    if score == loss:
        return None
    return "max" if score else "min"


def _in_mode(program: TrainingProgram, scheduler: Object, mode: str) -> Changes:
    call = edits.call_at(program, scheduler.location)
    if call is None or not edits.made_once(program, scheduler):
        return None
    if call.argument("mode", 1) is None:
        return edits.add_keyword(program, scheduler.location, "mode", f'"{mode}"')
    return edits.set_value(program, scheduler.args.get("mode"), f'"{mode}"')
