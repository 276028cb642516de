"""A sum of random numbers by an LSTM; clipping is done by a helper."""

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_


class Adder(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1, 32, batch_first=True)
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        states, _ = self.lstm(x)
        return self.out(states[:, -1])


def descend(optimizer, model, loss):
    optimizer.zero_grad()
    loss.backward()
    clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


torch.manual_seed(0)
model = Adder()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.MSELoss()
for step in range(500):
    x = torch.rand(64, 100, 1) - 0.5
    loss = criterion(model(x), x.sum(dim=1))
    descend(optimizer, model, loss)
    if step % 100 == 0:
        print(step, loss.item())
