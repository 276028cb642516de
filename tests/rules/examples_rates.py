"""What keeps optimizers and schedules healthy, and the same scripts without it."""

import textwrap

from contrasts import Contrast, healthy, sick

HEAD = """\
import argparse
import copy
import math
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torch import optim
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
loader = DataLoader(data, batch_size=32, shuffle=True)
val_loader = DataLoader(data, batch_size=32)
"""

STEP = """
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
"""


def batches(setup: str, after: str = "", head: str = "for x, y in loader:") -> str:
    """A script with these first lines that trains once over the batches."""
    after = textwrap.indent(textwrap.dedent(after).strip(), "    ")
    return f"{textwrap.dedent(setup).strip()}\n{head}{STEP}{after}\n"


def epochs(setup: str, after: str = "scheduler.step()", count: str = "40", step: str = "") -> str:
    """A script with these first lines, so many epochs, and what follows every epoch and batch."""
    inner = textwrap.indent(STEP.strip("\n"), "    ")
    step = textwrap.indent(textwrap.dedent(step).strip(), "        ")
    after = textwrap.indent(textwrap.dedent(after).strip(), "    ")
    return f"""{textwrap.dedent(setup).strip()}
for epoch in range({count}):
    for i, (x, y) in enumerate(loader):
{inner}
{step}
{after}
"""


MODEL = "model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 2))\n"
SGD = f"{MODEL}optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)\n"
ADAM = f"{MODEL}optimizer = optim.Adam(model.parameters(), lr=1e-3)\n"

CASES = [
    Contrast(
        "adaptive-lr-high",
        "a warm-up that owns the rate",
        batches(
            f"""{MODEL}optimizer = optim.AdamW(model.parameters(), lr=0.05)
scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=len(loader))""",
            "scheduler.step()",
        ),
        ("scheduler", "_ = optimizer; unused"),
    ),
    Contrast(
        "adaptive-lr-high",
        "a linear probe",
        batches(
            """
            backbone = torchvision.models.resnet18(weights="DEFAULT")
            for p in backbone.parameters():
                p.requires_grad = False
            backbone.eval()
            model = nn.Linear(1000, 2)
            optimizer = optim.Adam(model.parameters(), lr=0.03)
            """
        ).replace("model(x)", "model(backbone(x))"),
    ),
    Contrast(
        "sgd-lr-high",
        "layer-wise scaled",
        batches(
            f"""from torch_optimizer import LARS
{MODEL}optimizer = LARS(model.parameters(), lr=4.8, momentum=0.9, weight_decay=1e-6)"""
        ),
        ("LARS(", "optim.SGD("),
    ),
    Contrast(
        "lr-negligible",
        "a scheduler that owns it",
        epochs(
            f"""{MODEL}optimizer = optim.SGD(model.parameters(), lr=0.0)
scheduler = lr_scheduler.CyclicLR(optimizer, base_lr=0.01, max_lr=0.1)"""
        ),
        (
            "scheduler = lr_scheduler.CyclicLR(optimizer, base_lr=0.01, max_lr=0.1)",
            "scheduler = lr_scheduler.StepLR(optimizer, 10)",
        ),
    ),
    Contrast(
        "weight-decay-extreme",
        "the default of Muon",
        f"""from muon import Muon
{MODEL}optimizer = Muon(model.parameters(), lr=0.02, weight_decay=0.1)
""",
        ("Muon(", "optim.SGD("),
    ),
    Contrast(
        "bad-eps",
        "the default of Adafactor",
        f"{MODEL}optimizer = optim.Adafactor(model.parameters(), lr=1e-3, eps=(1e-30, 1e-3))\n",
    ),
    Contrast(
        "sgd-no-momentum",
        "differentially private",
        batches(
            """
            model = nn.Sequential(
                nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.Flatten(), nn.LazyLinear(2)
            )
            optimizer = optim.SGD(model.parameters(), lr=0.1)
            from opacus import PrivacyEngine
            model, optimizer, loader = PrivacyEngine().make_private(
                module=model, optimizer=optimizer, data_loader=loader,
                noise_multiplier=1.1, max_grad_norm=1.0,
            )
            """
        ),
        (
            """from opacus import PrivacyEngine
model, optimizer, loader = PrivacyEngine().make_private(
    module=model, optimizer=optimizer, data_loader=loader,
    noise_multiplier=1.1, max_grad_norm=1.0,
)""",
            "",
        ),
    ),
    Contrast(
        "optimizer-before-params-change",
        "built after the change",
        batches(
            """
            model = torchvision.models.resnet18(weights="DEFAULT")
            model.fc = nn.Linear(512, 2)
            optimizer = optim.SGD(model.parameters(), lr=0.01)
            """
        ),
        (
            "model.fc = nn.Linear(512, 2)\noptimizer = optim.SGD(model.parameters(), lr=0.01)",
            "optimizer = optim.SGD(model.parameters(), lr=0.01)\nmodel.fc = nn.Linear(512, 2)",
        ),
    ),
    Contrast(
        "optimizer-recreated",
        "once per task",
        """
model = nn.Linear(8, 2)
for task in range(5):
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
""",
        (
            "    optimizer = optim.Adam(model.parameters(), lr=1e-3)\n    for x, y in loader:\n",
            "    for x, y in loader:\n        optimizer = optim.Adam(model.parameters(), lr=1e-3)\n",
        ),
    ),
    Contrast(
        "exhausted-params",
        "filtered into a list",
        batches(
            f"""{MODEL}trainable = list(filter(lambda p: p.requires_grad, model.parameters()))
optimizer = optim.SGD(trainable, lr=0.1)"""
        ).replace(
            "optimizer.step()", "nn.utils.clip_grad_norm_(trainable, 1.0)\n    optimizer.step()"
        ),
        (
            "list(filter(lambda p: p.requires_grad, model.parameters()))",
            "filter(lambda p: p.requires_grad, model.parameters())",
        ),
    ),
    Contrast(
        "finetune-lr-high",
        "adapters",
        """
from transformers import AutoModelForSequenceClassification

model = AutoModelForSequenceClassification.from_pretrained("bert-base-uncased")
from peft import LoraConfig, get_peft_model
model = get_peft_model(model, LoraConfig(r=8))
optimizer = optim.AdamW(model.parameters(), lr=2e-3)
""",
        (
            """from peft import LoraConfig, get_peft_model
model = get_peft_model(model, LoraConfig(r=8))
""",
            "",
        ),
    ),
    Contrast(
        "finetune-lr-high",
        "a vision transformer",
        """
import timm

model = timm.create_model("vit_base_patch16_224", pretrained=True, num_classes=10)
optimizer = optim.AdamW(model.parameters(), lr=1e-3)
""",
    ),
    Contrast(
        "wrong-model-params",
        "encoder and decoder share one",
        """
encoder, decoder = nn.Linear(8, 4), nn.Linear(4, 8)
optimizer_enc = optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
for x, y in loader:
    optimizer_enc.zero_grad()
    F.mse_loss(decoder(encoder(x)), x).backward()
    optimizer_enc.step()
""",
    ),
    Contrast(
        "wrong-model-params",
        "names that do not pair",
        """
student, head = nn.Linear(8, 4), nn.Linear(4, 2)
main_optimizer = optim.Adam(head.parameters(), lr=1e-3)
for x, y in loader:
    main_optimizer.zero_grad()
    F.cross_entropy(head(student(x)), y).backward()
    main_optimizer.step()
""",
    ),
    Contrast(
        "scheduler-before-optimizer",
        "a closed form of the epoch",
        f"""
{SGD}scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 40)
for epoch in range(40):
    scheduler.step(epoch)
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
""",
        ("scheduler.step(epoch)", "scheduler.step()"),
    ),
    Contrast(
        "scheduler-before-optimizer",
        "timm counts updates",
        f"""
from timm.scheduler import CosineLRScheduler

{SGD}scheduler = CosineLRScheduler(optimizer, t_initial=40)
updates = 0
for epoch in range(40):
    scheduler.step(epoch)
    for x, y in loader:
        updates += 1
        scheduler.step_update(num_updates=updates)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
""",
    ),
    Contrast(
        "scheduler-never-stepped",
        "passed to who steps it",
        epochs(
            f"""from engine import after_epoch
{SGD}scheduler = lr_scheduler.StepLR(optimizer, 10)""",
            "after_epoch(model, scheduler)",
        ),
        ("after_epoch(model, scheduler)", "print(epoch)"),
    ),
    Contrast(
        "lr-schedule-collapses",
        "three drops, in a long run",
        epochs(
            f"""{SGD}scheduler = lr_scheduler.MultiStepLR(optimizer, [30, 60, 90], gamma=0.1)""",
            count="120",
        ),
        ("[30, 60, 90]", "[10, 20, 30, 40]"),
    ),
    Contrast(
        "lr-schedule-collapses",
        "polynomial decay",
        epochs(f"{SGD}scheduler = lr_scheduler.PolynomialLR(optimizer, total_iters=40, power=0.9)"),
        (
            "PolynomialLR(optimizer, total_iters=40, power=0.9)",
            "PolynomialLR(optimizer, total_iters=10, power=0.9)",
        ),
    ),
    Contrast(
        "milestones-unreachable",
        "the last of them is never met by a short run",
        epochs(f"{SGD}scheduler = lr_scheduler.MultiStepLR(optimizer, [20, 60], gamma=0.1)"),
        ("[20, 60]", "[50, 60]"),
    ),
    Contrast(
        "plateau-mode",
        "one minus the score",
        epochs(
            f"""def evaluate(model):
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).float().mean().item() for x, y in val_loader) / len(val_loader)

{SGD}scheduler = lr_scheduler.ReduceLROnPlateau(optimizer)""",
            "val_acc = evaluate(model)\nscheduler.step(1 - val_acc)",
        ),
        ("1 - val_acc", "val_acc"),
    ),
    Contrast(
        "lambda-late-binding",
        "an argument with a default",
        epochs(
            f"""{MODEL}optimizer = optim.SGD(
    [{{"params": model[0].parameters()}}, {{"params": model[2].parameters()}}], lr=0.1
)
lambdas = [lambda epoch, i=i: 0.95 ** (epoch * (i + 1)) for i in range(2)]
scheduler = lr_scheduler.LambdaLR(optimizer, lambdas)"""
        ),
        ("lambda epoch, i=i:", "lambda epoch:"),
    ),
    Contrast(
        "robbins-monro-violated",
        "a straight line to the end",
        batches(
            f"""{SGD}scheduler = lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 200_000)""",
            "scheduler.step()",
            "for step, (x, y) in zip(range(200_000), loader):",
        ),
    ),
    Contrast(
        "double-lr-control",
        "a warm-up by hand, then a scheduler",
        epochs(
            f"""{SGD}scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 40)
warmup = 100
step = 0""",
            step="""
            step += 1
            if step < warmup:
                for group in optimizer.param_groups:
                    group["lr"] = 0.1 * step / warmup
            """,
        ),
        ("if step < warmup:", "if True:"),
    ),
    Contrast(
        "resume-without-scheduler",
        "the last epoch is given",
        epochs(
            f"""{SGD}state = torch.load("run.pt")
model.load_state_dict(state["model"])
optimizer.load_state_dict(state["optimizer"])
scheduler = lr_scheduler.StepLR(optimizer, 10, last_epoch=state["epoch"])"""
        ),
        (', last_epoch=state["epoch"]', ""),
    ),
    Contrast(
        "scheduler-in-loop",
        "a fold has a schedule of its own",
        """
for fold in range(5):
    model = nn.Linear(8, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for epoch in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        scheduler.step()
""",
        (
            "    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 10)\n    for epoch in range(10):\n",
            "    for epoch in range(10):\n        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 10)\n",
        ),
    ),
    Contrast(
        "lr-compounding",
        "a factor every epoch",
        epochs(
            SGD,
            'for group in optimizer.param_groups:\n    group["lr"] *= 0.95',
        ),
        ("0.95", "(1 - epoch / 40)"),
    ),
    Contrast(
        "cosine-horizon",
        "the rest after a warm-up in sequence",
        epochs(
            f"""{SGD}scheduler = lr_scheduler.SequentialLR(
    optimizer,
    [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5), lr_scheduler.CosineAnnealingLR(optimizer, 35)],
    milestones=[5],
)"""
        ),
    ),
    Contrast(
        "epoch-schedule-per-batch",
        "a horizon in steps",
        epochs(
            f"{SGD}scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=40 * len(loader))",
            "",
            step="scheduler.step()",
        ),
        ("T_max=40 * len(loader)", "T_max=40"),
    ),
    Contrast(
        "batch-schedule-per-epoch",
        "steps counted in epochs",
        epochs(f"{SGD}scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=40)"),
        ("total_steps=40", "epochs=40, steps_per_epoch=len(loader)"),
    ),
    Contrast(
        "exponential-too-fast",
        "a mild factor every epoch",
        epochs(
            f"""parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, required=True)
args = parser.parse_args()
{ADAM}scheduler = lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)""",
            count="args.epochs",
        ),
        ("gamma=0.7", "gamma=0.1"),
    ),
]

MILD = {
    ("gamma-grows", "a factor of one"): epochs(
        f"{SGD}scheduler = lr_scheduler.StepLR(optimizer, 10, gamma=1.0)"
    ),
}

SICK = sick(CASES)
HEALTHY = healthy(CASES)
