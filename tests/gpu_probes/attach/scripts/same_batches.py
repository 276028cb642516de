"""Three ways to train on one batch; the argument chooses."""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.randn(64, 5), torch.randn(64, 1))


def batches(kind):
    """Endless batches: the whole set copied, a loader of one batch, a new iterator every time."""
    size = 8 if kind == "new-iterator" else 64
    loader = DataLoader(data, batch_size=size)
    while True:
        if kind == "copies":
            yield data.tensors[0].clone(), data.tensors[1].clone()
        elif kind == "one-batch-loader":
            yield from loader
        else:
            yield next(iter(loader))


model = nn.Linear(5, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in batches(sys.argv[1]):
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
