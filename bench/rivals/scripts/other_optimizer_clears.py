"""An autoencoder in two halves; only the encoder's gradients are ever cleared."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader

torch.manual_seed(3)
images = torch.tensor(load_digits().data, dtype=torch.float32) / 16
loader = DataLoader(images, batch_size=64, shuffle=True)
encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
decoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))
encoder_optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
decoder_optimizer = torch.optim.Adam(decoder.parameters(), lr=1e-3)
criterion = nn.MSELoss()

for epoch in range(5):
    for batch in loader:
        encoder_optimizer.zero_grad()
        loss = criterion(decoder(encoder(batch)), batch)
        loss.backward()
        encoder_optimizer.step()
        decoder_optimizer.step()  # expect: gradients-not-cleared
    print(epoch, loss.item())
