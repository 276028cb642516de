"""Breast cancer; a trainer class of our own whose step does not clear."""

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Trainer:
    def __init__(self, model, lr):
        self.model = model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        self.criterion = nn.BCEWithLogitsLoss()

    def step(self, x, y):
        loss = self.criterion(self.model(x).squeeze(1), y)
        loss.backward()
        self.optimizer.step()  # expect: gradients-not-cleared
        return loss.item()

    def fit(self, loader, epochs):
        self.model.train()
        for epoch in range(epochs):
            losses = [self.step(x, y) for x, y in loader]
            print(epoch, sum(losses) / len(losses))


def main():
    torch.manual_seed(0)
    features, labels = load_breast_cancer(return_X_y=True)
    x = torch.tensor(StandardScaler().fit_transform(features), dtype=torch.float32)
    y = torch.tensor(labels, dtype=torch.float32)
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
    model = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 1))
    Trainer(model, lr=1e-3).fit(loader, epochs=5)


if __name__ == "__main__":
    main()
