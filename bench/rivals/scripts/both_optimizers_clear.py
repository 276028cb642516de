"""An autoencoder in two halves; both are cleared."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader

torch.manual_seed(3)
images = torch.tensor(load_digits().data, dtype=torch.float32) / 16
loader = DataLoader(images, batch_size=64, shuffle=True)
encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
decoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))
optimizers = [
    torch.optim.Adam(encoder.parameters(), lr=1e-3),
    torch.optim.Adam(decoder.parameters(), lr=1e-3),
]
criterion = nn.MSELoss()

for epoch in range(5):
    for batch in loader:
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = criterion(decoder(encoder(batch)), batch)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    print(epoch, loss.item())
