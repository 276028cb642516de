"""What telemetry costs a training step on the CPU: the same script alone and under the probe.

Run ``python bench/probe_overhead.py [WORKLOAD...]``. An MLP, a small CNN and a small transformer,
each with a step of over 50 ms on one core, train for 44 steps. Every step is timed by the script
itself, in CPU seconds of its process: with one thread these are the seconds of an idle machine,
whatever else runs. Five pairs of runs, alone and under ``convlint probe`` without hold and
curvature, take turns; a pair's cost is the ratio of its median steps, and the median over the
pairs is reported, with the smallest and the largest. The first 24 steps, whose forward passes are
followed through every module, are told apart from the later ones.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PAIRS = 5
STEPS = 44
FOLLOWED = slice(2, 22)
LATER = slice(26, None)

SCRIPT = """
import sys, time
import torch
from torch import nn

torch.manual_seed(0)
kind = sys.argv[1]
if kind == "mlp":
    model = nn.Sequential(
        nn.Linear(784, 1024), nn.ReLU(), nn.Dropout(0.1), nn.Linear(1024, 1024), nn.ReLU(),
        nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10),
    )
    batch = torch.randn(128, 784)
elif kind == "cnn":
    blocks = []
    for before, after in ((3, 32), (32, 32), (32, 64), (64, 64)):
        blocks += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    batch = torch.randn(8, 3, 32, 32)
else:
    layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 4)
    model = nn.Sequential(nn.Embedding(100, 128), encoder, nn.Flatten(), nn.Linear(64 * 128, 10))
    batch = torch.randint(0, 100, (8, 64))
labels = torch.randint(0, 10, (len(batch),))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for _ in range(int(sys.argv[2])):
    started = time.process_time()
    optimizer.zero_grad()
    loss = criterion(model(batch), labels)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    loss.item()
    print("step", time.process_time() - started, flush=True)
"""
PROBE = """
import sys
from convlint.launch import run_probe
run_probe(sys.argv[1], sys.argv[2:], hold=0, steps=10**6, budget=600.0, curvature=False,
          device="cpu", script_output="stderr")
"""


def step_seconds(command):
    """CPU seconds of every step but the first, as the script prints them."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    lines = (ran.stdout + ran.stderr).splitlines()
    return [float(line.split()[1]) for line in lines if line.startswith("step ")]


def main():
    workloads = sys.argv[1:] or ["mlp", "cnn", "transformer"]
    print(f"{'workload':12} {'alone':>9} {'followed steps':>28} {'later steps':>28}")
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "train.py"
        script.write_text(SCRIPT)
        for workload in workloads:
            arguments = [str(script), workload, str(STEPS)]
            alone, followed, later = [], [], []
            for _ in range(PAIRS):
                plain = step_seconds([sys.executable, *arguments])
                probed = step_seconds([sys.executable, "-c", PROBE, *arguments])
                middle = statistics.median(plain[FOLLOWED.start :])
                alone.append(middle)
                followed.append(statistics.median(probed[FOLLOWED]) / middle - 1)
                later.append(statistics.median(probed[LATER]) / middle - 1)
            told = [
                f"{statistics.median(cost):+8.1%} ({min(cost):+.1%} to {max(cost):+.1%})"
                for cost in (followed, later)
            ]
            print(
                f"{workload:12} {statistics.median(alone) * 1e3:6.1f} ms {told[0]:>28} "
                f"{told[1]:>28}",
                flush=True,
            )


if __name__ == "__main__":
    main()
