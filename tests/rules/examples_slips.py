"""Slips of the pen that the syntax shows, and what only looks like one."""

from contrasts import Contrast, healthy, sick
from on_source import LOOP_HEAD

HEAD = LOOP_HEAD


def module(method: str) -> str:
    """A trained network with this method."""
    return f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.body(x))

{method}
model = Net()
"""


def command_line(options: str, use: str) -> str:
    """A script with these options, which it uses so."""
    return f"""
parser = argparse.ArgumentParser()
{options}
args = parser.parse_args()
model = nn.Linear(8, 2)
{use}
for x, y in loader:
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
"""


def skipping(before: str, skip: str, after: str = "") -> str:
    """A loop that skips batches whose loss is not finite."""
    return f"""
model = nn.Linear(8, 2)
optimizer = optim.SGD(model.parameters(), lr=0.1)
skipped = 0
for x, y in loader:
    {before}
    if not torch.isfinite(loss):
        {skip}
    {after}
    optimizer.step()
    optimizer.zero_grad()
"""


def accuracy(count: str, share: str, batches: str = "val_loader") -> str:
    """The accuracy over the batches, counted and divided so."""
    return f"""
def accuracy(model, batches):
    model.eval()
    correct = total = 0
    with torch.no_grad():
        for x, y in tqdm(batches):
            {count}
    return {share}

from tqdm import tqdm
print(accuracy(nn.Linear(8, 2), {batches}))
"""


LOSS = "loss = F.cross_entropy(model(x), y)"

CASES = [
    Contrast(
        "training-flag-misuse",
        "a part kept in eval mode",
        module(
            "    def train(self, mode=True):\n"
            "        super().train(mode)\n        self.body.eval()\n        return self\n"
        ),
        ("super().train(mode)", "super().train()"),
    ),
    Contrast(
        "training-flag-misuse",
        "frozen on purpose",
        module("    def train(self, mode=True):\n        return super().train(False)\n"),
        ("super().train(False)", "super().train(self, mode)"),
    ),
    Contrast(
        "training-flag-misuse",
        "nothing to switch",
        module("    def train(self, mode=True):\n        return self\n"),
    ),
    Contrast(
        "training-flag-misuse",
        "a test on the mode",
        module(
            "    def train(self, mode=True):\n        if mode:\n            super().train()\n"
            "        else:\n            super().eval()\n        return self\n"
        ),
    ),
    Contrast(
        "training-flag-misuse",
        "the module returned, as `model.eval()` is read",
        module(
            "    def train(self, mode=True):\n"
            "        super().train(mode)\n        self.body.eval()\n        return self\n"
        )
        + 'model = model.to("cpu")\nevaluated = model.eval()\n',
        ("\n        return self\n\n", "\n\n"),
    ),
    Contrast(
        "training-flag-misuse",
        "what the method above returns",
        module("    def train(self, mode=True):\n        return super().train(mode)\n").replace(
            "model = Net()", 'model = Net().to("cpu").eval()'
        ),
        ("return super().train(mode)", "super().train(mode)"),
    ),
    Contrast(
        "training-flag-misuse",
        "a part that follows the mode",
        module(
            "    def train(self, mode=True):\n        self.training = mode\n"
            "        self.body.eval()\n        self.head.train(mode)\n        return self\n"
        ),
        (
            "self.training = mode\n        self.body.eval()\n        self.head.train(mode)",
            "self.body.eval()\n        self.head.train()",
        ),
    ),
    Contrast(
        "training-flag-misuse",
        "a trainer's loop, by the same name",
        """
class Trainer:
    def __init__(self, model):
        self.model = model
        self.optimizer = optim.SGD(model.parameters(), lr=0.1)

    def train(self, epochs=3):
        self.model.train()
        for x, y in loader:
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(x), y).backward()
            self.optimizer.step()

losses = Trainer(nn.Linear(8, 2)).train()
""",
    ),
    Contrast(
        "unused-hyperparameter",
        "every option used",
        command_line(
            'parser.add_argument("--lr", type=float, default=0.1)\n'
            'parser.add_argument("--momentum", type=float, default=0.9)',
            "optimizer = optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum)",
        ),
        (", momentum=args.momentum", ""),
    ),
    Contrast(
        "unused-hyperparameter",
        "handed on as a whole",
        command_line(
            'parser.add_argument("--lr", type=float, default=0.1)',
            "from factory import build_optimizer\noptimizer = build_optimizer(args, model)",
        ),
    ),
    Contrast(
        "unused-hyperparameter",
        "turned into a dictionary",
        command_line(
            'parser.add_argument("--lr", type=float, default=0.1)',
            'settings = vars(args)\noptimizer = optim.SGD(model.parameters(), lr=settings["lr"])',
        ),
    ),
    Contrast(
        "unused-hyperparameter",
        "a configuration for others",
        "# file: config.py\nLEARNING_RATE = 1e-3\nWEIGHT_DECAY = 1e-4\n",
    ),
    Contrast(
        "unused-hyperparameter",
        "a constant that is read",
        """
WEIGHT_DECAY = 5e-4
model = nn.Linear(8, 2)
optimizer = optim.SGD(model.parameters(), lr=0.1, weight_decay=WEIGHT_DECAY)
for x, y in loader:
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
""",
        ("weight_decay=WEIGHT_DECAY", "weight_decay=1e-4"),
    ),
    Contrast(
        "nan-masked",
        "logged and counted",
        skipping(
            f"{LOSS}\n    loss.backward()", "skipped += 1\n        print(skipped)\n        continue"
        ),
        ("skipped += 1\n        print(skipped)\n        continue", "continue"),
    ),
    Contrast(
        "nan-masked",
        "before its backward",
        skipping(LOSS, "continue", "loss.backward()"),
        (f"{LOSS}\n", f"{LOSS}\n    loss.backward()\n"),
    ),
    Contrast(
        "nan-masked",
        "cleared before it goes on",
        skipping(f"{LOSS}\n    loss.backward()", "optimizer.zero_grad()\n        continue"),
        ("optimizer.zero_grad()\n        continue", "continue"),
    ),
    Contrast(
        "nan-masked",
        "cleared at the top",
        skipping(f"optimizer.zero_grad()\n    {LOSS}\n    loss.backward()", "continue"),
        ("    optimizer.zero_grad()\n    loss = ", "    loss = "),
    ),
    Contrast(
        "nan-masked",
        "holes in the data",
        skipping(
            "loss = F.cross_entropy(model(torch.nan_to_num(x)), y)\n    loss.backward()",
            "raise FloatingPointError(loss)",
        ),
        (
            "loss = F.cross_entropy(model(torch.nan_to_num(x)), y)",
            "loss = torch.nan_to_num(F.cross_entropy(model(x), y))",
        ),
    ),
    Contrast(
        "accuracy-integer-div",
        "by the examples",
        accuracy(
            "correct += (model(x).argmax(1) == y).sum().item()", "correct / len(batches.dataset)"
        ),
        ("len(batches.dataset)", "len(batches)"),
    ),
    Contrast(
        "accuracy-integer-div",
        "means of the batches",
        accuracy(
            "correct += (model(x).argmax(1) == y).float().mean().item()", "correct / len(batches)"
        ),
        (".float().mean()", ".sum()"),
    ),
    Contrast(
        "accuracy-integer-div",
        "each divided by its batch",
        accuracy(
            "correct += (model(x).argmax(1) == y).sum().item() / len(y)", "correct / len(batches)"
        ),
        (" / len(y)", ""),
    ),
    Contrast(
        "accuracy-integer-div",
        "divided by the batch afterwards",
        accuracy(
            "correct += (model(x).argmax(1) == y).sum().item()", "correct / len(batches) / 32"
        ),
        (" / 32", ""),
    ),
    Contrast(
        "accuracy-integer-div",
        "batches of one",
        accuracy(
            "correct += (model(x).argmax(1) == y).sum().item()",
            "100.0 * correct / len(batches)",
            "DataLoader(data, batch_size=1)",
        ),
        ("batch_size=1", "batch_size=64"),
    ),
]

MILD = {
    ("training-flag-misuse", "nothing returned, and nobody asks"): module(
        "    def train(self, mode=True):\n        super().train(mode)\n        self.body.eval()\n"
    ),
}

SICK = sick(CASES)
HEALTHY = healthy(CASES)
