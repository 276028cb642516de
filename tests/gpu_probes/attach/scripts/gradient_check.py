"""A smooth model with dropout and batch norm whose loss is one function of its output."""

import torch
from torch import nn

torch.manual_seed(1)
model = nn.Sequential(
    nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.2), nn.Linear(12, 2)
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
criterion = nn.MSELoss()
for _ in range(40):
    x = torch.randn(32, 6)
    loss = criterion(model(x), x[:, :2])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
