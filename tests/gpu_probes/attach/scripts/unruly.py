"""Trains, and makes trouble: workers, another directory, no print, swallowed exceptions."""

import builtins
import os

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def silent(*words, **options):
    raise RuntimeError("printing is not allowed")


if __name__ == "__main__":
    torch.manual_seed(0)
    builtins.print = silent
    os.mkdir("elsewhere")  # noqa: PTH102
    os.chdir("elsewhere")
    x = torch.randn(512, 8)
    data = TensorDataset(x, x.sum(1, keepdim=True))
    loader = DataLoader(data, 16, shuffle=True, num_workers=8, persistent_workers=True)
    model = nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    while True:
        try:
            for inputs, targets in loader:
                optimizer.zero_grad()
                nn.functional.mse_loss(model(inputs), targets).backward()
                optimizer.step()
                torch.save(model.state_dict(), "last.pt")
        except:  # noqa: E722
            pass
