"""Iris; the model clears its gradients."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler
from torch import nn

torch.manual_seed(1)
features, labels = load_iris(return_X_y=True)
x = torch.tensor(StandardScaler().fit_transform(features), dtype=torch.float32)
y = torch.tensor(labels)
net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

for step in range(300):
    chosen = torch.randint(len(x), (32,))
    net.zero_grad()
    loss = F.cross_entropy(net(x[chosen]), y[chosen])
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        print(step, loss.item())
