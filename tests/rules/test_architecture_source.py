"""Rules of architecture on source text: further faults, and healthy code close to each of them."""

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
    findings = check_source(
        textwrap.dedent(source), "train.py", rules=[rule], min_confidence=Confidence.MEDIUM
    )
    return [finding.slug for finding in findings]


def network(init: str, forward: str, name: str = "Net", extra: str = "", more: str = "") -> str:
    """A module with this constructor and forward, and an optimizer over it."""
    return "\n".join(
        (
            "import torch",
            "import torch.nn.functional as F",
            "from torch import nn",
            extra,
            f"class {name}(nn.Module):",
            "    def __init__(self, p=0.1, dim=32):",
            "        super().__init__()",
            textwrap.indent(textwrap.dedent(init).strip(), "        "),
            "    def forward(self, x):",
            textwrap.indent(textwrap.dedent(forward).strip(), "        "),
            textwrap.indent(textwrap.dedent(more).strip(), "    "),
            f"model = {name}()",
            "optimizer = torch.optim.Adam(model.parameters())",
        )
    )


SEQUENTIAL = """
import torch
from torch import nn
model = nn.Sequential({})
optimizer = torch.optim.Adam(model.parameters())
"""

SICK = [
    (
        "NRM001",
        network("self.c = nn.Linear(4, 8)\nself.n = nn.BatchNorm1d(8)", "return self.n(self.c(x))"),
    ),
    (
        "NRM002",
        network("self.d = nn.Dropout(0.3)\nself.n = nn.BatchNorm1d(8)", "return self.n(self.d(x))"),
    ),
    (
        "NRM003",
        network("self.a = nn.Linear(8, 64)\nself.b = nn.Linear(64, 4)", "return self.b(self.a(x))"),
    ),
    (
        "NRM003",
        network(
            "self.a = nn.Linear(dim, dim)\nself.b = nn.Linear(dim, dim)", "return self.b(self.a(x))"
        ),
    ),
    ("NRM005", "import keras\nlayer = keras.layers.BatchNormalization(momentum=0.1)\n"),
    ("NRM008", network("self.a = nn.Linear(8, 8)", "return nn.Conv1d(8, 8, 3)(self.a(x))")),
    (
        "NRM008",
        network(
            "self.a = nn.Linear(8, 8)\n",
            "return self.head(x)",
            more="def head(self, x):\n    return nn.Linear(8, 2)(self.a(x))",
        ),
    ),
    (
        "NRM009",
        network("self.a = nn.Linear(8, 8)", "drop = nn.Dropout2d(0.2)\nreturn drop(self.a(x))"),
    ),
    (
        "NRM010",
        network("self.a = nn.Linear(8, 8)\nself.p = p", "return F.dropout2d(self.a(x), self.p)"),
    ),
    (
        "NRM010",
        network(
            "self.a = nn.Linear(8, 8)", "if x.sum() > 0:\n    x = F.dropout(x)\nreturn self.a(x)"
        ),
    ),
    (
        "NRM011",
        network(
            "self.p = p\nself.a = nn.Linear(8, 8)",
            "return F.scaled_dot_product_attention(x, x, x, dropout_p=self.p)",
        ),
    ),
    (
        "NRM012",
        network(
            "self.a = nn.Linear(8, 8)",
            "return xops.memory_efficient_attention(x, x, x, p=0.2)",
            extra="import xformers.ops as xops",
        ),
    ),
    (
        "NRM013",
        network("self.a = nn.Linear(8, 8)", "return F.dropout(self.a(x), 0.8, self.training)"),
    ),
    (
        "NRM014",
        network("self.a = nn.Linear(8, 8)\nself.spare = nn.Conv1d(3, 4, 2)", "return self.a(x)"),
    ),
    (
        "NRM017",
        network(
            "self.r = nn.GRU(8, 16)\nself.h = nn.Linear(16, 2)",
            "out, h = self.r(x)\nreturn self.h(out[:, -1, :])",
        ),
    ),
    ("NRM020", SEQUENTIAL.format("nn.GRU(8, 8, 1, dropout=0.2)")),
    (
        "NRM021",
        SEQUENTIAL.format("nn.Linear(8, 8)")
        + "def weights_init(m):\n    nn.init.normal_(m.weight, std=0.02)\n",
    ),
]

HEALTHY = [
    ("NRM001", SEQUENTIAL.format("nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8)")),
    ("NRM001", SEQUENTIAL.format("nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)")),
    ("NRM002", SEQUENTIAL.format("nn.Dropout2d(0.05), nn.BatchNorm2d(8)")),
    ("NRM003", SEQUENTIAL.format("nn.Linear(64, 4), nn.Linear(4, 64)")),
    ("NRM003", SEQUENTIAL.format("nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 64)")),
    ("NRM003", network("self.a = nn.Linear(64, 64)\nself.out_proj = nn.Linear(64, 64)", "return self.out_proj(self.a(x))")),
    ("NRM003", network("self.a = nn.Linear(64, 64)\nself.b = nn.Linear(64, 64)", "h = self.a(x)\nreturn h + self.b(h)")),
    ("NRM005", SEQUENTIAL.format("nn.BatchNorm1d(8, momentum=None)")),
    ("NRM005", SEQUENTIAL.format("nn.BatchNorm1d(8, momentum=0.2)")),
    ("NRM008", network("self.a = nn.Linear(8, 8)", "return nn.ReLU()(nn.AvgPool1d(2)(self.a(x)))")),
    ("NRM008", network("self.a = nn.Linear(8, 8)", "return nn.BatchNorm1d(8, affine=False)(self.a(x))")),
    ("NRM008", network("self.a = None", "if self.a is None:\n    self.a = nn.Linear(8, 8)\nreturn self.a(x)")),
    ("NRM009", network("self.a = nn.Linear(8, 8)", "if self.training:\n    x = nn.Dropout(0.2)(x)\nreturn self.a(x)")),
    ("NRM010", network("self.a = nn.Linear(8, 8)", "if self.training:\n    x = F.dropout(x)\nreturn self.a(x)")),
    ("NRM010", network("self.a = nn.Linear(8, 8)", "if not self.training:\n    return self.a(x)\nreturn self.a(F.dropout(x))")),
    ("NRM010", network("self.a = nn.Linear(8, 8)", "return self.a(F.dropout(x) if self.training else x)")),
    ("NRM010", network("self.a = nn.Linear(8, 8)", "return F.dropout(self.a(x), 0.5)", name="Prenet")),
    ("NRM010", "import torch.nn.functional as F\ndef noisy(x):\n    return F.dropout(x, 0.5)\n"),
    ("NRM011", network("self.p = p", "return F.scaled_dot_product_attention(x, x, x, dropout_p=self.p if self.training else 0)")),
    ("NRM011", network("self.p = p", "p = 0.0\nif self.training:\n    p = self.p\nreturn F.scaled_dot_product_attention(x, x, x, dropout_p=p)")),
    ("NRM011", network("self.p = p", "return F.scaled_dot_product_attention(x, x, x)")),
    ("NRM012", network("self.a = nn.Linear(8, 8)", "return xops.memory_efficient_attention(x, x, x)", extra="import xformers.ops as xops")),
    ("NRM013", SEQUENTIAL.format("nn.Dropout(0.6)")),
    ("NRM013", network("self.word_drop = nn.Dropout(0.8)", "return self.word_drop(x)")),
    ("NRM014", network("self.a = nn.Linear(8, 8)\nself.b = nn.Linear(8, 8)", "for layer in self.children():\n    x = layer(x)\nreturn x")),
    ("NRM014", network("self.a = nn.Linear(8, 8)\nself.b = nn.Linear(8, 8)", "return F.linear(self.a(x), self.b.weight)")),
    ("NRM014", network("self.a = nn.Linear(8, 8)\nself.drop = nn.Dropout(0.1)", "return self.a(x)")),
    ("NRM017", network("self.r = nn.GRU(8, 16)\nself.h = nn.Linear(16, 2)", "out, h = self.r(x.transpose(0, 1))\nreturn self.h(out[-1])")),
    ("NRM017", network("self.r = nn.GRU(8, 16, batch_first=True)\nself.h = nn.Linear(16, 2)", "out, h = self.r(x)\nreturn self.h(out[:, -1])")),
    ("NRM019", SEQUENTIAL.format("nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)")),
    ("NRM020", SEQUENTIAL.format("nn.GRU(8, 8, 2, dropout=0.2)")),
    ("NRM021", network("self.a = nn.Linear(8, 8)\nself.init_weights()", "return self.a(x)", more="def init_weights(self):\n    nn.init.normal_(self.a.weight, std=0.02)")),
]  # fmt: skip


@pytest.mark.parametrize(("code", "source"), SICK)
def test_a_further_form_of_the_fault_is_found(code: str, source: str) -> None:
    rule = find_rule(code)
    assert rule is not None
    assert slugs(code, source) == [rule.slug]


@pytest.mark.parametrize(("code", "source"), HEALTHY)
def test_healthy_code_close_to_the_fault_is_left_alone(code: str, source: str) -> None:
    assert slugs(code, source) == []


def test_a_layer_kept_for_the_next_call_is_only_a_doubt() -> None:
    rule = find_rule("NRM008")
    assert rule is not None
    source = network(
        "self.a = None", "if self.a is None:\n    self.a = nn.Linear(8, 8)\nreturn self.a(x)"
    )
    (finding,) = check_source(source, "train.py", rules=[rule], min_confidence=Confidence.LOW)
    assert finding.confidence is Confidence.LOW


def test_dropout_that_says_it_is_always_on_is_noted() -> None:
    rule = find_rule("NRM010")
    assert rule is not None
    source = network("self.a = nn.Linear(8, 8)", "return F.dropout(self.a(x), 0.5, training=True)")
    (finding,) = check_source(source, "train.py", rules=[rule])
    assert finding.severity == "info"


SCORES = """
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
loader = DataLoader(TensorDataset(torch.randn(64, 8), torch.randint(0, 3, (64,))), batch_size={batch})
model = nn.Sequential(nn.Linear(8, 3){last})
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in loader:
    optimizer.zero_grad()
    loss = {loss}
    loss.backward()
    optimizer.step()
"""


@pytest.mark.parametrize(
    ("code", "last", "loss", "batch", "count"),
    [
        ("NRM016", "", "F.cross_entropy(F.softmax(model(x), 0), y)", 8, 1),
        ("NRM016", "", "F.nll_loss(F.log_softmax(model(x), -1), y)", 8, 0),
        ("NRM016", "", "F.nll_loss(F.log_softmax(model(x).T, 0).T, y)", 8, 0),
        ("NRM018", ", nn.Tanh()", "F.cross_entropy(model(x), y)", 8, 1),
        ("NRM018", ", nn.Tanh()", "F.cross_entropy(10 * model(x), y)", 8, 0),
        ("NRM018", ", nn.ReLU()", "F.mse_loss(model(x), y)", 8, 0),
        ("NRM006", ", nn.BatchNorm1d(3)", "F.cross_entropy(model(x), y)", 1, 1),
        (
            "NRM006",
            ", nn.BatchNorm1d(3, track_running_stats=False)",
            "F.cross_entropy(model(x), y)",
            1,
            0,
        ),
        ("NRM006", ", nn.LayerNorm(3)", "F.cross_entropy(model(x), y)", 1, 0),
    ],
)
def test_what_enters_the_loss_decides(
    code: str, last: str, loss: str, batch: int, count: int
) -> None:
    assert len(slugs(code, SCORES.format(last=last, loss=loss, batch=batch))) == count
