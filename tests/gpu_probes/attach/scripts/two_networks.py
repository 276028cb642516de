"""Two networks side by side, one with batch normalisation; both are evaluated with gradients on."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def network(*, normalised):
    layers = []
    for width in (1, 10):
        layers.append(nn.Linear(width, 10))
        if normalised:
            layers.append(nn.BatchNorm1d(10))
        layers.append(nn.Tanh())
    return nn.Sequential(*layers, nn.Linear(10, 1))


torch.manual_seed(0)
x = torch.linspace(-1, 1, 640)[:, None]
loader = DataLoader(TensorDataset(x, x.square()), batch_size=64, shuffle=True)
networks = [network(normalised=False), network(normalised=True)]
optimizers = [torch.optim.Adam(net.parameters(), lr=3e-3) for net in networks]
for _ in range(20):
    for net in networks:
        net.eval()
        net(x[::10])
        net.train()
    for inputs, targets in loader:
        for net, optimizer in zip(networks, optimizers, strict=True):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(inputs), targets).backward()
            optimizer.step()
