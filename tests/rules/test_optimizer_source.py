"""Rules on optimizers, on source text: faults in several styles, and idioms to leave alone."""

from __future__ import annotations

import textwrap

import pytest

from convlint.engine import check_source
from convlint.findings import Confidence
from convlint.rules import all_rules

RULES = [
    rule
    for rule in all_rules()
    if rule.code.startswith("OPT") and rule.slug not in ("never-stepped", "optimizer-recreated")
]

HEAD = """
import itertools
import torch
import torch.nn as nn
import torchvision
from torch.utils.data import DataLoader

model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
head = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
"""

LOOP = """
for x, y in loader:
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
"""


def found(setup: str, loop: str = LOOP) -> list[str]:
    """Slugs of the findings of the optimizer rules, at medium confidence or above."""
    source = HEAD + textwrap.dedent(setup) + loop
    findings = check_source(source, "train.py", rules=RULES, min_confidence=Confidence.MEDIUM)
    return [finding.slug for finding in findings]


SICK = [
    ("adam-l2-decay", "optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=0.01)"),
    (
        "weight-decay-extreme",
        """
        WEIGHT_DECAY = 0.2
        optimizer = torch.optim.RMSprop(
            [{"params": model.parameters(), "weight_decay": WEIGHT_DECAY}], lr=1e-3
        )
        """,
    ),
    (
        "weight-decay-extreme",
        "optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1.0)",
    ),
    ("bad-eps", "optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-15)"),
    ("bad-eps", "optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, eps=0.02)"),
    ("bad-betas", "optimizer = torch.optim.AdamW(model.parameters(), 1e-3, (0.9, 0.99999))"),
    ("bad-betas", "optimizer = torch.optim.Adam(model.parameters(), 1e-3, betas=(0.5, 0.6))"),
    ("bad-betas", "optimizer = torch.optim.Adam(model.parameters(), 1e-3, betas=(0.99, 0.999))"),
    (
        "momentum-extreme",
        "optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-5, momentum=0.999)",
    ),
    ("momentum-extreme", "optimizer = torch.optim.SGD(model.parameters(), 0.01, 1.0)"),
    ("lr-in-wrong-slot", "optimizer = torch.optim.Adam(model.parameters(), (0.9, 0.999))"),
    (
        "exhausted-params",
        """
        params = itertools.chain(model.parameters(), head.parameters())
        optimizer = torch.optim.Adam(params, lr=1e-3)
        other = torch.optim.SGD(params, lr=0.1)
        other.step()
        """,
    ),
    (
        "requires-grad-typo",
        """
        for p in model.parameters():
            p.requires_grad(False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        """,
    ),
    (
        "requires-grad-typo",
        """
        model.requires_grad = False
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        """,
    ),
    ("parameters-not-flat", "optimizer = torch.optim.SGD([model, head], lr=0.1)"),
    (
        "decay-on-norm-bias",
        """
        model = nn.TransformerEncoderLayer(16, 4, norm_first=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.06)
        """,
    ),
    (
        "sgd-no-momentum",
        """
        model = torch.nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        """,
    ),
    (
        "optimizer-before-params-change",
        """
        model = torchvision.models.resnet18(weights="DEFAULT")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        model.fc = nn.Linear(512, 10)
        """,
    ),
    (
        "everything-frozen",
        """
        model.requires_grad_(False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        """,
    ),
    (
        "lbfgs-minibatch",
        """
        loader = DataLoader(dataset, batch_size=32, shuffle=True)
        optimizer = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
        """,
    ),
    (
        "wrong-model-params",
        """
        actor, critic = nn.Linear(4, 2), nn.Linear(4, 1)
        actor_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
        optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
        """,
    ),
    (
        "finetune-lr-high",
        """
        from transformers import BertForSequenceClassification
        model = BertForSequenceClassification.from_pretrained("bert-base-cased")
        optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
        """,
    ),
]


@pytest.mark.parametrize(("slug", "setup"), SICK, ids=[f"{s}-{i}" for i, (s, _) in enumerate(SICK)])
def test_sick_optimizers_are_reported(slug: str, setup: str) -> None:
    assert found(setup) == [slug]


HEALTHY = {
    "decoupled decay": "optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.3)",
    "adversarial betas": "optimizer = torch.optim.Adam(model.parameters(), 2e-4, (0.5, 0.999))",
    "no first moment": "optimizer = torch.optim.Adam(model.parameters(), 2e-4, (0.0, 0.9))",
    "large transformer betas": "optimizer = torch.optim.AdamW(model.parameters(), 3e-4, (0.9, 0.95))",
    "inception epsilon": "optimizer = torch.optim.RMSprop(model.parameters(), 1e-3, eps=1.0)",
    "reinforcement epsilon": "optimizer = torch.optim.Adam(model.parameters(), 1e-3, eps=1e-5)",
    "adagrad epsilon": "optimizer = torch.optim.Adagrad(model.parameters(), 1e-2, eps=1e-30)",
    "usual momentum": "optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.99)",
    "high rate, no momentum": "optimizer = torch.optim.SGD(model.parameters(), 0.5)",
    "list of parameters": """
        params = list(filter(lambda p: p.requires_grad, model.parameters()))
        optimizer = torch.optim.AdamW(params, lr=1e-3)
        nn.utils.clip_grad_norm_(params, 1.0)
        """,
    "one generator, one of two optimizers": """
        params = model.parameters()
        if use_adam:
            optimizer = torch.optim.AdamW(params, lr=1e-3)
        else:
            optimizer = torch.optim.SGD(params, lr=0.1, momentum=0.9)
        """,
    "unpacked parameters": """
        optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-3)
        """,
    "groups": """
        optimizer = torch.optim.AdamW(
            [{"params": model.parameters()}, {"params": head.parameters(), "lr": 1e-4}], lr=1e-3
        )
        """,
    "single tensors": """
        optimizer = torch.optim.AdamW([model[0].weight, model[0].bias], lr=1e-3)
        """,
    "parameters of a library layer": """
        from torch_geometric.nn import MemPooling
        model = nn.Sequential(MemPooling(8, 8, 2, 2), nn.Linear(8, 2))
        model[0].k.requires_grad = False
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        """,
    "small decay on a transformer": """
        model = nn.TransformerEncoderLayer(16, 4, norm_first=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
        """,
    "moved after": """
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        model.to("cuda")
        model = nn.parallel.DistributedDataParallel(model)
        """,
    "optimizer built again": """
        model = torchvision.models.resnet18(weights="DEFAULT")
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        model.fc = nn.Linear(512, 10)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        """,
    "group added": """
        model = torchvision.models.resnet18(weights="DEFAULT")
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        model.fc = nn.Linear(512, 10)
        optimizer.add_param_group({"params": model.fc.parameters()})
        """,
    "head after freezing": """
        model = torchvision.models.resnet18(weights="DEFAULT")
        for p in model.parameters():
            p.requires_grad = False
        model.fc = nn.Linear(512, 10)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        """,
    "frozen by name": """
        for name, p in model.named_parameters():
            if "2." not in name:
                p.requires_grad = False
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        """,
    "frozen in part": """
        for p in list(model.parameters())[:2]:
            p.requires_grad = False
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        """,
    "unfrozen later": """
        model.requires_grad_(False)
        model[2].requires_grad_(True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        """,
    "adapters injected": """
        from peft import get_peft_model
        from transformers import AutoModelForCausalLM
        model = AutoModelForCausalLM.from_pretrained("gpt2")
        model = get_peft_model(model, config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        """,
    "fine-tuning rate": """
        from transformers import AutoModelForCausalLM
        model = AutoModelForCausalLM.from_pretrained("gpt2")
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
        """,
    "the whole data set in one batch": """
        loader = DataLoader(dataset, batch_size=None)
        optimizer = torch.optim.LBFGS(model.parameters())
        """,
    "names that pair": """
        encoder, decoder = nn.Linear(4, 2), nn.Linear(2, 4)
        encoder_optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-4)
        optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-4)
        encoder_optimizer.step()
        """,
}


@pytest.mark.parametrize("setup", HEALTHY.values(), ids=HEALTHY.keys())
def test_healthy_optimizers_are_left_alone(setup: str) -> None:
    assert found(setup) == []
