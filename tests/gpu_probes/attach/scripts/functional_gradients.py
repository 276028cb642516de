"""A loop that takes gradients where the probe sees no backward pass."""

import sys
import threading

import torch

torch.manual_seed(0)
x, y = torch.randn(64, 4), torch.randn(64)
w = torch.zeros(4, requires_grad=True)
layer = torch.nn.Linear(4, 1)


def loss(weights):
    return ((x @ weights - y) ** 2).mean()


def call(parameters):
    return torch.func.functional_call(layer, parameters, (x,)).square().mean()


def train():
    for _ in range(50):
        loss(w).backward()


for _ in range(10_000_000 if sys.argv[1] == "autograd" else 50):
    if sys.argv[1] == "autograd":
        (gradient,) = torch.autograd.grad(loss(w), [w])
        with torch.no_grad():
            w -= 0.1 * gradient
    elif sys.argv[1] == "func":
        torch.func.grad(call)(dict(layer.named_parameters()))
if sys.argv[1] == "thread":
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
