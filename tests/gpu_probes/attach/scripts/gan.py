"""Two optimizers in turn, the way the DCGAN example does it."""

import torch
from torch import nn

torch.manual_seed(0)
generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
discriminator = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1), nn.Sigmoid())
criterion = nn.BCELoss()
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=2e-3)
optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-3)
for _ in range(60):
    real = torch.randn(32, 2) + 2.0
    discriminator.zero_grad()
    criterion(discriminator(real), torch.ones(32, 1)).backward()
    fake = generator(torch.randn(32, 4))
    criterion(discriminator(fake.detach()), torch.zeros(32, 1)).backward()
    optimizer_d.step()
    generator.zero_grad()
    criterion(discriminator(fake), torch.ones(32, 1)).backward()
    optimizer_g.step()
