"""Rules on schedules, on source text: faults in several styles, and idioms to leave alone."""

from __future__ import annotations

import textwrap

import pytest

from convlint.engine import check_source
from convlint.findings import Confidence
from convlint.rules import all_rules

RULES = [rule for rule in all_rules() if rule.code.startswith("SCH")]

HEAD = """
import math
import timm.scheduler
import torch
import torch.nn as nn
import transformers
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader
from torchvision.datasets import CIFAR10

EPOCHS = 30
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
loader = DataLoader(CIFAR10("data", train=True), batch_size=100, shuffle=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
"""


def run(per_batch: str = "", per_epoch: str = "", epochs: str = "EPOCHS") -> str:
    """A loop over epochs and batches with what happens after each."""
    return f"""
for epoch in range({epochs}):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        {per_batch.strip() or "pass"}
{textwrap.indent(textwrap.dedent(per_epoch), "    ")}
"""


def found(setup: str, loop: str) -> list[str]:
    """Slugs of the findings of the schedule rules, at medium confidence or above."""
    source = HEAD + textwrap.dedent(setup) + loop
    findings = check_source(source, "train.py", rules=RULES, min_confidence=Confidence.MEDIUM)
    return [finding.slug for finding in findings]


STEP = "scheduler.step()"
WRITE = "for group in optimizer.param_groups:\n    group['lr'] = {}\n"
SCALE = "for group in optimizer.param_groups:\n    group['lr'] *= {}\n"

SICK = {
    "a function that dies": (
        "lr-schedule-collapses",
        "scheduler = lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.4**epoch)",
        run(per_epoch=STEP),
    ),
    "a function of the project that dies": (
        "lr-schedule-collapses",
        """
        def decay(epoch):
            if epoch < 5:
                return 1.0
            return math.exp(-(epoch - 5))
        scheduler = lr_scheduler.LambdaLR(optimizer, lr_lambda=decay)
        """,
        run(per_epoch=STEP),
    ),
    "products that die": (
        "lr-schedule-collapses",
        "scheduler = lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: 0.5)",
        run(per_epoch=STEP),
    ),
    "a decay by hand": ("lr-schedule-collapses", "", run(per_epoch=SCALE.format("0.5"))),
    "a decay by hand, now and then": (
        "lr-schedule-collapses",
        "",
        run(per_epoch="if epoch % 3 == 0:\n" + textwrap.indent(SCALE.format("0.1"), "    ")),
    ),
    "a rate computed in a helper": (
        "lr-schedule-collapses",
        """
        def adjust(optimizer, epoch):
            rate = 0.1 * 0.1 ** (epoch // 3)
            for group in optimizer.param_groups:
                group["lr"] = rate
        """,
        run(per_epoch="adjust(optimizer, epoch)"),
    ),
    "a transformers schedule for fewer epochs": (
        "lr-schedule-collapses",
        """
        scheduler = transformers.get_linear_schedule_with_warmup(optimizer, 100, 10 * len(loader))
        """,
        run(STEP),
    ),
    "a timm schedule": (
        "lr-schedule-collapses",
        "scheduler = timm.scheduler.StepLRScheduler(optimizer, decay_t=3, decay_rate=0.1)",
        run(per_epoch="scheduler.step(epoch + 1)"),
    ),
    "batches on a schedule of epochs": (
        "epoch-schedule-per-batch",
        "scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.9)",
        run(STEP),
    ),
    "a cosine of epochs": (
        "epoch-schedule-per-batch",
        "scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS)",
        run(STEP),
    ),
    "epochs on a schedule of batches": (
        "batch-schedule-per-epoch",
        "scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=EPOCHS * len(loader))",
        run(per_epoch=STEP),
    ),
    "epochs on a schedule of unknown batches": (
        "batch-schedule-per-epoch",
        """
        loader = DataLoader(dataset, batch_size=32, shuffle=True)
        scheduler = transformers.get_cosine_schedule_with_warmup(
            optimizer, 10, EPOCHS * len(loader)
        )
        """,
        run(per_epoch=STEP),
    ),
    "a plateau of a score": (
        "plateau-mode",
        "scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=3)",
        run(per_epoch="scheduler.step(history['val_acc'][-1])"),
    ),
    "a plateau of a loss": (
        "plateau-mode",
        "scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, 'max', patience=3)",
        run(per_epoch="scheduler.step(metrics=val_loss)"),
    ),
    "a harsh plateau": (
        "plateau-harsh",
        "scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.01)",
        run(per_epoch="scheduler.step(val_loss)"),
    ),
    "a new scheduler each epoch": (
        "scheduler-in-loop",
        "",
        run(per_epoch="scheduler = lr_scheduler.StepLR(optimizer, 5)\nscheduler.step()"),
    ),
    "a replaced optimizer": (
        "scheduler-stale-optimizer",
        """
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        """,
        run(per_epoch=STEP),
    ),
    "two hands": (
        "double-lr-control",
        "scheduler = lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)",
        run(per_epoch=STEP + "\n" + WRITE.format("0.1 * 0.95 ** epoch")),
    ),
    "a schedule that starts over": (
        "resume-without-scheduler",
        """
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        if resume:
            optimizer.load_state_dict(torch.load("optimizer.pt"))
        """,
        run(per_epoch=STEP),
    ),
    "a warm-up without a run": (
        "warmup-longer-than-run",
        """
        scheduler = transformers.get_cosine_schedule_with_warmup(optimizer, 20000, 15000)
        """,
        run(STEP),
    ),
    "compounding": (
        "lr-compounding",
        "",
        run(per_epoch=WRITE.format("group['lr'] * (1 - epoch / EPOCHS)")),
    ),
    "compounding in place": ("lr-compounding", "", run(per_epoch=SCALE.format("0.9 ** epoch"))),
}


@pytest.mark.parametrize(("slug", "setup", "loop"), SICK.values(), ids=SICK.keys())
def test_sick_schedules_are_reported(slug: str, setup: str, loop: str) -> None:
    assert found(setup, loop) == [slug]


HEALTHY = {
    "a polynomial": (
        "scheduler = lr_scheduler.LambdaLR(optimizer, lambda e: (1 - e / EPOCHS) ** 0.9)",
        run(per_epoch=STEP),
    ),
    "a gentle product": (
        "scheduler = lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: 0.95)",
        run(per_epoch=STEP),
    ),
    "a function that is not known": (
        "scheduler = lr_scheduler.LambdaLR(optimizer, lambda e: factors[e])",
        run(per_epoch=STEP),
    ),
    "milestones by hand": (
        "",
        run(per_epoch="if epoch in (15, 25):\n" + textwrap.indent(SCALE.format("0.1"), "    ")),
    ),
    "a decay by hand on a condition": (
        "",
        run(per_epoch="if stalled:\n" + textwrap.indent(SCALE.format("0.1"), "    ")),
    ),
    "stages by hand": ("", run(per_epoch=WRITE.format("0.1 * 0.1 ** (epoch // 10)"))),
    "a linear schedule over the run": (
        """
        scheduler = transformers.get_linear_schedule_with_warmup(
            optimizer, 0.1 * EPOCHS * len(loader), EPOCHS * len(loader)
        )
        """,
        run(STEP),
    ),
    "a cosine of timm": (
        "scheduler = timm.scheduler.CosineLRScheduler(optimizer, t_initial=EPOCHS, warmup_t=3)",
        run(per_epoch="scheduler.step(epoch + 1)"),
    ),
    "a cosine over all batches": (
        "scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS * len(loader))",
        run(STEP),
    ),
    "stages in batches": (
        "scheduler = lr_scheduler.StepLR(optimizer, step_size=5000, gamma=0.3)",
        run(STEP),
    ),
    "one cycle over epochs": (
        "scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=EPOCHS + 1)",
        run(per_epoch=STEP),
    ),
    "one cycle over batches": (
        """
        scheduler = lr_scheduler.OneCycleLR(
            optimizer, 0.1, epochs=EPOCHS, steps_per_epoch=len(loader)
        )
        """,
        run(STEP),
    ),
    "a step now and then": (
        "scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.9)",
        run("if step % 500 == 0: scheduler.step()"),
    ),
    "a score with its sign turned": (
        "scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=3)",
        run(per_epoch="scheduler.step(-val_acc)"),
    ),
    "one minus a score": (
        "scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=3)",
        run(per_epoch="scheduler.step(1 - val_acc)"),
    ),
    "a plateau of a loss that is named so": (
        "scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=3)",
        run(per_epoch="scheduler.step(dice_loss)"),
    ),
    "an impatient plateau with a floor": (
        "scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, min_lr=1e-4)",
        run(per_epoch="scheduler.step(val_loss)"),
    ),
    "a scheduler per fold": (
        "",
        """
for fold in range(5):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = lr_scheduler.StepLR(optimizer, 10)
    for epoch in range(EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        scheduler.step()
""",
    ),
    "a scheduler rebuilt for a new optimizer": (
        """
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        """,
        run(per_epoch=STEP),
    ),
    "a warm-up by hand": (
        "scheduler = lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)",
        run(
            per_epoch="if epoch < warmup:\n"
            + textwrap.indent(WRITE.format("0.1 * epoch / 5"), "    ")
            + "scheduler.step()"
        ),
    ),
    "a restored schedule": (
        """
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        optimizer.load_state_dict(torch.load("optimizer.pt"))
        scheduler.load_state_dict(torch.load("scheduler.pt"))
        """,
        run(per_epoch=STEP),
    ),
    "a schedule resumed by its epoch": (
        """
        optimizer.load_state_dict(torch.load("optimizer.pt"))
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS, last_epoch=start)
        """,
        run(per_epoch=STEP),
    ),
    "bound lambdas": (
        """
        scheduler = lr_scheduler.LambdaLR(optimizer, [lambda e, i=i: 0.9**e for i in range(1)])
        """,
        run(per_epoch=STEP),
    ),
    "a constant factor by hand": ("", run(per_epoch=SCALE.format("0.95"))),
}


@pytest.mark.parametrize(("setup", "loop"), HEALTHY.values(), ids=HEALTHY.keys())
def test_healthy_schedules_are_left_alone(setup: str, loop: str) -> None:
    assert found(setup, loop) == []
