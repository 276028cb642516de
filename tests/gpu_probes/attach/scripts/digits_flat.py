"""A flat loop over the digits with dropout and shuffling; prints every loss to the last bit."""

import random

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)
np.random.seed(3)
random.seed(3)
images, labels = load_digits(return_X_y=True)
x = torch.tensor(images, dtype=torch.float32) / 16.0
y = torch.tensor(labels)
loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True)
model = nn.Sequential(
    nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10)
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
epochs = 3
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)
for _ in range(epochs):
    model.train()
    for inputs, targets in loader:
        inputs = inputs + 0.01 * torch.from_numpy(np.random.randn(*inputs.shape)).float()
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets) * (1.0 + 0.0 * random.random())
        loss.backward()
        optimizer.step()
        scheduler.step()
        print(loss.item().hex(), random.random().hex(), flush=True)
    model.eval()
    with torch.no_grad():
        print((model(x).argmax(1) == y).float().mean().item().hex())
torch.save(model.state_dict(), "digits.pt")
