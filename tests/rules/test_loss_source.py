"""What enters a loss, judged on source text: faults in several styles, and what is no fault."""

from __future__ import annotations

import textwrap

import pytest
from on_source import HEAD, STEP, judge, training

from convlint.findings import Severity

SIGMOID_NET = "nn.Sequential(nn.Linear(20, 1), nn.Sigmoid())"


def script(text: str) -> str:
    return HEAD + textwrap.dedent(text)


def network(forward: str, loss: str = "loss = F.cross_entropy(model(x), y)") -> str:
    """A training script of a small class whose forward is ``forward``."""
    net = f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(20, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
{textwrap.indent(textwrap.dedent(forward).strip(), " " * 8)}

model = Net()
"""
    return HEAD + net + STEP.format(body=textwrap.indent(loss, "    "))


SICK = [
    ("redundant-log-softmax", training("loss = nn.CrossEntropyLoss()(model(x), y)",
                                       "nn.Sequential(nn.Linear(20, 10), nn.LogSoftmax(dim=1))")),
    ("redundant-log-softmax", network("return F.log_softmax(self.head(self.body(x)), dim=-1)")),
    ("bce-on-logits", training("loss = nn.BCELoss()(model(x).squeeze(1), y.float())", "nn.Linear(20, 1)")),
    ("bce-on-logits", training("loss = F.binary_cross_entropy(model(x), y.float())",
                               "nn.Sequential(nn.Linear(20, 4), nn.ReLU())")),
    ("prefer-bce-with-logits", training("loss = nn.BCELoss()(model(x).squeeze(1), y.float())", SIGMOID_NET)),
    ("kl-input-not-log", training("loss = nn.KLDivLoss(reduction='sum')(model(x).softmax(1), "
                                  "torch.softmax(x[:, :10], 1))")),
    ("kl-input-not-log", training("loss = F.kl_div(F.log_softmax(model(x), 1), "
                                  "F.log_softmax(x[:, :10], 1), reduction='batchmean')")),
    ("kl-input-not-log", training("loss = F.kl_div(F.log_softmax(model(x), 1), F.softmax(x[:, :10], 1), "
                                  "reduction='batchmean', log_target=True)")),
    ("kl-reduction-mean", training("loss = nn.KLDivLoss()(F.log_softmax(model(x), 1), F.softmax(x[:, :10], 1))")),
    ("kl-reduction-mean", training("loss = 4.0 * F.kl_div(F.log_softmax(model(x), 1), F.softmax(x[:, :10], 1))")),
    ("one-logit-cross-entropy", training("loss = nn.CrossEntropyLoss()(model(x), y)",
                                         "nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 1))")),
    ("one-logit-cross-entropy", network("return self.score(x)").replace(
        "self.head = nn.Linear(32, 10)", "self.score = nn.Linear(20, 1)")),
    ("detached-loss", training("loss = Variable(F.cross_entropy(model(x), y), requires_grad=True)")),
    ("detached-loss", training("loss = F.cross_entropy(model(x), y).detach()\nloss.requires_grad_()")),
    ("detached-loss", training("loss = F.cross_entropy(model(x), y)\nloss.requires_grad = True")),
    ("detached-loss", training("loss = torch.tensor(F.cross_entropy(model(x), y).item(), requires_grad=True)")),
    ("nondifferentiable-in-loss", training("_, decided = torch.max(model(x), 1)\n"
                                           "loss = F.mse_loss(decided.float(), y.float())")),
    ("nondifferentiable-in-loss", training("loss = F.l1_loss(torch.round(model(x)), y)")),
    ("nondifferentiable-in-loss", training("loss = nn.BCELoss()((model(x) > 0.5).float(), y)")),
    ("nondifferentiable-in-loss", training("loss = F.mse_loss(F.one_hot(model(x).argmax(1), 10).float(), "
                                           "F.one_hot(y, 10).float())")),
    ("graph-cut-in-forward", network("h = torch.relu(self.body(x))\nreturn self.head(h).data")),
    ("graph-cut-in-forward", network("h = self.head(self.body(x)).detach().cpu().numpy()\n"
                                     "return torch.from_numpy(h * 2)")),
    ("padding-in-loss", script("""
        model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 3))
        criterion = nn.CrossEntropyLoss()
        sources = pad_sequence([torch.tensor([1, 2]), torch.tensor([3])], batch_first=True)
        goals = pad_sequence([torch.tensor([1, 2]), torch.tensor([0])], batch_first=True)
        loss = criterion(model(sources).view(-1, 3), goals[:, :].reshape(-1))
        loss.backward()
    """)),
    ("padding-in-loss", script("""
        model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 3))
        goals = pad_sequence([torch.tensor([1, 2]), torch.tensor([0])], padding_value=2)
        loss = F.cross_entropy(model(inputs).flatten(0, 1), goals.flatten(), ignore_index=0)
        loss.backward()
    """)),
    ("mse-on-softmax", training("loss = nn.MSELoss()(F.softmax(model(x), 1), F.one_hot(y, 10).float())")),
    ("mse-on-softmax", training("loss = F.mse_loss(F.one_hot(y, 10).float(), model(x))",
                                "nn.Sequential(nn.Linear(20, 10), nn.Softmax(dim=1))")),
    ("loss-overwritten", training("loss = F.cross_entropy(model(x), y)\nscale = 2\n"
                                  "loss = F.multi_margin_loss(model(x), y) * scale")),
    ("loss-overwritten", script("""
        model = nn.Linear(20, 10)
        criterion = nn.CrossEntropyLoss()
        def compute(x, y):
            loss = criterion(model(x), y)
            loss = model.weight.norm()
            return loss
        compute(inputs, labels).backward()
    """)),
    ("swapped-loss-args", training("loss = F.binary_cross_entropy_with_logits(y, model(x))")),
    ("swapped-loss-args", script("""
        def loss_function(labels, logits):
            return F.cross_entropy(labels, logits)
    """)),
    ("sum-reduction", training("loss = nn.CrossEntropyLoss(reduction='sum')(model(x), y)")),
    ("label-smoothing-extreme", training("loss = nn.CrossEntropyLoss(label_smoothing=0.5)(model(x), y)")),
    ("criterion-class-called", training("loss = nn.CrossEntropyLoss(model(x), y)")),
    ("criterion-class-called", training("loss = nn.SmoothL1Loss(model(x), y)")),
    ("weighted-twice", script("""
        model = nn.Linear(20, 10)
        rare = 1 / torch.bincount(labels).float()
        sampler = WeightedRandomSampler(rare[labels], 64)
        loss = F.cross_entropy(model(inputs), labels, weight=rare)
        loss.backward()
    """)),
]  # fmt: skip

HEALTHY = [
    ("redundant-log-softmax", "nll", training("loss = F.nll_loss(F.log_softmax(model(x), 1), y)")),
    ("redundant-log-softmax", "in evaluation alone", network("""
        x = self.head(self.body(x))
        return x if self.training else F.log_softmax(x, 1)
    """)),
    ("bce-on-logits", "sigmoid", training("loss = nn.BCELoss()(model(x).squeeze(1), y.float())", SIGMOID_NET)),
    ("bce-on-logits", "clamp", training("loss = F.binary_cross_entropy(model(x).clamp(0, 1), y)")),
    ("bce-on-logits", "unknown model", script("""
        def step(model, x, y):
            F.binary_cross_entropy(model(x), y).backward()
    """)),
    ("prefer-bce-with-logits", "fused", training("loss = F.binary_cross_entropy_with_logits(model(x), y)")),
    ("prefer-bce-with-logits", "unknown model", script("""
        def step(model, x, y):
            nn.BCELoss()(model(x), y).backward()
    """)),
    ("kl-input-not-log", "log of probabilities", training(
        "loss = F.kl_div(F.softmax(model(x), 1).log(), F.softmax(x[:, :10], 1), reduction='batchmean')")),
    ("kl-input-not-log", "both logarithmic", training(
        "loss = F.kl_div(F.log_softmax(model(x), 1), F.log_softmax(x[:, :10], 1), "
        "reduction='batchmean', log_target=True)")),
    ("kl-reduction-mean", "none, reduced by hand", training(
        "loss = F.kl_div(F.log_softmax(model(x), 1), F.softmax(x[:, :10], 1), reduction='none').sum(1).mean()")),
    ("kl-reduction-mean", "multiplied by the classes", training(
        "scores = model(x)\nloss = F.kl_div(F.log_softmax(scores, 1), F.softmax(x[:, :10], 1)) * scores.size(1)")),
    ("one-logit-cross-entropy", "multiple choice", training(
        "loss = F.cross_entropy(model(x).view(-1, 4), y)", "nn.Linear(20, 1)")),
    ("one-logit-cross-entropy", "regression", training("loss = F.mse_loss(model(x), y)", "nn.Linear(20, 1)")),
    ("detached-loss", "optimised leaf", script("""
        image = torch.tensor(inputs, requires_grad=True)
        optimizer = torch.optim.Adam([image], lr=0.1)
        model = nn.Linear(20, 10)
        loss = F.cross_entropy(model(image), labels)
        loss.backward()
    """)),
    ("detached-loss", "detached for the log", training(
        "loss = F.cross_entropy(model(x), y)\nshown = loss.detach()\nprint(shown)")),
    ("detached-loss", "gradient of the input", training(
        "x.requires_grad_()\nloss = F.cross_entropy(model(x), y)")),
    ("detached-loss", "Variable around the batch", training(
        "x, y = Variable(x), Variable(y)\nloss = F.cross_entropy(model(x), y)")),
    ("nondifferentiable-in-loss", "straight-through", training(
        "p = torch.sigmoid(model(x))\nhard = p + (torch.round(p) - p).detach()\nloss = F.mse_loss(hard, y)")),
    ("nondifferentiable-in-loss", "decision as the target", training(
        "scores = model(x)\nloss = F.cross_entropy(scores, scores.argmax(1))")),
    ("nondifferentiable-in-loss", "target first in a symmetric loss", training(
        "loss = F.mse_loss((model(x) > 0).float(), model(x))")),
    ("nondifferentiable-in-loss", "values of max", training(
        "best, _ = model(x).max(1)\nloss = F.mse_loss(best, y)")),
    ("nondifferentiable-in-loss", "decisions about the data", training(
        "loss = F.mse_loss((x > 0).float(), model(x))")),
    ("graph-cut-in-forward", "one branch cut", network("""
        h = self.body(x)
        return self.head(h.detach()) + self.head(h)
    """)),
    ("graph-cut-in-forward", "frozen body, trained head", network("return self.head(self.body(x).detach())")),
    ("graph-cut-in-forward", "straight-through quantisation", network("""
        h = self.head(self.body(x))
        return h + (h.round() - h).detach()
    """)),
    ("graph-cut-in-forward", "frozen teacher", network("return self.head(self.body(x)).detach()").replace(
        "model = Net()", "teacher, model = Net(), nn.Linear(20, 10)").replace(
        "F.cross_entropy(model(x), y)", "F.mse_loss(model(x), teacher(x))")),
    ("graph-cut-in-forward", "never trained here", network("return self.head(self.body(x)).detach()").replace(
        "    loss.backward()\n", "")),
    ("padding-in-loss", "ignored", script("""
        model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 3))
        goals = pad_sequence([torch.tensor([1, 2]), torch.tensor([0])])
        loss = F.cross_entropy(model(inputs).flatten(0, 1), goals.flatten(), ignore_index=0)
        loss.backward()
    """)),
    ("padding-in-loss", "masked sum", script("""
        model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 3))
        goals = pad_sequence([torch.tensor([1, 2]), torch.tensor([0])])
        losses = F.cross_entropy(model(inputs).flatten(0, 1), goals.flatten(), reduction="none")
        (losses * (goals.flatten() > 0)).sum().backward()
    """)),
    ("padding-in-loss", "selected by a mask", script("""
        model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 3))
        goals = pad_sequence([torch.tensor([1, 2]), torch.tensor([0])])
        kept = goals > 0
        F.cross_entropy(model(inputs)[kept], goals[kept]).backward()
    """)),
    ("mse-on-softmax", "distillation", training(
        "with torch.no_grad():\n    wanted = F.softmax(x[:, :10], 1)\nloss = F.mse_loss(F.softmax(model(x), 1), wanted)")),
    ("mse-on-softmax", "Brier score", training(
        "brier = nn.MSELoss()\nloss = brier(F.softmax(model(x), 1), F.one_hot(y, 10).float())")),
    ("loss-overwritten", "uses the first", training(
        "loss = F.cross_entropy(model(x), y)\nloss = loss + model.weight.norm()")),
    ("loss-overwritten", "logged in between", training(
        "loss = F.cross_entropy(model(x), y)\nprint(f'{loss:.3f}')\nloss = F.multi_margin_loss(model(x), y)")),
    ("loss-overwritten", "other branch", training(
        "if len(x) > 3:\n    loss = F.cross_entropy(model(x), y)\nelse:\n    loss = F.multi_margin_loss(model(x), y)")),
    ("swapped-loss-args", "right order", training("loss = F.cross_entropy(model(x), y)")),
    ("swapped-loss-args", "symmetric loss", training("loss = F.mse_loss(y, model(x))")),
    ("swapped-loss-args", "two predictions", training("loss = F.kl_div(model(x), model(x + 1))")),
    ("swapped-loss-args", "cosine", training(
        "loss = F.cosine_embedding_loss(y, model(x), torch.ones(8))")),
    ("sum-reduction", "variational bound", training(
        "loss = F.mse_loss(model(x), y, reduction='sum') + model.weight.pow(2).sum()")),
    ("sum-reduction", "divided", training("loss = F.cross_entropy(model(x), y, reduction='sum') / len(x)")),
    ("label-smoothing-extreme", "usual", training("loss = nn.CrossEntropyLoss(label_smoothing=0.2)(model(x), y)")),
    ("label-smoothing-extreme", "none", training("loss = F.cross_entropy(model(x), y)")),
    ("criterion-class-called", "class weights", training(
        "loss = nn.CrossEntropyLoss(torch.ones(10).to(x.device))(model(x), y)")),
    ("criterion-class-called", "positive weight", training(
        "loss = nn.BCEWithLogitsLoss(pos_weight=y.sum() / len(y))(model(x), y)")),
    ("weighted-twice", "sampler alone", script("""
        sampler = WeightedRandomSampler(torch.ones(64), 64)
        F.cross_entropy(nn.Linear(20, 10)(inputs), labels).backward()
    """)),
    ("weighted-twice", "weights alone", training(
        "loss = F.cross_entropy(model(x), y, weight=1 / torch.bincount(labels).float())")),
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


def test_sigmoid_before_bce_is_an_error_under_autocast() -> None:
    source = training(
        """
        with torch.autocast("cuda"):
            loss = nn.BCELoss()(model(x).squeeze(1), y.float())
        """,
        SIGMOID_NET,
    )
    (finding,) = judge("prefer-bce-with-logits", source)
    assert finding.severity is Severity.ERROR


def test_requires_grad_on_a_loss_that_keeps_its_graph_is_a_warning() -> None:
    (finding,) = judge(
        "detached-loss", training("loss = F.cross_entropy(model(x), y)\nloss.requires_grad = True")
    )
    assert finding.severity is Severity.WARNING
