"""A loop that takes gradients without a backward pass."""

import sys

import torch

torch.manual_seed(0)
x, y = torch.randn(64, 4), torch.randn(64)
w = torch.zeros(4, requires_grad=True)


def loss(weights):
    return ((x @ weights - y) ** 2).mean()


for _ in range(10_000_000 if sys.argv[1] == "autograd" else 50):
    if sys.argv[1] == "autograd":
        (gradient,) = torch.autograd.grad(loss(w), [w])
        with torch.no_grad():
            w -= 0.1 * gradient
    else:
        w = w - 0.1 * torch.func.grad(loss)(w)
