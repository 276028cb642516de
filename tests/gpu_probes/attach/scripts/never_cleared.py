"""Gradients are never cleared and the model trains in eval mode."""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 32), nn.Dropout(0.5), nn.ReLU(), nn.Linear(32, 1))
hidden = [nn.Linear(1, 1)]
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
model.eval()
for _ in range(40):
    x = torch.randn(16, 10)
    loss = ((hidden[0](model(x)) - x.sum(1, keepdim=True)) ** 2).mean()
    loss.backward()
    optimizer.step()
