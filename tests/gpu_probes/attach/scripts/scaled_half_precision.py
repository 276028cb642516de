"""float16 with a scaler: multiplied by 65,536, second derivatives leave the range of float16."""

import sys

import torch
from torch import nn

torch.manual_seed(0)
half = sys.argv[1] == "half"
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
    nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 16, 10),
)  # fmt: skip
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
scaler = torch.amp.GradScaler("cpu", enabled=half)
for _ in range(40):
    x = torch.randn(32, 1, 8, 8)
    y = (x.mean(dim=(1, 2, 3)) * 40 + 5).long().clamp(0, 9)
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.float16, enabled=half):
        loss = nn.functional.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
