"""What telemetry costs a training step: the same script alone and under the probe.

Run ``python bench/probe_overhead.py [--device cuda] [WORKLOAD...]``. An MLP, a small CNN and a small transformer,
each with a step of over 50 ms on one core, train for 100 steps, as many as a probe watches. Every step is timed by the script
itself, in CPU seconds of its process. In each of five rounds the script runs three times at once:
alone, with the telemetry of ``convlint probe --tier quick``, and with that of ``--tier standard``,
which records the first 24 steps as tapes for its experiments. The three take turns, a few steps
each, on the same processor: so all meet the same machine, whatever else runs on it. The first step
of a turn, which finds the caches full of the others' data, does not count. The cost of a round is
the ratio of its median steps, and in the second line of its mean steps, for not every step is
measured alike; the median over the rounds is reported, with the smallest and the largest. The first
24 steps, whose forward passes are followed through every module, are told apart from the later
ones, and the very first, which measures once and for all, from both. The last column is the whole
of the 100 steps at tier standard. Hold and curvature, which are
no telemetry, are off. On CUDA the networks and batches are larger, the seconds are those of the
wall until the device is idle, and the three turns are on the same device.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 5
STEPS = 100
TURN = 4
FOLLOWED = range(TURN, 24)
LATER = range(24, STEPS)
WHOLE = range(TURN, STEPS)

SCRIPT = """
import sys, time
import torch
from torch import nn

torch.manual_seed(0)
kind, device = sys.argv[1], sys.argv[4]
on_cuda = device == "cuda"
if kind == "mlp":
    width = 8192 if on_cuda else 1024
    model = nn.Sequential(
        nn.Linear(784, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10),
    )
    batch = torch.randn(4096 if on_cuda else 128, 784)
elif kind == "cnn":
    blocks = []
    for before, after in ((3, 32), (32, 32), (32, 64), (64, 64)):
        blocks += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    batch = torch.randn(2048 if on_cuda else 8, 3, 32, 32)
else:
    width, layers = (1024, 12) if on_cuda else (128, 4)
    layer = nn.TransformerEncoderLayer(width, width // 32, 4 * width, batch_first=True)
    encoder = nn.TransformerEncoder(layer, layers)
    model = nn.Sequential(
        nn.Embedding(100, width), encoder, nn.Flatten(), nn.Linear(64 * width, 10)
    )
    batch = torch.randint(0, 100, (64 if on_cuda else 8, 64))
labels = torch.randint(0, 10, (len(batch),)).to(device)
model, batch = model.to(device), batch.to(device)


def clock():
    if not on_cuda:
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
go = open(sys.argv[3], "rb", buffering=0)
for _ in range(int(sys.argv[2])):
    go.read(1)
    started = clock()
    optimizer.zero_grad()
    loss = criterion(model(batch), labels)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    loss.item()
    print("step", clock() - started, flush=True)
"""
PROBE = """
import sys
from convlint.launch import run_probe
tier, script, *arguments = sys.argv[1:]
run_probe(script, arguments, tier=tier, hold=0, steps=10**6, budget=600.0, curvature=False,
          device=arguments[-1], script_output="stderr")
"""


class Training:
    """The script at work, a few steps at a time."""

    def __init__(self, command, arguments, channel, device):
        os.mkfifo(channel)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [*command, *arguments, str(channel), device],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self._channel = channel
        self._go = None

    def steps(self, count):
        """Seconds of the next ``count`` steps."""
        if self._go is None:
            # Waits until the script is there to read.
            self._go = self._channel.open("wb", buffering=0)
        self._go.write(b"." * count)
        seconds = []
        while len(seconds) < count:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError("the script ended early")
            if line.startswith("step "):
                seconds.append(float(line.split()[1]))
        return seconds

    def end(self):
        """End the script, before the probe begins what comes after the last step."""
        self._process.terminate()
        self._process.communicate()
        if self._go is not None:
            self._go.close()


def side_by_side(directory, arguments, device):
    """Seconds of every step: alone, with telemetry, with telemetry and recorded."""
    probe = [sys.executable, "-c", PROBE]
    commands = ([sys.executable], [*probe, "quick"], [*probe, "standard"])
    runs = [
        Training(command, arguments, directory / f"go{number}", device)
        for number, command in enumerate(commands)
    ]
    seconds = [[] for _ in runs]
    for turn in range(STEPS // TURN):
        # Who goes first changes, too.
        for number in range(turn, turn + len(runs)):
            seconds[number % len(runs)] += runs[number % len(runs)].steps(TURN)
    for run in runs:
        run.end()
    return seconds


def cost(alone, probed, steps, middle):
    """Relative cost of those of the steps that are not the first of a turn."""
    counted = [step for step in steps if step % TURN]
    return middle(probed[step] for step in counted) / middle(alone[step] for step in counted) - 1


def told(values):
    """The median, the smallest and the largest."""
    return f"{statistics.median(values):+.1%} ({min(values):+.1%} to {max(values):+.1%})"


def stay_on_one_processor():
    """Processors differ in speed as long as others work on their other halves."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main():
    parser = argparse.ArgumentParser(description="What telemetry costs a training step.")
    parser.add_argument("workloads", nargs="*", default=["mlp", "cnn", "transformer"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    if asked.device == "cpu":
        stay_on_one_processor()
    head = ("followed steps", "later steps", "recorded steps", "standard, whole")
    print(f"{'workload':11} {'alone':>8}", *(f"{name:>26}" for name in head), f"{'first':>9}")
    for workload in asked.workloads:
        rounds = []
        for _ in range(asked.rounds):
            with tempfile.TemporaryDirectory() as directory:
                script = Path(directory) / "train.py"
                script.write_text(SCRIPT)
                arguments = [str(script), workload, str(STEPS)]
                rounds.append(side_by_side(Path(directory), arguments, asked.device))
        for name, middle in (("median", statistics.median), ("mean", statistics.fmean)):
            step = statistics.median(middle(alone[1:]) for alone, *_ in rounds)
            columns = (
                [cost(alone, quick, FOLLOWED, middle) for alone, quick, _ in rounds],
                [cost(alone, quick, LATER, middle) for alone, quick, _ in rounds],
                [cost(alone, standard, FOLLOWED, middle) for alone, _, standard in rounds],
                [cost(alone, standard, WHOLE, middle) for alone, _, standard in rounds],
            )
            first = statistics.median(quick[0] - alone[0] for alone, quick, _ in rounds)
            print(
                f"{workload if name == 'median' else '':11} {step * 1e3:5.0f} ms",
                *(f"{told(column):>26}" for column in columns),
                f"{first * 1e3:+6.0f} ms  {name}",
                flush=True,
            )


if __name__ == "__main__":
    main()
