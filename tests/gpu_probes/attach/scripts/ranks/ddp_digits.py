"""Digits under DistributedDataParallel; `--fault` leaves out what keeps the ranks together."""

import argparse
import subprocess
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--fault", choices=["no-ddp", "crash", "slow"])
parser.add_argument("--shell", action="store_true", help="write from another program too")
args = parser.parse_args()

dist.init_process_group("gloo")
rank = dist.get_rank()
if args.shell:
    subprocess.run(["sh", "-c", f"echo {rank} > shell{rank}.txt"], check=True)
    dist.barrier()
    assert Path(f"shell{1 - rank}.txt").read_text() == f"{1 - rank}\n"
torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(images, dtype=torch.float32) / 8 - 1, torch.tensor(labels))
sampler = DistributedSampler(data, shuffle=True)
loader = DataLoader(data, batch_size=32, sampler=sampler)
model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
if args.fault != "no-ddp":
    model = DistributedDataParallel(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(3):
    sampler.set_epoch(epoch)
    for step, (x, y) in enumerate(loader):
        if args.fault == "crash" and rank == 1 and step == 3:
            raise ValueError("no shard for this rank")
        if args.fault == "slow" and rank == 0:
            time.sleep(0.1)
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rank == 0:
            print(f"loss {loss.item():.10f}", flush=True)
        torch.save(model.state_dict(), f"rank{rank}.pt")
dist.destroy_process_group()
