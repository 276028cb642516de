"""Model, data and schedule rules on source text: faults in several styles, and healthy idioms
that a naive rule would call faults."""

from __future__ import annotations

import textwrap

import pytest

from convlint.engine import check_source
from convlint.findings import Confidence
from convlint.rules import all_rules

CATEGORIES = ("LOS", "INI", "DAT", "NRM", "SCH")
RULES = [
    rule
    for rule in all_rules()
    if rule.default
    and rule.code.startswith(CATEGORIES)
    and rule.slug not in ("scheduler-never-stepped",)
]


def found(source: str) -> list[tuple[str, int]]:
    """Slug and line of every finding at medium confidence or above."""
    findings = check_source(
        textwrap.dedent(source), "train.py", rules=RULES, min_confidence=Confidence.MEDIUM
    )
    return [(finding.slug, finding.location.line) for finding in findings]


def slugs_in(source: str) -> list[str]:
    return [slug for slug, _ in found(source)]


SOFTMAX_IN_A_TRAINER = """
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(20, 10)

        def forward(self, x):
            return F.softmax(self.fc(x), dim=1)

    class Trainer:
        def __init__(self, model, loader):
            self.model = model
            self.loader = loader
            self.criterion = nn.CrossEntropyLoss()
            self.optimizer = torch.optim.Adam(model.parameters())

        def compute(self, x, y):
            return self.criterion(self.model(x), y)

        def run(self):
            for x, y in self.loader:
                loss = self.compute(x, y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()

    x, y = torch.randn(64, 20), torch.randint(0, 10, (64,))
    data = torch.utils.data.TensorDataset(x, y)
    Trainer(Net(), torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)).run()
"""

SCHEDULE_FROM_ARGPARSE = """
    import argparse
    import torch
    from torch import nn

    def main():
        parser = argparse.ArgumentParser()
        parser.add_argument("--epochs", type=int, default=60)
        parser.add_argument("--gamma", type=float, default=0.5)
        args = parser.parse_args()
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=args.gamma)
        for epoch in range(1, args.epochs + 1):
            loss = model(torch.randn(8, 4)).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()

    if __name__ == "__main__":
        main()
"""

WEIGHTS_FROM_AN_APPLIED_FUNCTION = """
    import torch
    from torch import nn

    def init_weights(module):
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.normal_(module.weight, 0, 1)

    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    model.apply(init_weights)
    optimizer = torch.optim.Adam(model.parameters())
"""

LAYERS_APPENDED_TO_A_LIST = """
    import torch
    from torch import nn

    class Deep(nn.Module):
        def __init__(self, depth=4):
            super().__init__()
            self.blocks = []
            for _ in range(depth):
                self.blocks.append(nn.Linear(16, 16))
            self.head = nn.Linear(16, 2)

        def forward(self, x):
            for block in self.blocks:
                x = torch.relu(block(x))
            return self.head(x)

    model = Deep()
    optimizer = torch.optim.Adam(model.parameters())
"""


@pytest.mark.parametrize(
    ("source", "slug"),
    [
        (SOFTMAX_IN_A_TRAINER, "softmax-into-cross-entropy"),
        (SCHEDULE_FROM_ARGPARSE, "lr-schedule-collapses"),
        (WEIGHTS_FROM_AN_APPLIED_FUNCTION, "normal-init-too-wide"),
        (LAYERS_APPENDED_TO_A_LIST, "modules-in-plain-list"),
    ],
)
def test_faults_are_seen_through_the_style_of_the_script(source: str, slug: str) -> None:
    assert slugs_in(source) == [slug]


HEALTHY = {
    "log-softmax with nll": """
        import torch
        import torch.nn as nn
        import torch.nn.functional as F

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(1, 32, 3)
                self.fc = nn.Linear(5408, 10)

            def forward(self, x):
                x = F.max_pool2d(F.relu(self.conv(x)), 2)
                return F.log_softmax(self.fc(torch.flatten(x, 1)), dim=1)

        def train(model, loader, optimizer):
            for data, target in loader:
                optimizer.zero_grad()
                F.nll_loss(model(data), target).backward()
                optimizer.step()
    """,
    "the model lives in another file": """
        import torch.nn.functional as F
        from nets import Net

        def train(loader, optimizer):
            model = Net()
            for data, target in loader:
                optimizer.zero_grad()
                F.nll_loss(model(data), target).backward()
                optimizer.step()
    """,
    "bce after a sigmoid": """
        import torch
        import torch.nn as nn

        netD = nn.Sequential(nn.Conv2d(3, 1, 4), nn.Sigmoid())
        criterion = nn.BCELoss()
        optimizer = torch.optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
        for real in [torch.randn(8, 3, 4, 4)]:
            netD.zero_grad()
            criterion(netD(real).view(-1), torch.ones(8)).backward()
            optimizer.step()
    """,
    "weights of a generator": """
        import torch
        import torch.nn as nn

        def weights_init(m):
            name = m.__class__.__name__
            if name.find("Conv") != -1:
                nn.init.normal_(m.weight, 0.0, 0.02)
            elif name.find("BatchNorm") != -1:
                nn.init.normal_(m.weight, 1.0, 0.02)
                nn.init.zeros_(m.bias)

        net = nn.Sequential(nn.ConvTranspose2d(100, 64, 4), nn.BatchNorm2d(64), nn.ReLU(True))
        net.apply(weights_init)
    """,
    "softmax feeds a distribution": """
        import torch
        import torch.nn as nn
        import torch.nn.functional as F
        from torch.distributions import Categorical

        class Policy(nn.Module):
            def __init__(self):
                super().__init__()
                self.affine = nn.Linear(4, 128)
                self.action = nn.Linear(128, 2)
                self.value = nn.Linear(128, 1)

            def forward(self, x):
                x = F.relu(self.affine(x))
                return F.softmax(self.action(x), dim=-1), self.value(x)

        model = Policy()
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
        for episode in range(100):
            probs, value = model(torch.randn(4))
            m = Categorical(probs)
            action = m.sample()
            loss = -m.log_prob(action) + F.smooth_l1_loss(value, torch.tensor([1.0]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    """,
    "probabilities only for a dice loss": """
        import torch
        import torch.nn as nn
        import torch.nn.functional as F

        model = nn.Conv2d(3, 2, 1)
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-5)
        images, masks = torch.randn(4, 3, 8, 8), torch.randint(0, 2, (4, 8, 8))

        def dice_loss(p, q):
            return 1 - 2 * (p * q).sum() / (p.sum() + q.sum())

        for epoch in range(5):
            pred = model(images)
            loss = criterion(pred, masks)
            loss += dice_loss(F.softmax(pred, dim=1).float(), F.one_hot(masks, 2).permute(0, 3, 1, 2))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    """,
    "probabilities only for a plot": """
        import torch
        import torch.nn.functional as F
        from torch import nn

        net = nn.Sequential(nn.Linear(2, 10), nn.ReLU(), nn.Linear(10, 2))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.02)
        loss_func = nn.CrossEntropyLoss()
        x, y = torch.randn(100, 2), torch.randint(0, 2, (100,))
        for t in range(100):
            out = net(x)
            loss = loss_func(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if t % 10 == 0:
                prediction = torch.max(F.softmax(out, dim=1), 1)[1]
    """,
    "softmax only outside training": """
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(4, 3)

            def forward(self, x):
                x = self.fc(x)
                if not self.training:
                    x = torch.softmax(x, dim=1)
                return x

        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(10):
            loss = nn.functional.cross_entropy(net(torch.randn(8, 4)), torch.zeros(8).long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    """,
    "each layer trains itself": """
        import torch
        from torch import nn

        class Layer(nn.Linear):
            def __init__(self, a, b):
                super().__init__(a, b)
                self.opt = torch.optim.Adam(self.parameters(), lr=0.03)

            def train_layer(self, x):
                for _ in range(10):
                    loss = torch.relu(nn.functional.linear(x, self.weight, self.bias)).mean()
                    self.opt.zero_grad()
                    loss.backward()
                    self.opt.step()

        class Net(nn.Module):
            def __init__(self, dims):
                super().__init__()
                self.layers = []
                for d in range(len(dims) - 1):
                    self.layers += [Layer(dims[d], dims[d + 1])]

            def train_net(self, x):
                for layer in self.layers:
                    layer.train_layer(x)

        Net([784, 500, 500]).train_net(torch.randn(8, 784))
    """,
    "a sampler instead of shuffle": """
        from torch.utils.data import DataLoader, RandomSampler

        def loader_for(train_dataset, config):
            return DataLoader(
                train_dataset,
                sampler=RandomSampler(train_dataset, replacement=True),
                shuffle=False,
                batch_size=config.batch_size,
            )
    """,
    "cosine and milestones of the usual recipes": """
        import torch
        from torch import nn

        model = nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=5)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=85)
        scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], [5])
        start_epoch = 0
        for epoch in range(start_epoch, start_epoch + 90):
            loss = model(torch.randn(8, 4)).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    """,
    "a scaler in between": """
        import torch
        from sklearn.datasets import load_breast_cancer
        from sklearn.model_selection import train_test_split
        from sklearn.preprocessing import MinMaxScaler
        from torch import nn

        X, y = load_breast_cancer(return_X_y=True)
        X_train, X_test, y_train, y_test = train_test_split(X, y)
        scaler = MinMaxScaler().fit(X_train)
        x = torch.from_numpy(scaler.transform(X_train)).float()
        t = torch.from_numpy(y_train)
        model = nn.Linear(30, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(10):
            loss = nn.functional.cross_entropy(model(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    """,
    "standardised by hand": """
        import torch
        from sklearn.datasets import load_wine
        from torch import nn

        data = load_wine()
        x = torch.tensor(data.data, dtype=torch.float32)
        x = (x - x.mean(0)) / x.std(0)
        y = torch.tensor(data.target)
        model = nn.Sequential(nn.Linear(13, 16), nn.Tanh(), nn.Linear(16, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(10):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    """,
    "a target made a column": """
        import torch
        from sklearn.datasets import load_diabetes
        from torch import nn

        X, y = load_diabetes(return_X_y=True)
        x = torch.tensor(X).float()
        t = torch.tensor(y).float().unsqueeze(1)
        model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(10):
            loss = nn.functional.mse_loss(model(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    """,
    "zero-initialised residual branch": """
        import torch
        from torch import nn

        class Block(nn.Module):
            def __init__(self, width):
                super().__init__()
                self.up = nn.Linear(width, 4 * width)
                self.down = nn.Linear(4 * width, width)
                nn.init.zeros_(self.down.weight)

            def forward(self, x):
                return x + self.down(torch.relu(self.up(x)))

        model = nn.Sequential(Block(32), Block(32), nn.Linear(32, 2))
        optimizer = torch.optim.Adam(model.parameters())
    """,
    "torchvision's own initialisation": """
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 3)
                self.bn = nn.BatchNorm2d(8)
                self.fc = nn.Linear(8, 10)
                for m in self.modules():
                    if isinstance(m, nn.Conv2d):
                        nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                    elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
                        nn.init.constant_(m.weight, 1)
                        nn.init.constant_(m.bias, 0)

            def forward(self, x):
                return self.fc(torch.relu(self.bn(self.conv(x))).mean((2, 3)))

        optimizer = torch.optim.SGD(Net().parameters(), lr=0.1)
    """,
}


@pytest.mark.parametrize("source", HEALTHY.values(), ids=HEALTHY.keys())
def test_healthy_idioms_are_left_alone(source: str) -> None:
    assert found(source) == []
