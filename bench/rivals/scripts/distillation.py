"""A student learns from a teacher's softened probabilities and from the labels."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
digits = load_digits()
features = torch.tensor(digits.data, dtype=torch.float32) / 16
data = TensorDataset(features, torch.tensor(digits.target))
loader = DataLoader(data, batch_size=64, shuffle=True)
teacher = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
teacher.load_state_dict(torch.load("teacher.pt", weights_only=True))
teacher.eval()
student = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
temperature = 4.0

for epoch in range(5):
    for x, y in loader:
        with torch.no_grad():
            soft = F.softmax(teacher(x) / temperature, dim=1)
        logits = student(x)
        imitation = F.kl_div(
            F.log_softmax(logits / temperature, dim=1), soft, reduction="batchmean"
        )
        loss = F.cross_entropy(logits, y) + temperature**2 * imitation
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
