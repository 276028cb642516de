"""Runs a training script to its end with one change, and scores how well it trains at the end.

``python bench/changed_run.py SPEC`` reads a JSON object: ``script``, ``seed``, ``edits`` (pairs of a
text of the source and what replaces it), and ``kind`` and ``value`` of a change of hyperparameters as
``convlint probe --remedies`` names them. It prints the score over the last fifth of the training
steps: the accuracy where a loss takes labels, the area under the ROC curve where it takes two
classes as numbers, R² where it takes values. 1 is best; neither depends on the loss, so that runs
with different losses compare.
"""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

LAST = 0.2
WARM_UP_STEPS = 20


class Score:
    """Watches the losses."""

    def __init__(self) -> None:
        self.values: list[float] = []
        for name, judge in (
            ("cross_entropy", accuracy),
            ("nll_loss", accuracy),
            ("binary_cross_entropy_with_logits", area),
            ("mse_loss", explained),
        ):
            setattr(F, name, self._watched(getattr(F, name), judge))

    def _watched(self, original: Any, judge: Any) -> Any:
        def loss(given: torch.Tensor, target: torch.Tensor, *args: Any, **keywords: Any) -> Any:
            if torch.is_grad_enabled() and given.requires_grad:
                with torch.no_grad():
                    self.values.append(judge(given.detach(), target))
            return original(given, target, *args, **keywords)

        return loss

    def last(self) -> float:
        """The mean over the last steps; the worst where they are not finite."""
        tail = self.values[-max(1, int(LAST * len(self.values))) :]
        mean = sum(tail) / len(tail)
        return mean if math.isfinite(mean) else 0.0


def accuracy(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of right labels; NaN is never right."""
    right = (scores.argmax(1) == labels) & torch.isfinite(scores).all(1)
    return float(right.float().mean())


def area(scores: torch.Tensor, target: torch.Tensor) -> float:
    """Share of pairs of a positive and a negative sample that are in order, ties counted half."""
    flat, positive = scores.flatten().float(), target.flatten() > 0.5
    differences = flat[positive][:, None] - flat[~positive][None, :]
    if not differences.numel():
        return 0.5
    return float(((differences > 0).float() + 0.5 * (differences == 0).float()).mean())


def explained(prediction: torch.Tensor, target: torch.Tensor) -> float:
    """R² of the batch, at least 0."""
    flat = prediction.flatten().float(), target.flatten().float()
    if len(flat[0]) != len(flat[1]):
        return 0.0
    error = (flat[0] - flat[1]).square().mean() / flat[1].var().clamp_min(1e-12)
    return max(0.0, 1.0 - float(error)) if bool(torch.isfinite(error)) else 0.0


def change(kind: str, value: Any) -> None:
    """Make torch's optimizers depart from what the script asks for.

    ``value`` is a number for the kinds that have one; clipping without is none at all.
    """
    if kind == "clipping" and value is None:
        for name in ("clip_grad_norm_", "clip_grad_value_"):
            setattr(torch.nn.utils, name, lambda *_, **__: torch.zeros(()))
        return
    first: dict[int, list[float]] = {}
    steps: dict[int, int] = {}

    def before(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        first.setdefault(id(optimizer), rates)
        steps[id(optimizer)] = steps.get(id(optimizer), 0) + 1
        optimizer.__dict__["_asked"] = rates
        for group, initial in zip(optimizer.param_groups, first[id(optimizer)], strict=True):
            if kind == "learning rate":
                group["lr"] *= value
            elif kind == "schedule":
                group["lr"] = initial
            elif kind == "warm-up":
                group["lr"] *= min(1.0, steps[id(optimizer)] / WARM_UP_STEPS)
            elif kind == "momentum" and "momentum" in group:
                group["momentum"] = value
            elif kind == "momentum":
                group["betas"] = (group["betas"][0], value)
            elif kind == "weight decay":
                group["weight_decay"] = value
        if kind == "clipping":
            held = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(held, value)

    def after(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group, rate in zip(optimizer.param_groups, optimizer.__dict__["_asked"], strict=True):
            group["lr"] = rate

    register_optimizer_step_pre_hook(before)
    register_optimizer_step_post_hook(after)
    if kind == "optimizer":

        def adamw(parameters: Any, *_: Any, weight_decay: float = 0.0, **__: Any) -> Any:
            return torch.optim.AdamW(parameters, lr=value, weight_decay=weight_decay)

        for name in ("SGD", "RMSprop"):
            setattr(torch.optim, name, adamw)
    if kind == "initial scale":
        make = torch.optim.Optimizer.__init__

        def scaled(self: Any, *args: Any, **keywords: Any) -> None:
            make(self, *args, **keywords)
            with torch.no_grad():
                for group in self.param_groups:
                    for parameter in group["params"]:
                        if parameter.dim() > 1:
                            parameter.mul_(value)

        torch.optim.Optimizer.__init__ = scaled  # type: ignore[method-assign]


def main() -> None:
    """Run the script of the specification and print its score."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    source = Path(spec["script"]).read_text()
    for old, new in spec["edits"]:
        if old not in source:
            sys.exit(f"{spec['script']}: no {old!r} to edit")
        source = source.replace(old, new)
    if spec["seed"]:
        seed, manual_seed = spec["seed"], torch.manual_seed
        torch.manual_seed = lambda own: manual_seed(own + 1000 * seed)
        random.seed(seed)
        manual_seed(seed)
    score = Score()
    if spec["kind"]:
        change(spec["kind"], spec["value"])
    sys.argv = [spec["script"]]
    names = {"__name__": "__main__", "__file__": spec["script"]}
    code = compile(source, spec["script"], "exec")
    # dataclasses look their module up by name.
    module = type(sys)("__main__")
    module.__dict__.update(names)
    sys.modules["__main__"] = module
    exec(code, module.__dict__)
    print(f"\nscore {score.last():.6f}")


if __name__ == "__main__":
    main()
