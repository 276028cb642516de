"""A compiled model, a compiled loss, and a compiled step."""

import torch
from torch import nn

torch.manual_seed(0)
model = torch.compile(nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
step = torch.compile(optimizer.step)


@torch.compile
def squared_error(prediction, target):
    return nn.functional.mse_loss(prediction, target)


x = torch.randn(256, 8)
y = x.sum(1, keepdim=True)
for start in range(0, 10_000, 16):
    rows = torch.arange(start, start + 16) % 256
    optimizer.zero_grad()
    squared_error(model(x[rows]), y[rows]).backward()
    step()
