"""Wine; what the loaders share is in dicts, and the training one shuffles."""

import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(0)
features, labels = load_wine(return_X_y=True)
x = torch.tensor(StandardScaler().fit_transform(features), dtype=torch.float32)
train_set, test_set = random_split(TensorDataset(x, torch.tensor(labels)), [140, 38])
shared = {"batch_size": 16, "num_workers": 0}
train_kwargs = {**shared, "shuffle": True}
train_loader = DataLoader(train_set, **train_kwargs)
test_loader = DataLoader(test_set, **shared)
model = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Linear(24, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()

for epoch in range(20):
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        print(epoch, sum((model(i).argmax(1) == t).sum().item() for i, t in test_loader))
    model.train()
