"""A Trainer class in the style of small repositories: clipping, checkpoints read back, argparse."""
# ruff: noqa: PTH103, PTH118, PTH123, PTH208

import argparse
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)

    def forward(self, x):
        return x + F.relu(self.inner(self.norm(x)))


class Net(nn.Module):
    def __init__(self, width=16, depth=4):
        super().__init__()
        self.enter = nn.Linear(8, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.leave = nn.Linear(width, 1)

    def forward(self, x):
        x = torch.tanh(self.enter(x))
        for block in self.blocks:
            x = block(x)
        return self.leave(x)


class Trainer:
    def __init__(self, args):
        self.args = args
        self.model = Net()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=args.lr, momentum=0.9)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, args.epochs)

    def batches(self):
        for _ in range(10):
            x = torch.randn(32, 8)
            yield x, x.sum(1, keepdim=True)

    def step(self, x, y):
        self.optimizer.zero_grad(set_to_none=False)
        loss = F.mse_loss(self.model(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def save(self, epoch):
        os.makedirs(self.args.out, exist_ok=True)
        path = Path(self.args.out) / "last.pt"
        torch.save({"epoch": epoch, "model": self.model.state_dict()}, path)
        with open(os.path.join(self.args.out, "log.txt"), "a") as log:
            log.write(f"{epoch}\n")
        assert torch.load(path)["epoch"] == epoch
        assert path.exists() and "last.pt" in os.listdir(self.args.out)
        assert len(Path(self.args.out, "log.txt").read_text().splitlines()) == epoch + 1

    def fit(self):
        for epoch in range(self.args.epochs):
            for x, y in self.batches():
                loss = self.step(x, y)
            self.scheduler.step()
            self.save(epoch)
            print(f"epoch {epoch} loss {loss:.4f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--out", default="runs")
    Trainer(parser.parse_args()).fit()


if __name__ == "__main__":
    main()
