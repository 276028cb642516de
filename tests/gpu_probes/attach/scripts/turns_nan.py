"""The sixth batch holds a NaN."""

import torch
from torch import nn

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for i in range(30):
    x = torch.randn(4, 3)
    if i == 5:
        x[0, 0] = float("nan")
    loss = model(x).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
