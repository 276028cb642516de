"""Several networks in one script: which of them a loop trains, and which its optimizer holds."""

from __future__ import annotations

import textwrap

import pytest
from on_source import found

NETWORKS_IN_TURN = """
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    def fit(model, loader):
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for epoch in range(2):
            {mode}
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
        model.eval()
        for x, y in loader:
            print((model(x).argmax(1) == y).sum().item())

    def network(width):
        return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 2))

    data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
    loader = DataLoader(data, batch_size=32, shuffle=True)
    narrow, wide = network(8), network(32)
    for model, label in [(narrow, "narrow"), ({second}, "wide")]:
        fit(model, loader)
"""


@pytest.mark.parametrize(
    ("second", "mode", "faults"),
    [("wide", "model.train()", 0), ("wide", "pass", 0), ("narrow", "pass", 1)],
)
def test_a_network_evaluated_while_another_trains_is_fine(
    second: str, mode: str, faults: int
) -> None:
    source = textwrap.dedent(NETWORKS_IN_TURN).format(second=second, mode=mode)
    assert found("eval-before-training", source) == faults


ANOTHER_MODEL = """
    import copy
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(8, 16)
            self.head = nn.Linear(16, 2)

        def forward(self, x):
            return self.head(F.relu(self.body(x)))

    class Wrapper(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

    def train(data):
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        {after}
        for step in range(100):
            x, y = torch.randn(32, 8), torch.randint(0, 2, (32,))
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            {before_step}
            optimizer.step()
"""


@pytest.mark.parametrize(
    ("after", "before_step", "faults"),
    [
        ("model = Net()", "pass", 1),
        ("model = nn.Sequential(nn.Linear(8, 2))", "pass", 1),
        ("model = nn.DataParallel(model)", "pass", 0),
        ("model = nn.parallel.DistributedDataParallel(model)", "pass", 0),
        ("model = torch.compile(model)", "pass", 0),
        ("model = torch.jit.script(model)", "pass", 0),
        ("model = nn.SyncBatchNorm.convert_sync_batchnorm(model)", "pass", 0),
        ("model = model.to('cpu').float().train()", "pass", 0),
        ("model = Wrapper(model)", "pass", 0),
        ("model = nn.Sequential(model, nn.Tanh())", "pass", 0),
        ("slow = model; model = slow", "pass", 0),
        ("model, optimizer = prepare(Net(), optimizer)", "pass", 0),
        ("shared, model = model, Net(); model.body = shared.body", "pass", 0),
        ("shared, model = model, Net(); model.body.weight = shared.body.weight", "pass", 0),
        (
            "shared, model = model, Net()",
            "for a, b in zip(shared.parameters(), model.parameters()): a.grad = b.grad",
            0,
        ),
        ("shared, model = model, Net()", "share_gradients(model, shared)", 0),
    ],
)
def test_an_optimizer_of_another_model_trains_nothing(
    after: str, before_step: str, faults: int
) -> None:
    source = textwrap.dedent(ANOTHER_MODEL).format(after=after, before_step=before_step)
    assert found("wrong-model-params", source) == faults
