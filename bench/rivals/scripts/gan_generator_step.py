"""A toy GAN: two backwards into one net before a step, and steps of different optimizers."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
discriminator = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
g_optimizer = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))

for step in range(500):
    real = torch.randn(64, 2) * 0.5 + 1
    fake = generator(torch.randn(64, 4))
    discriminator.zero_grad()
    real_loss = F.binary_cross_entropy_with_logits(discriminator(real), torch.ones(64, 1))
    real_loss.backward()
    fake_loss = F.binary_cross_entropy_with_logits(
        discriminator(fake.detach()), torch.zeros(64, 1)
    )
    fake_loss.backward()
    d_optimizer.step()
    generator.zero_grad()
    g_loss = F.binary_cross_entropy_with_logits(discriminator(fake), torch.ones(64, 1))
    g_loss.backward()
    g_optimizer.step()
    if step % 100 == 0:
        print(step, real_loss.item() + fake_loss.item(), g_loss.item())
