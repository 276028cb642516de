"""Iris; probabilities are computed in the loop and given to the loss."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
features, labels = load_iris(return_X_y=True)
x = torch.tensor(StandardScaler().fit_transform(features), dtype=torch.float32)
loader = DataLoader(TensorDataset(x, torch.tensor(labels)), batch_size=16, shuffle=True)
net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

for epoch in range(20):
    for inputs, targets in loader:
        optimizer.zero_grad()
        probabilities = torch.softmax(net(inputs), dim=-1)
        loss = F.cross_entropy(probabilities, targets)  # expect: softmax-before-cross-entropy
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
