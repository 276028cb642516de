"""A long first epoch, then an evaluation that leaves the model in eval mode."""

import subprocess
import sys

import torch
from network import Network

torch.manual_seed(0)
features = torch.randn(800, 6)
targets = torch.randint(0, 3, (800,))
model = Network()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
subprocess.run([sys.executable, "-c", "pass"], check=True)
model.train()
for _ in range(2):
    for rows in torch.randperm(800).split(16):
        _, loss = model(features=features[rows], targets=targets[rows])
        loss = loss / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        model(features=features, targets=targets)
