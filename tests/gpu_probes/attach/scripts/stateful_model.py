"""A model that carries state from batch to batch, in tensors, buffers and plain containers."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(5)


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(6, 12)
        self.norm = nn.BatchNorm1d(12)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(12, 3)
        self.hidden = torch.zeros(16, 12)
        self.history = []
        self.count = 0

    def forward(self, x):
        self.count += 1
        self.hidden = self.cell(x, self.hidden.detach())
        self.history.append(float(self.hidden.detach().mean()))
        return self.head(self.drop(self.norm(self.hidden)) * (1.0 + 0.01 * self.count))


model = Stateful()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for _ in range(30):
    x = torch.randn(16, 6)
    loss = F.cross_entropy(model(x), x[:, :3].argmax(1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item().hex(), len(model.history), sum(model.history).hex(), flush=True)
