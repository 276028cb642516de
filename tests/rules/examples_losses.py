"""What keeps losses and their numbers healthy, and the same scripts without it."""

import textwrap

from contrasts import Contrast, healthy, sick
from on_source import HEAD as LOSS_HEAD
from on_source import STEP

HEAD = LOSS_HEAD


def step(body: str, model: str = "nn.Linear(20, 10)") -> str:
    """A training script around the lines that compute ``loss`` from ``model``, ``x`` and ``y``."""
    lines = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    return f"model = {model}\n{STEP.format(body=lines)}"


def network(
    forward: str, loss: str = "loss = F.cross_entropy(model(x), y)", parts: str = ""
) -> str:
    """A training script of a class with this forward."""
    forward = textwrap.indent(textwrap.dedent(forward).strip(), "        ")
    parts = textwrap.indent(textwrap.dedent(parts).strip(), "        ")
    return f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(20, 32)
        self.head = nn.Linear(32, 10)
{parts}

    def forward(self, x):
{forward}

{step(loss, "Net()")}"""


COLUMN = """
table = np.loadtxt("houses.csv", delimiter=",").astype(np.float32)
features, prices = torch.from_numpy(table[:, :20]), torch.from_numpy(table[:, 20])
loader = DataLoader(TensorDataset(features, prices), batch_size=32, shuffle=True)
"""
HOUSES = COLUMN + step("loss = F.mse_loss(model(x), y)", "nn.Linear(20, 1)")

PADDED = """
sources = pad_sequence([torch.tensor([1, 2]), torch.tensor([3])], batch_first=True)
goals = pad_sequence([torch.tensor([1, 2]), torch.tensor([1])], batch_first=True)
model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 3))
"""

CASES = [
    Contrast(
        "softmax-into-cross-entropy",
        "log-softmax changes nothing",
        step(
            "loss = nn.CrossEntropyLoss()(model(x), y)",
            "nn.Sequential(nn.Linear(20, 10), nn.LogSoftmax(dim=1))",
        ),
        ("LogSoftmax", "Softmax"),
    ),
    Contrast(
        "softmax-into-cross-entropy",
        "softmax when not training",
        network(
            """
            scores = self.head(F.relu(self.body(x)))
            if not self.training:
                scores = F.softmax(scores, dim=1)
            return scores
            """
        ),
        ("if not self.training:", "if True:"),
    ),
    Contrast(
        "softmax-into-cross-entropy",
        "softmax for who predicts",
        network("return self.head(F.relu(self.body(x)))").replace(
            "model = Net()",
            """    def predict(self, x):
        return F.softmax(self(x), dim=1)

model = Net()
print(model.predict(inputs[:4]))""",
        ),
        ("model(x), y)", "model.predict(x), y)"),
    ),
    Contrast(
        "softmax-into-cross-entropy",
        "its logarithm into the negative log-likelihood",
        step(
            "loss = F.nll_loss(torch.log(model(x)), y)",
            "nn.Sequential(nn.Linear(20, 10), nn.Softmax(dim=1))",
        ),
        ("F.nll_loss(torch.log(model(x)), y)", "F.cross_entropy(model(x), y)"),
    ),
    Contrast(
        "nll-needs-log-probs",
        "the logarithm of probabilities",
        step(
            "loss = nn.NLLLoss()(torch.log(model(x)), y)",
            "nn.Sequential(nn.Linear(20, 10), nn.Softmax(dim=1))",
        ),
        ("torch.log(model(x))", "model(x)"),
    ),
    Contrast(
        "bce-on-logits",
        "a sigmoid",
        step(
            "loss = nn.BCELoss()(model(x).squeeze(1), y.float())",
            "nn.Sequential(nn.Linear(20, 1), nn.Sigmoid())",
        ),
        (", nn.Sigmoid()", ""),
    ),
    Contrast(
        "kl-reduction-mean",
        "summed over the classes",
        step(
            """
            loss = F.kl_div(
                F.log_softmax(model(x), 1), F.softmax(x[:, :10], 1), reduction="none"
            ).sum(-1).mean()
            """
        ),
        (', reduction="none"\n    ).sum(-1).mean()', "\n    )"),
    ),
    Contrast(
        "kl-reduction-mean",
        "times the number of classes",
        step(
            """
            p = F.log_softmax(model(x), 1)
            loss = F.kl_div(p, F.softmax(x[:, :10], 1)) * p.size(1)
            """
        ),
        (" * p.size(1)", ""),
    ),
    Contrast(
        "one-logit-cross-entropy",
        "a regression",
        step("loss = F.mse_loss(model(x).squeeze(1), y.float())", "nn.Linear(20, 1)"),
        ("F.mse_loss(model(x).squeeze(1), y.float())", "F.cross_entropy(model(x), y)"),
    ),
    Contrast(
        "detached-loss",
        "a leaf that is optimised itself",
        """
image = torch.rand(1, 3, 64, 64)
image.requires_grad = True
optimizer = torch.optim.Adam([image], lr=0.01)
for _ in range(100):
    optimizer.zero_grad()
    loss = image.pow(2).mean()
    loss.backward()
    optimizer.step()
""",
    ),
    Contrast(
        "nondifferentiable-in-loss",
        "straight through",
        step(
            """
            soft = torch.sigmoid(model(x))
            hard = soft + (soft.round() - soft).detach()
            loss = F.mse_loss(hard, F.one_hot(y, 10).float())
            """
        ),
        ("soft + (soft.round() - soft).detach()", "soft.round()"),
    ),
    Contrast(
        "nondifferentiable-in-loss",
        "a decision as the target",
        step("scores = model(x)\nloss = F.cross_entropy(scores, scores.argmax(1))"),
        (
            "F.cross_entropy(scores, scores.argmax(1))",
            "F.mse_loss(scores.argmax(1).float(), y.float())",
        ),
    ),
    Contrast(
        "nondifferentiable-in-loss",
        "the log-probability of a decision",
        step(
            """
            policy = torch.distributions.Categorical(logits=model(x))
            action = policy.sample()
            reward = (action == y).float()
            loss = -(policy.log_prob(action) * reward).mean()
            """
        ),
    ),
    Contrast(
        "graph-cut-in-forward",
        "one branch is stopped",
        network(
            """
            h = F.relu(self.body(x))
            return self.head(h) + self.aside(h.detach())
            """,
            parts="self.aside = nn.Linear(32, 10)",
        ),
        (
            "return self.head(h) + self.aside(h.detach())",
            "return (self.head(h) + self.aside(h)).detach()",
        ),
    ),
    Contrast(
        "graph-cut-in-forward",
        "a vector quantiser",
        network(
            """
            h = self.body(x)
            nearest = self.codes(torch.cdist(h, self.codes.weight).argmin(1))
            return self.head(h + (nearest - h).detach())
            """,
            parts="self.codes = nn.Embedding(64, 32)",
        ),
    ),
    Contrast(
        "graph-cut-in-forward",
        "running averages of what passes",
        network(
            """
            h = self.body(x)
            self.average.mul_(0.99).add_(0.01 * h.detach().mean(0))
            return self.head(F.relu(h - self.average))
            """,
            parts='self.register_buffer("average", torch.zeros(32))',
        ),
        ("return self.head(F.relu(h - self.average))", "return self.head(F.relu(h)).detach()"),
    ),
    Contrast(
        "padding-in-loss",
        "padded with what the loss ignores",
        PADDED.replace("[1]), torch.tensor([1])], batch_first=True)", "").replace(
            "goals = pad_sequence([torch.tensor([1, 2]), torch.tensor([1])], batch_first=True)",
            "goals = pad_sequence([torch.tensor([1, 2]), torch.tensor([1])], batch_first=True, padding_value=-100)",
        )
        + "loss = F.cross_entropy(model(sources).view(-1, 3), goals.view(-1))\nloss.backward()\n",
        (", padding_value=-100", ""),
    ),
    Contrast(
        "padding-in-loss",
        "masked after the loss",
        PADDED
        + """
losses = F.cross_entropy(model(sources).view(-1, 3), goals.view(-1), reduction="none")
mask = (goals.view(-1) != 0).float()
loss = (losses * mask).sum() / mask.sum()
loss.backward()
""",
        (
            """, reduction="none")
mask = (goals.view(-1) != 0).float()
loss = (losses * mask).sum() / mask.sum()
loss.backward()""",
            ")\nlosses.backward()",
        ),
    ),
    *(
        Contrast("mse-shape-broadcast", name, HOUSES.replace(*change), change[::-1])
        for name, change in (
            ("the prediction squeezed", ("model(x), y)", "model(x).squeeze(-1), y)")),
            ("the prediction viewed as a row", ("model(x), y)", "model(x).view(-1), y)")),
            ("the target unsqueezed", ("model(x), y)", "model(x), y.unsqueeze(1))")),
            ("the target viewed as a column", ("model(x), y)", "model(x), y.view(-1, 1))")),
            ("the target with a new axis", ("model(x), y)", "model(x), y[:, None])")),
            ("a slice that keeps the column", ("table[:, 20])", "table[:, 20:])")),
            (
                "a sum that keeps the dimension",
                ("torch.from_numpy(table[:, 20])", "torch.from_numpy(table).sum(1, keepdim=True)"),
            ),
        )
    ),
    Contrast(
        "mse-on-softmax",
        "distilled from another's probabilities",
        step(
            """
            with torch.no_grad():
                taught = F.softmax(teacher(x), dim=1)
            learned = F.softmax(model(x), dim=1)
            loss = F.mse_loss(learned, taught)
            print((learned.argmax(1) == y).float().mean())
            """
        ).replace("model = nn", "teacher = nn.Linear(20, 10)\nmodel = nn"),
        ("F.mse_loss(learned, taught)", "F.mse_loss(learned, F.one_hot(y, 10).float())"),
    ),
    Contrast(
        "swapped-loss-args",
        "two vectors whose cosine counts",
        step(
            """
            target, pred = model(x), model(x + 0.1)
            loss = F.cosine_embedding_loss(target, pred, torch.ones(len(x)))
            """
        ),
    ),
    Contrast(
        "swapped-loss-args",
        "an anchor and two others",
        step(
            """
            target, pred = model(x), model(x + 0.1)
            loss = F.triplet_margin_loss(target, pred, model(x.flip(0)))
            """
        ),
    ),
    Contrast(
        "sum-reduction",
        "a variational bound",
        step(
            """
            mu, logvar = model(x).chunk(2, 1)
            z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
            reconstruction = F.mse_loss(decoder(z), x, reduction="sum")
            kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
            loss = reconstruction + kld
            """
        )
        .replace("model = nn", "decoder = nn.Linear(5, 20)\nmodel = nn")
        .replace("SGD(model.parameters(), lr=0.1)", "Adam(model.parameters(), lr=1e-3)"),
        ("reconstruction + kld", "reconstruction"),
    ),
    Contrast(
        "sum-reduction",
        "alignments of sequences",
        """
model = nn.LSTM(20, 10)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CTCLoss(reduction="sum")
for x, y in loader:
    optimizer.zero_grad()
    out, _ = model(x.unsqueeze(1))
    loss = criterion(out.log_softmax(-1), y[None], torch.tensor([8]), torch.tensor([4]))
    loss.backward()
    optimizer.step()
""",
    ),
    Contrast(
        "sum-reduction",
        "boxes of a detector",
        step(
            """
            out = model(x)
            matched = y > 4
            loss_box = F.smooth_l1_loss(out[matched, :4], x[matched, :4], reduction="sum")
            loss = loss_box / max(1, matched.sum().item())
            """
        ).replace("SGD(model.parameters(), lr=0.1)", "Adam(model.parameters(), lr=1e-3)"),
        (" / max(1, matched.sum().item())", ""),
    ),
    Contrast(
        "unclamped-log",
        "clipped",
        step(
            "p = torch.clip(model(x).squeeze(1), 1e-7, 1 - 1e-7)\nloss = -torch.log(p).mean()",
            "nn.Sequential(nn.Linear(20, 1), nn.Sigmoid())",
        ),
        ("torch.clip(model(x).squeeze(1), 1e-7, 1 - 1e-7)", "model(x).squeeze(1)"),
    ),
    Contrast(
        "sqrt-at-zero",
        "a small constant under the root",
        step("loss = torch.sqrt(((model(x) - y[:, None]) ** 2).sum(1) + 1e-8).mean()"),
        (" + 1e-8", ""),
    ),
    Contrast(
        "where-nan-gradient",
        "guarded twice",
        step(
            """
            s = model(x)
            inside = torch.where(s > 0, s, torch.ones_like(s))
            loss = torch.where(s > 0, torch.log(inside), torch.zeros_like(s)).sum()
            """
        ),
        ("torch.log(inside)", "torch.log(s)"),
    ),
    Contrast(
        "half-mask-constant",
        "the least number of its type",
        step(
            """
            s = model(x).half()
            loss = s.masked_fill(x[:, :10] > 0, torch.finfo(s.dtype).min).sum()
            """
        ),
        ("torch.finfo(s.dtype).min", "-1e20"),
    ),
    Contrast(
        "eps-underflows-half",
        "computed in single precision",
        step("s = model(x).half().float()\nloss = torch.log(s.relu() + 1e-8).sum()"),
        (".half().float()", ".half()"),
    ),
    Contrast(
        "acos-unclamped",
        "kept inside the domain",
        step(
            """
            cosine = F.cosine_similarity(model(x), model(x + 1))
            loss = torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6)).sum()
            """
        ),
        (".clamp(-1 + 1e-6, 1 - 1e-6)", ""),
    ),
    Contrast(
        "div-no-eps",
        "bounded from below",
        step("h = model(x)\nloss = (h / h.norm(dim=1, keepdim=True).clamp(min=1e-6)).pow(3).sum()"),
        (".clamp(min=1e-6)", ""),
    ),
    Contrast(
        "anomaly-left-on",
        "in a test",
        """
# file: tests/test_gradients.py
def test_gradients_are_finite():
    torch.autograd.set_detect_anomaly(True)
    model = nn.Linear(20, 10)
    F.cross_entropy(model(inputs), labels).backward()

test_gradients_are_finite()
""",
        ("# file: tests/test_gradients.py", "# file: train.py"),
    ),
    Contrast(
        "std-of-one",
        "guarded by the size",
        step(
            """
            a = model(x).sum(1)
            if len(a) > 1:
                a = (a - a.mean()) / (a.std() + 1e-8)
            loss = a.pow(4).sum()
            """
        ),
        ("if len(a) > 1:", "if True:"),
    ),
    Contrast(
        "std-of-one",
        "without the correction",
        step(
            """
            a = model(x).sum(1)
            loss = ((a - a.mean()) / (a.std(correction=0) + 1e-8)).pow(4).sum()
            """
        ),
        ("correction=0", ""),
    ),
    Contrast(
        "loss-in-half-precision",
        "inside of autocast",
        step(
            """
            with torch.autocast("cuda"):
                loss = F.mse_loss(model(x), y)
            """,
            "nn.Linear(20, 1).half()",
        ),
        ('torch.autocast("cuda")', "torch.enable_grad()"),
    ),
    Contrast(
        "loss-in-half-precision",
        "the wider half",
        step("loss = F.mse_loss(model(x), y)", "nn.Linear(20, 1).bfloat16()"),
        ("bfloat16", "half"),
    ),
]

SICK = sick(CASES)
HEALTHY = healthy(CASES)
