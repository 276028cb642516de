"""Digits; zero_grad stands one loop too far out."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
digits = load_digits()
features = torch.tensor(digits.data, dtype=torch.float32) / 16
loader = DataLoader(
    TensorDataset(features, torch.tensor(digits.target)), batch_size=64, shuffle=True
)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
criterion = nn.CrossEntropyLoss()

for epoch in range(5):
    model.train()
    optimizer.zero_grad()
    for x, y in loader:
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()  # expect: gradients-not-cleared
    print(epoch, loss.item())
