"""Arithmetic judged on source text: what overflows or has no gradient, and what is guarded."""

from __future__ import annotations

import textwrap

import pytest
from on_source import HEAD, judge, training

from convlint.findings import Severity

SIGMOID_NET = "nn.Sequential(nn.Linear(20, 1), nn.Sigmoid())"


def script(text: str) -> str:
    return HEAD + textwrap.dedent(text)


SICK = [
    ("log-of-softmax", training("loss = -F.softmax(model(x), dim=1).log().mean()")),
    ("log-of-softmax", training("loss = -torch.log(1 - torch.sigmoid(model(x))).mean()")),
    ("log1p-expm1-logsumexp", training("loss = (torch.exp(model(x)) - 1).mean()")),
    ("log1p-expm1-logsumexp", training("loss = model(x).exp().sum(dim=1).log().mean()")),
    ("log1p-expm1-logsumexp", training("loss = torch.log(1.0 + torch.exp(model(x))).mean()")),
    ("unclamped-log", training("loss = -torch.log(model(x)).mean()",
                               "nn.Sequential(nn.Linear(20, 10), nn.Softmax(dim=1))")),
    ("unclamped-log", training("p = model(x).squeeze(1)\n"
                               "loss = -(y * p.clamp(1e-7).log() + (1 - y) * torch.log(1 - p)).mean()",
                               SIGMOID_NET)),
    ("unclamped-log", training("parts = model(x).relu()\n"
                               "loss = torch.log(parts / parts.sum(1, keepdim=True)).mean()")),
    ("sqrt-at-zero", training("loss = ((model(x) - y[:, None]) ** 2).sum(1).sqrt().mean()")),
    ("sqrt-at-zero", training("loss = model(x).var(dim=0) ** 0.5\nloss = loss.mean()")),
    ("sqrt-at-zero", training("loss = torch.sqrt(torch.clamp(model(x), min=0)).mean()")),
    ("naive-softmax", training("e = torch.exp(model(x) / 2.0)\n"
                               "loss = (e / e.sum(dim=1, keepdim=True)).pow(2).sum()")),
    ("naive-softmax", training("s = model(x)\nloss = (s.exp() / torch.sum(s.exp(), 1, keepdim=True)).max()")),
    ("div-no-eps", training("h = model(x)\nloss = (h / h.std(dim=0)).pow(3).sum()")),
    ("div-no-eps", training("kept = (y > 3).float()\nloss = (model(x).sum(1) * kept).sum() / kept.sum()")),
    ("where-nan-gradient", training("s = model(x)\nloss = torch.where(s > 0, s.log(), 0.0).sum()")),
    ("where-nan-gradient", training("s = model(x)\nloss = torch.where(s != 0, y[:, None] / s, s).sum()")),
    ("where-nan-gradient", training("s = model(x)\nloss = torch.where(s > 0, s ** 0.5, s).sum()")),
    ("half-mask-constant", training("s = model(x.half()).to(torch.float16)\n"
                                    "loss = s.masked_fill(x[:, :10] > 0, -1e20).sum()")),
    ("half-mask-constant", script("""
        class Scores(nn.Module):
            def __init__(self):
                super().__init__()
                self.query, self.key = nn.Linear(20, 8), nn.Linear(20, 8)

            def forward(self, x, mask):
                scores = self.query(x) @ self.key(x).t() / 8.0
                return scores.masked_fill(mask, -1e9).softmax(-1)

        model = Scores()
        for x, y in loader:
            with torch.autocast("cuda", dtype=torch.float16):
                loss = model(x, y == 0).sum()
            loss.backward()
    """)),
    ("eps-underflows-half", training("s = model(x).half()\nloss = torch.log(s.relu() + 1e-8).sum()")),
    ("eps-underflows-half", script("""
        model = nn.Linear(20, 10).half()
        for x, y in loader:
            s = model(x)
            loss = s / (s.norm() + 1e-12)
            loss.sum().backward()
    """)),
    ("nan-compare", training("loss = F.cross_entropy(model(x), y)\nassert loss.item() != np.nan")),
    ("nan-compare", script("""
        def check(value):
            if value == math.nan:
                raise ValueError(value)
    """)),
    ("nan-compare", training("loss = F.cross_entropy(model(x), y)\nif torch.nan == loss: break")),
    ("acos-unclamped", training("h = F.normalize(model(x), dim=1)\n"
                                "loss = torch.acos(h @ F.normalize(model(x + 1), dim=1).t()).sum()")),
    ("acos-unclamped", training("loss = F.cosine_similarity(model(x), model(x + 1)).arccos().sum()")),
    ("anomaly-left-on", script("torch.autograd.set_detect_anomaly(mode=True)")),
    ("std-of-one", training("a = model(x).sum(1)\na = (a - a.mean()) / a.std()\nloss = a.pow(4).sum()")),
    ("loss-in-half-precision", training("loss = F.mse_loss(model(x), y)", "nn.Linear(20, 1).half()")),
    ("loss-in-half-precision", training("loss = nn.L1Loss()(model(x).to(dtype=torch.half), y)")),
]  # fmt: skip

HEALTHY = [
    ("log-of-softmax", "fused", training("loss = -F.log_softmax(model(x), dim=1).mean()")),
    ("log-of-softmax", "clamped", training("loss = -F.softmax(model(x), 1).clamp(1e-7).log().mean()")),
    ("log-of-softmax", "for the record only", training(
        "s = model(x)\nwith torch.no_grad():\n    print(torch.log(F.softmax(s, 1)))\nloss = F.cross_entropy(s, y)")),
    ("log1p-expm1-logsumexp", "another constant", training("loss = torch.log(2 + model(x).exp()).mean()")),
    ("log1p-expm1-logsumexp", "sum of everything", training("loss = model(x).exp().sum().log()")),
    ("log1p-expm1-logsumexp", "arrays without gradient", script("print(np.exp(np.arange(3)) - 1)")),
    ("log1p-expm1-logsumexp", "a number", script("print(math.log(1 + 3), np.exp(2.0) - 1)")),
    ("unclamped-log", "clamped", training("loss = -torch.log(model(x).clamp(min=1e-7)).mean()", SIGMOID_NET)),
    ("unclamped-log", "constant added", training("loss = -torch.log(model(x) + 1e-8).mean()", SIGMOID_NET)),
    ("unclamped-log", "xlogy", training("loss = torch.special.xlogy(model(x), model(x)).mean()", SIGMOID_NET)),
    ("unclamped-log", "not in the loss", training(
        "p = model(x)\nprint(p.log().mean())\nloss = F.binary_cross_entropy(p.squeeze(1), y)", SIGMOID_NET)),
    ("sqrt-at-zero", "constant inside", training("loss = (model(x).pow(2).sum(1) + 1e-12).sqrt().mean()")),
    ("sqrt-at-zero", "norm", training("loss = (model(x) - y[:, None]).norm(dim=1).mean()")),
    ("sqrt-at-zero", "cdist", training("loss = torch.cdist(model(x), model(x + 1)).mean()")),
    ("sqrt-at-zero", "under no_grad", training(
        "s = model(x)\nwith torch.no_grad():\n    print(s.pow(2).sum().sqrt())\nloss = s.sum()")),
    ("sqrt-at-zero", "of the data", training("loss = (model(x) * x.pow(2).sum(1).sqrt()[:, None]).sum()")),
    ("naive-softmax", "shifted", training(
        "s = model(x)\ne = torch.exp(s - s.max(dim=1, keepdim=True).values)\nloss = (e / e.sum(1)).sum()")),
    ("naive-softmax", "bounded", training(
        "e = torch.exp(torch.tanh(model(x)))\nloss = (e / e.sum(1, keepdim=True)).pow(2).sum()")),
    ("naive-softmax", "cosines", training(
        "h = F.normalize(model(x), dim=1)\ne = torch.exp(h @ h.t() / 0.1)\nloss = (e / e.sum(1)).sum()")),
    ("div-no-eps", "constant added", training("h = model(x)\nloss = (h / (h.std() + 1e-6)).pow(3).sum()")),
    ("div-no-eps", "lower bound", training("h = model(x)\nloss = (h / h.norm().clamp(min=1e-6)).sum()")),
    ("where-nan-gradient", "double where", training(
        "s = model(x)\nsafe = torch.where(s > 0, s, 1.0)\nloss = torch.where(s > 0, safe.log(), 0.0).sum()")),
    ("where-nan-gradient", "data without gradient", training(
        "weight = torch.where(x > 0, x.log(), 0.0)\nloss = (model(x) * weight.sum(1)[:, None]).sum()")),
    ("where-nan-gradient", "safe function", training("s = model(x)\nloss = torch.where(s > 0, s.exp(), s).sum()")),
    ("half-mask-constant", "least of the dtype", training(
        "s = model(x).half()\nloss = s.masked_fill(x[:, :10] > 0, torch.finfo(s.dtype).min).sum()")),
    ("half-mask-constant", "float32", training("loss = model(x).masked_fill(x[:, :10] > 0, -1e9).sum()")),
    ("half-mask-constant", "bfloat16 autocast", training(
        "with torch.autocast('cuda', dtype=torch.bfloat16):\n    s = model(x)\n"
        "    loss = s.masked_fill(x[:, :10] > 0, -1e9).sum()")),
    ("eps-underflows-half", "float32", training("loss = torch.log(model(x).relu() + 1e-8).sum()")),
    ("eps-underflows-half", "cast up first", training(
        "s = model(x).half().float()\nloss = torch.log(s.relu() + 1e-8).sum()")),
    ("nan-compare", "with itself", training("loss = F.cross_entropy(model(x), y)\nif loss != loss: break")),
    ("nan-compare", "isnan", training("loss = F.cross_entropy(model(x), y)\nif torch.isnan(loss): break")),
    ("nan-compare", "what a caller passes", training("loss = F.cross_entropy(model(x), y)") + """

def same(a, b):
    return math.isnan(a) and math.isnan(b) or a == b

print(same(float("nan"), loss.item()))
"""),
    ("nan-compare", "infinity", training("loss = F.cross_entropy(model(x), y)\nif loss == math.inf: break")),
    ("acos-unclamped", "clamped", training(
        "c = F.cosine_similarity(model(x), model(x + 1))\nloss = torch.acos(c.clamp(-0.999, 0.999)).sum()")),
    ("acos-unclamped", "under no_grad", training(
        "s = model(x)\nwith torch.no_grad():\n    print(F.cosine_similarity(s, s + 1).acos())\nloss = s.sum()")),
    ("anomaly-left-on", "behind a flag", script("""
        import sys
        if "--debug" in sys.argv:
            torch.autograd.set_detect_anomaly(True)
    """)),
    ("anomaly-left-on", "off", script("torch.autograd.set_detect_anomaly(False)")),
    ("std-of-one", "population estimate", training(
        "a = model(x).sum(1)\na = (a - a.mean()) / (a.std(unbiased=False) + 1e-8)\nloss = a.pow(4).sum()")),
    ("std-of-one", "the whole data set", script("""
        data = (inputs - inputs.mean()) / inputs.std()
        model = nn.Linear(20, 10)
        F.cross_entropy(model(data), labels).backward()
    """)),
    ("std-of-one", "another tensor's", training("loss = ((model(x) - x.mean()) / x.std()).sum()")),
    ("loss-in-half-precision", "cast up", training(
        "loss = F.mse_loss(model(x).float(), y.float())", "nn.Linear(20, 1).half()")),
    ("loss-in-half-precision", "bfloat16", training("loss = F.mse_loss(model(x), y)", "nn.Linear(20, 1).bfloat16()")),
    ("loss-in-half-precision", "autocast", training(
        "with torch.autocast('cuda'):\n    loss = F.mse_loss(model(x).half(), y)")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("slug", "source"), SICK, ids=[f"{s}-{i}" for i, (s, _) in enumerate(SICK)]
)
def test_fault_is_found(slug: str, source: str) -> None:
    assert [finding.slug for finding in judge(slug, source)] == [slug]


@pytest.mark.parametrize(
    ("slug", "source"), [(s, c) for s, _, c in HEALTHY], ids=[f"{s}: {n}" for s, n, _ in HEALTHY]
)
def test_healthy_code_is_left_alone(slug: str, source: str) -> None:
    assert judge(slug, source) == []


def test_a_small_constant_inside_the_logarithm_makes_it_information() -> None:
    source = training("loss = -torch.log(torch.softmax(model(x), 1) + 1e-8).mean()")
    (finding,) = judge("log-of-softmax", source)
    assert finding.severity is Severity.INFO
