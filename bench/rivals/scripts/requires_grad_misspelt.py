"""Fine-tuning; the backbone is meant to be frozen, and is not."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
digits = load_digits()
data = TensorDataset(
    torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
)
loader = DataLoader(data, batch_size=64, shuffle=True)
backbone = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
backbone.load_state_dict(torch.load("backbone.pt", weights_only=True))
for parameter in backbone.parameters():
    parameter.require_grad = False  # expect: requires-grad-misspelt
model = nn.Sequential(backbone, nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

for epoch in range(5):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
