"""Training projects whose weights are initialised for the activations that follow, and the same
with another initialisation.

A line ``#: path`` begins a file.
"""

from contrasts import Contrast

TRAIN = """#: train.py
import argparse
import torch
from models import build_model
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(4096, 64), torch.randint(0, 10, (4096,)))
    loader = DataLoader(data, batch_size=128, shuffle=True)
    model = build_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

if __name__ == "__main__":
    main()
"""


def project(
    initialise: str, activation: str, depth: int = 5, apply: str = "net.apply(initialise)"
) -> str:
    """A perceptron of one file, its initialisation of another, and the script that trains it."""
    layers = "\n".join(f"        nn.Linear(64, 64),\n        {activation}," for _ in range(depth))
    return f"""#: weights.py
import math
from torch import nn
from torch.nn import init

{initialise}

#: models.py
from torch import nn
from weights import initialise

def build_model(classes=10):
    net = nn.Sequential(
{layers}
        nn.Linear(64, classes),
    )
    {apply}
    return net
{TRAIN}"""


def guarded(call: str) -> str:
    """A function for ``apply`` that makes this call for linear layers."""
    return f"""def initialise(module):
    if isinstance(module, nn.Linear):
        {call}
        if module.bias is not None:
            init.zeros_(module.bias)"""


def by_type(call: str) -> str:
    """The same, told by the type and a tuple of classes."""
    return f"""def initialise(module):
    if not isinstance(module, (nn.Linear, nn.Conv2d)):
        return
    {call}
    nn.init.zeros_(module.bias)"""


def by_loop(call: str) -> str:
    """The same, for all modules of a network."""
    return f"""def initialise(net):
    for module in net.modules():
        if isinstance(module, nn.Linear):
            {call}
            nn.init.constant_(module.bias, 0)"""


METHOD = """#: models.py
import math
import torch
from torch import nn
from torch.nn import functional as F

class Classifier(nn.Module):
    def __init__(self, inputs=64, width=128, classes=10):
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.second = nn.Linear(width, width)
        self.third = nn.Linear(width, width)
        self.head = nn.Linear(width, classes)
        self._init_weights()

    def _init_weights(self):
        for layer in (self.first, self.second, self.third):
            {call}
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = {activation}(self.first(x){options})
        x = {activation}(self.second(x){options})
        x = {activation}(self.third(x){options})
        return self.head(x)

def build_model():
    return Classifier()
"""


def method(call: str, activation: str, options: str = "") -> str:
    """A module that initialises itself so and applies this function."""
    return METHOD.format(call=call, activation=activation, options=options) + TRAIN


BLOCKS = """#: blocks.py
from torch import nn

def block(inputs, outputs, slope=0.2):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(slope))

#: models.py
from blocks import block
from torch import nn

class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(block(3, 32), block(32, 64), block(64, 64), block(64, 64))
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(64, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.2, nonlinearity="leaky_relu")

    def forward(self, x):
        return self.head(self.pool(self.body(x)).flatten(1))

def build_model():
    return Discriminator()
""" + TRAIN.replace("torch.randn(4096, 64)", "torch.randn(4096, 3, 32, 32)")


PROJECTS = [
    Contrast(
        "kaiming-slope-ignored",
        "the slope of the rectifier, in an init function",
        project(
            guarded("init.kaiming_normal_(module.weight, a=0.5, nonlinearity='leaky_relu')"),
            "nn.LeakyReLU(0.5)",
        ),
        ("nonlinearity='leaky_relu'", "nonlinearity='relu'"),
    ),
    Contrast(
        "kaiming-slope-ignored",
        "the slope of blocks of another file",
        BLOCKS,
        ('a=0.2, nonlinearity="leaky_relu"', 'a=1, nonlinearity="leaky_relu"'),
    ),
    Contrast(
        "kaiming-slope-ignored",
        "the slope of a function",
        method(
            "nn.init.kaiming_uniform_(layer.weight, a=0.3, nonlinearity='leaky_relu')",
            "F.leaky_relu",
            ", 0.3",
        ),
        ("a=0.3, nonlinearity='leaky_relu'", "a=1, nonlinearity='leaky_relu'"),
    ),
    Contrast(
        "gain-for-other-activation",
        "the gain of tanh, for every linear layer",
        project(
            by_type("nn.init.xavier_uniform_(module.weight, gain=init.calculate_gain('tanh'))"),
            "nn.Tanh()",
        ),
        ("calculate_gain('tanh')", "calculate_gain('relu')"),
    ),
    Contrast(
        "gain-for-other-activation",
        "the gain of the function applied",
        method(
            "nn.init.orthogonal_(layer.weight, gain=nn.init.calculate_gain('relu'))", "torch.relu"
        ),
        ("calculate_gain('relu')", "calculate_gain('tanh')"),
    ),
    Contrast(
        "gain-for-other-activation",
        "the nonlinearity of Kaiming",
        project(
            by_loop("nn.init.kaiming_normal_(module.weight, mode='fan_in', nonlinearity='relu')"),
            "nn.ReLU(inplace=True)",
            apply="initialise(net)",
        ),
        ("nonlinearity='relu'", "nonlinearity='selu'"),
    ),
    Contrast(
        "kaiming-before-saturating",
        "rectifiers",
        project(guarded("init.kaiming_uniform_(module.weight, nonlinearity='relu')"), "nn.ReLU()"),
    ),
    Contrast(
        "selu-without-lecun",
        "LeCun's initialisation, by hand",
        project(
            guarded("init.normal_(module.weight, 0, math.sqrt(1 / module.in_features))"),
            "nn.SELU()",
        ),
        (
            "init.normal_(module.weight, 0, math.sqrt(1 / module.in_features))",
            "init.xavier_uniform_(module.weight, gain=2.0)",
        ),
    ),
    Contrast(
        "selu-without-lecun",
        "LeCun's initialisation, by Kaiming's function",
        project(guarded("init.kaiming_normal_(module.weight, nonlinearity='linear')"), "nn.SELU()"),
        ("nonlinearity='linear'", "nonlinearity='relu'"),
    ),
    Contrast(
        "normal-init-too-wide",
        "a narrow normal for smooth rectifiers",
        project(guarded("init.normal_(module.weight, std=0.02)"), "nn.GELU()"),
        ("std=0.02", "std=0.8"),
    ),
    Contrast(
        "normal-init-too-wide",
        "a truncated normal with a deviation",
        method("nn.init.trunc_normal_(layer.weight, std=0.05)", "F.silu"),
        (", std=0.05", ""),
    ),
    Contrast(
        "normal-init-too-wide",
        "the data of the weights",
        project(by_type("module.weight.data.normal_(0.0, 0.02)"), "nn.ReLU()"),
        ("normal_(0.0, 0.02)", "normal_(0.0, 1.0)"),
    ),
    Contrast(
        "constant-weight-init",
        "constants for biases alone",
        project(
            by_loop("nn.init.xavier_normal_(module.weight, gain=math.sqrt(2))"),
            "nn.ReLU()",
            apply="initialise(net)",
        ),
        (
            "nn.init.xavier_normal_(module.weight, gain=math.sqrt(2))",
            "nn.init.ones_(module.weight)",
        ),
    ),
    Contrast(
        "constant-weight-init",
        "orthogonal weights",
        method("nn.init.orthogonal_(layer.weight)", "torch.tanh"),
        ("nn.init.orthogonal_(layer.weight)", "nn.init.constant_(layer.weight, 0.05)"),
    ),
    Contrast(
        "uniform-init-nonneg",
        "bounds on both sides",
        project(guarded("init.uniform_(module.weight, -0.08, 0.08)"), "nn.ReLU()"),
        ("-0.08, 0.08", "0.0, 0.08"),
    ),
    Contrast(
        "deep-plain-default-init",
        "deep, and initialised",
        project(
            guarded("init.kaiming_normal_(module.weight, nonlinearity='relu')"),
            "nn.ReLU()",
            depth=14,
        ),
        ("    net.apply(initialise)\n", "    print(initialise)\n"),
    ),
    Contrast(
        "deep-saturating-stack",
        "shallow",
        project(guarded("init.xavier_uniform_(module.weight)"), "nn.Sigmoid()", depth=2),
    ),
    Contrast(
        "deep-saturating-stack",
        "rectifiers where sigmoids would saturate",
        project(
            guarded("init.kaiming_normal_(module.weight, nonlinearity='relu')"),
            "nn.ReLU()",
            depth=6,
        ),
    ),
]
