"""Digits; the loss of an auxiliary head is added before backward."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 32)
        self.second = nn.Linear(32, 32)
        self.auxiliary = nn.Linear(32, 10)
        self.out = nn.Linear(32, 10)

    def forward(self, x):
        early = F.relu(self.first(x))
        return self.out(F.relu(self.second(early))), self.auxiliary(early)


def main():
    torch.manual_seed(0)
    digits = load_digits()
    features = torch.tensor(digits.data, dtype=torch.float32) / 16
    data = TensorDataset(features, torch.tensor(digits.target))
    loader = DataLoader(data, batch_size=64, shuffle=True)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(5):
        for x, y in loader:
            optimizer.zero_grad()
            logits, early = model(x)
            loss = F.cross_entropy(logits, y)
            side_loss = 0.3 * F.cross_entropy(early, y)
            loss += side_loss
            loss.backward()
            optimizer.step()
        print(epoch, loss.item())


if __name__ == "__main__":
    main()
