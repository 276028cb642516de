"""Rules of initialisation on source text: further faults, and healthy code close to them."""

from __future__ import annotations

import textwrap

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


def stack(activation: str, call: str, width: int = 64, extra: str = "") -> str:
    """Four linear layers with this activation, and this initialisation of their weights."""
    layers = f"nn.Linear({width}, {width}), {activation}, " * 3
    return (
        "import math\nimport torch\nfrom torch import nn\n"
        f"model = nn.Sequential({layers}{extra}nn.Linear({width}, 2))\n"
        "for m in model.modules():\n    if isinstance(m, nn.Linear):\n"
        f"        {call}\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
    )


def holder(init: str, forward: str, after: str = "") -> str:
    """A module that holds a parameter of its own."""
    return (
        "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
        "class Net(nn.Module):\n    def __init__(self, n=64):\n        super().__init__()\n"
        + textwrap.indent(init, "        ")
        + "\n    def forward(self, x):\n"
        + textwrap.indent(forward, "        ")
        + f"\nmodel = Net()\n{after}optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
    )


LOADED = "model.load_state_dict(torch.load('w.pt'))\n"
APPLY = (
    "import torch\nfrom torch import nn\n"
    "def init(m):\n    if isinstance(m, nn.Linear):\n        nn.init.xavier_uniform_(m.weight)\n"
    "model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))\n"
)

TANH = "nn.Linear(64, 64), nn.Tanh(), "
SIGMOID = "nn.Linear(64, 64), nn.Sigmoid(), "

SICK = [
    ("INI011", stack("nn.Tanh()", "nn.init.normal_(m.weight, std=0.01)", extra=TANH)),
    ("INI011", stack("nn.Sigmoid()", "nn.init.xavier_uniform_(m.weight)", extra=SIGMOID)),
    ("INI004", stack("nn.LeakyReLU(0.01)", "nn.init.kaiming_uniform_(m.weight, a=1)")),
    ("INI006", stack("nn.ReLU()", "m.weight.data.uniform_(0, 0.1)")),
    ("INI007", holder("self.w = nn.Parameter(torch.Tensor(64, 8))", "return x @ self.w")),
    (
        "INI008",
        holder("self.w = nn.Parameter(torch.randn(64, 8))", "return torch.matmul(x, self.w)"),
    ),
    ("INI009", APPLY + "if resume:\n    " + LOADED + "    model.apply(init)\n"),
    ("INI012", stack("nn.ReLU()", "nn.init.xavier_normal(m.weight)")),
    (
        "INI014",
        stack(
            "nn.SELU()",
            "nn.init.kaiming_normal_(m.weight, nonlinearity='linear')",
            extra="nn.Dropout(0.1), ",
        ),
    ),
    ("INI015", stack("nn.ReLU()", "nn.init.kaiming_normal_(m.weight, nonlinearity='tanh')")),
]

HEALTHY = [
    ("INI011", stack("nn.Tanh()", "nn.init.xavier_uniform_(m.weight, gain=5 / 3)", extra=TANH)),
    ("INI011", stack("nn.Tanh()", "nn.init.orthogonal_(m.weight)", extra=TANH)),
    ("INI004", stack("nn.LeakyReLU(0.2)", "nn.init.kaiming_normal_(m.weight, a=0)")),
    ("INI004", stack("nn.LeakyReLU(0.2)", "nn.init.kaiming_normal_(m.weight)")),
    ("INI004", stack("nn.LeakyReLU(0.2)", "nn.init.kaiming_uniform_(m.weight, a=math.sqrt(5))")),
    ("INI004", stack("nn.ReLU()", "nn.init.kaiming_normal_(m.weight, a=0.2, nonlinearity='relu')")),
    ("INI004", stack("nn.ReLU()", "nn.init.kaiming_uniform_(m.weight, a=1)")),
    ("INI006", stack("nn.ReLU()", "nn.init.uniform_(m.weight, -0.05, 0.05)")),
    ("INI006", stack("nn.ReLU()", "nn.init.uniform_(m.bias)")),
    ("INI006", stack("nn.ReLU()", "nn.init.uniform_(m.weight); nn.init.xavier_uniform_(m.weight)")),
    ("INI007", holder("self.w = nn.Parameter(torch.empty(64, 8))\nnn.init.zeros_(self.w)", "return x @ self.w")),
    ("INI007", holder("self.w = nn.Parameter(torch.empty(64, 8))\nself.w.data.normal_(0, 0.1)", "return x @ self.w")),
    ("INI007", holder("self.w = nn.Parameter(torch.empty(64, 8))\nwith torch.no_grad():\n    self.w[:] = 0.1", "return x @ self.w")),
    ("INI007", holder("self.w = nn.Parameter(torch.empty(64, 8))\nfor p in self.parameters():\n    nn.init.normal_(p, std=0.1)", "return x @ self.w")),
    ("INI007", holder("self.w = nn.Parameter(torch.empty(64, 8))", "return x @ self.w", LOADED)),
    ("INI007", holder("self.w = nn.Parameter(torch.empty(64, 8, device='meta'))", "return x @ self.w")),
    ("INI008", holder("self.w = nn.Parameter(torch.randn(64, 8) * 0.02)", "return x @ self.w")),
    ("INI008", holder("self.w = nn.Parameter(torch.randn(64, 8))", "return x @ self.w / 8.0")),
    ("INI008", holder("self.w = nn.Parameter(torch.randn(64, 8))", "return x @ F.normalize(self.w)")),
    ("INI008", holder("self.pos_embed = nn.Parameter(torch.randn(64, 8))", "return x @ self.pos_embed")),
    ("INI008", holder("self.w = nn.Parameter(torch.randn(1, 64, 8))", "return x @ self.w")),
    ("INI009", APPLY + "model.apply(init)\n" + LOADED),
    ("INI009", APPLY + "if resume:\n    " + LOADED + "else:\n    model.apply(init)\n"),
    ("INI009", APPLY + LOADED + "model[2].apply(init)\n"),
    ("INI012", stack("nn.ReLU()", "nn.init.xavier_normal_(m.weight)")),
    ("INI014", stack("nn.SELU()", "nn.init.normal_(m.weight, std=64 ** -0.5)")),
    ("INI014", stack("nn.SELU()", "nn.init.kaiming_normal_(m.weight, nonlinearity='linear')", extra="nn.AlphaDropout(0.1), ")),
    ("INI015", stack("nn.Tanh()", "nn.init.xavier_normal_(m.weight, gain=nn.init.calculate_gain('tanh'))")),
    ("INI015", stack("nn.GELU()", "nn.init.xavier_normal_(m.weight, gain=nn.init.calculate_gain('relu'))")),
    ("INI015", stack("nn.SELU()", "nn.init.kaiming_normal_(m.weight, nonlinearity='linear')")),
]  # fmt: skip


@pytest.mark.parametrize(("code", "source"), SICK)
def test_a_further_form_of_the_fault_is_found(code: str, source: str) -> None:
    rule = find_rule(code)
    assert rule is not None
    assert slugs(code, source) == [rule.slug]


@pytest.mark.parametrize(("code", "source"), HEALTHY)
def test_healthy_code_close_to_the_fault_is_left_alone(code: str, source: str) -> None:
    assert slugs(code, source) == []
