"""Ends its process without any exit handler, after a process it forked has done so too."""

import os

import torch

torch.manual_seed(0)
layer = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    layer(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
forked = os.fork()
if forked == 0:
    os._exit(5)
assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 5
os._exit(3)
