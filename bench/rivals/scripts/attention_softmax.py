"""Rows of digits through attention: a softmax over positions, and cross-entropy on logits."""

import math

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class AttentionPool(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query = nn.Parameter(torch.randn(width) / math.sqrt(width))
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x):
        weights = self.softmax(x @ self.query / math.sqrt(x.shape[-1]))
        return (weights.unsqueeze(-1) * x).sum(dim=1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.pool = AttentionPool(32)
        self.out = nn.Linear(32, 10)

    def forward(self, x):
        return self.out(self.pool(torch.relu(self.embed(x))))


def main():
    torch.manual_seed(0)
    digits = load_digits()
    rows = torch.tensor(digits.images, dtype=torch.float32) / 16
    data = TensorDataset(rows, torch.tensor(digits.target))
    loader = DataLoader(data, batch_size=64, shuffle=True)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(5):
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        print(epoch, loss.item())


if __name__ == "__main__":
    main()
