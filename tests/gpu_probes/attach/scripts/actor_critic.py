"""An actor and a critic with an optimizer each, on a walk that pays for going right."""

import torch
from torch import nn

torch.manual_seed(0)
actor = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 2))
critic = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
actor_optimizer = torch.optim.Adam(actor.parameters(), lr=3e-3)
critic_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
position = torch.zeros(32, 1)
for _ in range(200):
    choice = torch.distributions.Categorical(logits=actor(position))
    move = choice.sample()
    after = (position + 2.0 * move[:, None] - 1.0).clamp(-5, 5)
    reward = (after - position).squeeze(1)
    with torch.no_grad():
        target = reward + 0.9 * critic(after).squeeze(1)
    value = critic(position).squeeze(1)
    advantage = (target - value).detach()

    critic_optimizer.zero_grad()
    nn.functional.mse_loss(value, target).backward()
    critic_optimizer.step()

    actor_optimizer.zero_grad()
    (-choice.log_prob(move) * advantage).mean().backward()
    actor_optimizer.step()
    position = after
