"""Accumulation over four batches; the loss is divided under a name of its own."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
digits = load_digits()
features = torch.tensor(digits.data, dtype=torch.float32) / 16
loader = DataLoader(
    TensorDataset(features, torch.tensor(digits.target)), batch_size=16, shuffle=True
)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
criterion = nn.CrossEntropyLoss()
accumulation = 4

for epoch in range(5):
    optimizer.zero_grad()
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y)
        scaled = loss / accumulation
        scaled.backward()
        if (i + 1) % accumulation == 0:
            optimizer.step()
            optimizer.zero_grad()
    print(epoch, loss.item())
