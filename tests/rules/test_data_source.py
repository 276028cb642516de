"""Rules of data and of replicated training on source text: further faults, and healthy code close
to them."""

from __future__ import annotations

import pytest

from convlint.engine import check_source
from convlint.findings import Confidence
from convlint.rules import find_rule


def slugs(code: str, source: str) -> list[str]:
    """What the one rule reports, at medium confidence or above."""
    rule = find_rule(code)
    assert rule is not None
    findings = check_source(source, "train.py", rules=[rule], min_confidence=Confidence.MEDIUM)
    return [finding.slug for finding in findings]


HEAD = """
import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, WeightedRandomSampler, random_split, DistributedSampler, SubsetRandomSampler
from torchvision import datasets, transforms as T
"""
PLAIN = "T.Compose([T.ToTensor()])"
AUGMENTED = "T.Compose([T.RandomCrop(32), T.ToTensor()])"


def sets(train: str = PLAIN, test: str = PLAIN, name: str = "CIFAR10") -> str:
    """A training and a test set with these transforms."""
    return HEAD + (
        f"train_set = datasets.{name}('d', train=True, transform={train})\n"
        f"test_set = datasets.{name}('d', train=False, transform={test})\n"
    )


def normalize(
    mean: str, std: str = "(0.2, 0.2, 0.2)", after: str = "", before: str = "T.ToTensor(), "
) -> str:
    return f"T.Compose([{before}T.Normalize({mean}, {std}){after}])"


def noisy(init: str, get: str, workers: int = 2, more: str = "", methods: str = "") -> str:
    """A dataset with random numbers of its own."""
    return HEAD + (
        "class Noisy(Dataset):\n    def __init__(self, data):\n        self.data = data\n"
        f"        {init}\n    def __getitem__(self, i):\n        {get}\n{methods}"
        f"loader = DataLoader(Noisy(torch.randn(9)), num_workers={workers}{more})\n"
    )


def replicated(
    loader: str = "DataLoader(data, sampler=sampler)",
    sampler: str = "DistributedSampler(data)",
    begin: str = "sampler.set_epoch(epoch)",
    inner: str = "pass",
    before: str = "pass",
) -> str:
    """A training loop over a replicated model."""
    return HEAD + (
        f"data = datasets.CIFAR10('d', transform={PLAIN})\nsampler = {sampler}\nloader = {loader}\n"
        "model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))\n"
        f"{before}\nmodel = DDP(model)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        f"for epoch in range(9):\n    {begin}\n    for x, y in loader:\n        {inner}\n"
        "        optimizer.zero_grad()\n        loss = nn.functional.cross_entropy(model(x), y)\n"
        "        loss.backward()\n        optimizer.step()\n"
    )


SPLIT = "train_part, val_part = random_split(train_set, [40000, 10000])\n"
LOADERS = "train_loader = DataLoader({}, shuffle=True)\nval_loader = DataLoader({})\n"
SHUFFLE = HEAD + "from sklearn.datasets import load_wine\nx, y = load_wine(return_X_y=True)\n"
WEIGHTED = HEAD + "sampler = WeightedRandomSampler({})\n"
POWER = (
    "from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState\n"
    "state = PowerSGDState({})\n"
)
SHARED = (
    "import torch\nimport torch.multiprocessing as mp\nfrom torch import nn\n"
    "def train(model):\n    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum={})\n"
    "model = nn.Linear(2, 2)\nmodel.share_memory()\nmp.spawn(train, args=(model,))\n"
)
FSDP = (
    "import torch\nfrom torch import nn\n"
    "from torch.distributed.fsdp import FullyShardedDataParallel as FSDP\nmodel = nn.Linear(2, 2)\n"
)

SICK = [
    ("DAT005", sets() + "val_loader = DataLoader(test_set, shuffle=True)\n"),
    ("DAT006", sets(AUGMENTED) + SPLIT + LOADERS.format("train_part", "val_part")),
    (
        "DAT007",
        sets() + "test_loader = DataLoader(train_set)\ntrain_loader = DataLoader(train_set)\n",
    ),
    (
        "DAT008",
        noisy(
            "self.rng = np.random.RandomState(0)",
            "return self.noise() + self.data[i]",
            methods="    def noise(self):\n        return self.rng.randn()\n",
        ),
    ),
    ("DAT010", sets(normalize("(0.5, 0.5, 0.5)", "(0.5, 0.0, 0.5)"))),
    ("DAT011", sets(normalize("(0.5, 0.5, 0.5)", after=", T.RandAugment()"))),
    ("DAT012", sets() + "test_loader = DataLoader(test_set, drop_last=True)\n"),
    ("DAT013", WEIGHTED.format("[0.1, 0.4, 0.5], 3, replacement=False")),
    ("DAT014", SHUFFLE + "def mix():\n    np.random.shuffle(y)\n    np.random.shuffle(x)\nmix()\n"),
    ("DAT017", sets(normalize("(0.1307,)", "(0.3081,)"))),
    ("DAT018", sets(normalize("(0.5, 0.5, 0.5)"), normalize("(0.1, 0.1, 0.1)"))),
    ("DST001", replicated(begin="print(epoch)")),
    ("DST002", replicated(loader="DataLoader(data, batch_size=8, shuffle=True)", begin="pass")),
    ("DST003", replicated(inner="model = DDP(model)")),
    (
        "DST004",
        FSDP
        + "opt = torch.optim.SGD(model.parameters())\nmodel = FSDP(model, use_orig_params=False)\n",
    ),
    (
        "DST010",
        replicated(
            before="if torch.distributed.get_rank() == 0:\n    model.add_module('b', nn.Linear(2, 2))"
        ),
    ),
    ("ASY001", SHARED.format(0.95)),
    ("ASY002", POWER.format("None, 1, 1000, 2, False")),
    ("ASY003", POWER.format("None, 1, 3")),
]

HEALTHY = [
    ("DAT002", sets()),
    ("DAT005", sets() + "train_loader = DataLoader(train_set, shuffle=True)\n"),
    ("DAT006", sets(AUGMENTED, PLAIN) + LOADERS.format("train_set", "test_set")),
    ("DAT006", sets(PLAIN) + SPLIT + LOADERS.format("train_part", "val_part")),
    ("DAT007", sets() + SPLIT + LOADERS.format("train_part", "val_part")),
    ("DAT007", sets() + LOADERS.format("Subset(train_set, a)", "Subset(train_set, b)")),
    ("DAT007", sets() + "train_loader = DataLoader(train_set, sampler=SubsetRandomSampler(a))\nval_loader = DataLoader(train_set, sampler=SubsetRandomSampler(b))\n"),
    ("DAT007", sets() + "train_loader = DataLoader(train_set)\ntrain_eval_loader = DataLoader(train_set)\n"),
    ("DAT008", noisy("self.rng = np.random.default_rng(0)", "return self.rng.normal()", workers=0)),
    ("DAT008", noisy("self.rng = np.random.default_rng(0)", "return self.rng.normal()", more=", worker_init_fn=reseed")),
    ("DAT008", noisy("self.order = np.random.default_rng(0).permutation(9)", "return self.data[self.order[i]]")),
    ("DAT010", sets(normalize("(0.5, 0.5, 0.5)"))),
    ("DAT010", sets(normalize("(123.0, 117.0, 104.0)", "(58.0, 57.0, 57.0)", before="T.PILToTensor(), "))),
    ("DAT011", sets(normalize("(0.5, 0.5, 0.5)", after=", T.RandomErasing()"))),
    ("DAT012", sets() + "train_loader = DataLoader(train_set, drop_last=True)\n"),
    ("DAT013", WEIGHTED.format("[0.1, 0.4, 0.5], 2, replacement=False")),
    ("DAT013", WEIGHTED.format("[0.1, 0.4, 0.5], 3")),
    ("DAT014", SHUFFLE + "np.random.seed(0)\nnp.random.shuffle(x)\nnp.random.seed(0)\nnp.random.shuffle(y)\n"),
    ("DAT014", SHUFFLE + "np.random.shuffle(x)\n"),
    ("DAT016", sets() + LOADERS.format("train_set", "test_set")),
    ("DAT017", sets(normalize("(0.5,)", "(0.5,)"))),
    ("DAT017", sets(normalize("(0.5, 0.5, 0.5)", before="T.Grayscale(3), T.ToTensor(), "), name="MNIST")),
    ("DAT018", sets(normalize("(0.491, 0.5, 0.5)"), normalize("(0.49, 0.5, 0.5)"))),
    ("DST001", replicated()),
    ("DST001", replicated(sampler="DistributedSampler(data, shuffle=False)", begin="pass")),
    ("DST002", replicated()),
    ("DST003", replicated()),
    ("DST004", FSDP + "opt = torch.optim.SGD(model.parameters())\nmodel = FSDP(model, use_orig_params=True)\n"),
    ("DST004", FSDP + "model = FSDP(model)\nopt = torch.optim.SGD(model.parameters())\n"),
    ("DST010", replicated(before="if torch.distributed.get_rank() == 0:\n    print(model)")),
    ("ASY001", SHARED.format(0.5)),
    ("ASY001", SHARED.format(0.95) + "barrier = mp.Barrier(4)\n"),
    ("ASY002", POWER.format("None, 1, 1000, 2, True")),
    ("ASY003", POWER.format("None")),
]  # fmt: skip


@pytest.mark.parametrize(("code", "source"), SICK)
def test_a_further_form_of_the_fault_is_found(code: str, source: str) -> None:
    rule = find_rule(code)
    assert rule is not None
    assert slugs(code, source) == [rule.slug]


@pytest.mark.parametrize(("code", "source"), HEALTHY)
def test_healthy_code_close_to_the_fault_is_left_alone(code: str, source: str) -> None:
    assert slugs(code, source) == []


PIXELS = """
import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import datasets
model = nn.Linear(784, 10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = {}
for step in range(10):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
"""


@pytest.mark.parametrize(
    "images",
    [
        "datasets.MNIST('d').data.float().view(-1, 784)",
        "torch.from_numpy(cv2.imread('a.png')).float().flatten()",
        "torch.tensor(np.array(Image.open('a.png').convert('L').resize((28, 28)))).float()",
    ],
)
def test_stored_pixels_are_raw_until_something_scales_them(images: str) -> None:
    assert slugs("DAT003", PIXELS.format(images)) == ["unnormalized-input"]
    assert slugs("DAT003", PIXELS.format(f"{images} / 255")) == []
    assert slugs("DAT003", PIXELS.format(f"nn.LayerNorm(784)({images})")) == []


RANDOM = PLAIN.replace("[", "[T.RandomHorizontalFlip(), ")
SEEDED = "torch.manual_seed({})\n"
STEPPED = replicated().replace(
    "        optimizer.step()\n", "        if y % 4 == 0:\n            optimizer.step()\n"
)
CLIPPED = (
    FSDP + "model = FSDP(model)\nopt = torch.optim.SGD(model.parameters())\nfor x, y in loader:\n"
    "    opt.zero_grad()\n    model(x).sum().backward()\n    {}\n    opt.step()\n"
)


@pytest.mark.parametrize(
    ("code", "source", "count"),
    [
        ("DAT002", replicated().replace("DDP(model)", "model"), 1),
        ("DAT016", replicated(), 1),
        ("DAT016", replicated(loader="DataLoader(data, batch_size=8)"), 0),
        ("DST006", replicated(before=SEEDED.format(7)).replace(PLAIN, RANDOM), 1),
        ("DST006", replicated(before=SEEDED.format("7 + rank")).replace(PLAIN, RANDOM), 0),
        ("DST007", replicated(), 1),
        ("DST007", replicated(before="world = torch.distributed.get_world_size()"), 0),
        ("DST008", STEPPED, 1),
        ("DST008", replicated(), 0),
        ("DST009", CLIPPED.format("nn.utils.clip_grad_norm_(model.parameters(), 1.0)"), 1),
        ("DST009", CLIPPED.format("nn.utils.clip_grad_value_(model.parameters(), 1.0)"), 0),
    ],
)
def test_replicas_are_judged_by_what_the_script_does_with_them(
    code: str, source: str, count: int
) -> None:
    assert len(slugs(code, source)) == count
