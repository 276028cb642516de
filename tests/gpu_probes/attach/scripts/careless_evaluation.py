"""Evaluates after every step, in eval mode but with gradients on."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = nn.CrossEntropyLoss()
for _ in range(40):
    x = torch.randn(8, 6)
    y = (x.sum(1) > 0).long()
    model.eval()
    validation = criterion(model(x), y)
    model.train()
    loss = criterion(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
