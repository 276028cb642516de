"""A small Q-network that is updated on every fourth step of its environment; nothing accumulates."""

import random
from collections import deque

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
random.seed(0)
q_network = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(q_network.parameters(), lr=2.5e-4)
memory = deque(maxlen=1000)
state = torch.zeros(4)

for step in range(2000):
    if random.random() < 0.1:
        action = random.randrange(2)
    else:
        action = q_network(state).argmax().item()
    following = torch.clamp(state + 0.1 * torch.randn(4) + (action - 0.5), -1, 1)
    memory.append((state, action, -following.abs().sum().item(), following))
    state = following
    if step > 100 and step % 4 == 0:
        batch = random.sample(memory, 32)
        states, actions, rewards, nexts = zip(*batch)
        with torch.no_grad():
            best = q_network(torch.stack(nexts)).max(dim=1).values
        aim = torch.tensor(rewards) + 0.9 * best
        predicted = q_network(torch.stack(states)).gather(1, torch.tensor(actions)[:, None])
        loss = F.mse_loss(predicted.squeeze(1), aim)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
