"""Wine; the optimizer goes by another name, and nothing clears."""

import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(2)
features, labels = load_wine(return_X_y=True)
data = TensorDataset(
    torch.tensor(StandardScaler().fit_transform(features), dtype=torch.float32),
    torch.tensor(labels),
)
batches = DataLoader(data, batch_size=16, shuffle=True)
net = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Linear(24, 3))
objective = nn.CrossEntropyLoss()
sgd = torch.optim.SGD(net.parameters(), lr=0.05)

for epoch in range(20):
    for inputs, targets in batches:
        objective(net(inputs), targets).backward()
        sgd.step()  # expect: gradients-not-cleared
    print(epoch)
