"""What tier quick costs on a model of 124 million parameters: memory and time.

Run ``python bench/quick_tier_gpt2.py [--threads N] [--device cuda] [--probe-options '--steps 4']``. A GPT-2-shaped model (12 layers, width 768,
50,257 tokens) trains on 2 sequences of 128 tokens with AdamW, alone for a few steps and under
``convlint probe --tier quick``. Reported are the largest resident memory of each process and their
ratio (bar: 1.6), and the wall time of the probe (bar: 60 s), from start to verdict. On CUDA the
batch is 8 sequences of 1,024 tokens in bfloat16, and the memory is that of torch's allocator there.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = """
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
WIDTH, LAYERS, HEADS, TOKENS, CONTEXT = 768, 12, 12, 50257, 1024


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attend, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        batch, length, _ = x.shape
        parts = self.attend(self.norm1(x)).split(WIDTH, dim=2)
        q, k, v = (p.view(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2) for p in parts)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(seen.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT2(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(TOKENS, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, TOKENS, bias=False)
        self.apply(self.initialise)
        self.head.weight = self.tokens.weight

    def initialise(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, x):
        x = self.tokens(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


import sys

steps, device = int(sys.argv[1]), sys.argv[2]
on_cuda = device == "cuda"
model = GPT2().to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, weight_decay=0.1)
for step in range(steps):
    batch = torch.randint(0, TOKENS, (8, 1025) if on_cuda else (2, 129)).to(device)
    with torch.autocast(device, torch.bfloat16, enabled=on_cuda):
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
print(sum(p.numel() for p in model.parameters()), "parameters")
if on_cuda:
    print("allocated", torch.cuda.max_memory_allocated())
"""


def peak_and_seconds(command: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Largest resident memory of any process of ``command`` in GiB, its seconds and its output."""
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        output = os.open("/dev/null", os.O_WRONLY)
        os.dup2(output, 2)
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        Path(environment["RESULT"]).write_text(f"{peak}\n{ran.stdout}{ran.stderr[-2000:]}")
        os._exit(0)
    os.waitpid(child, 0)
    seconds = time.perf_counter() - started
    peak, _, said = Path(environment["RESULT"]).read_text().partition("\n")
    return int(peak) / 2**20, seconds, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--plain-steps", type=int, default=8)
    parser.add_argument("--probe-options", default="", help="more options of the probe")
    asked = parser.parse_args()
    threads = str(asked.threads)
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "train.py"
        script.write_text(SCRIPT)
        environment = {
            **os.environ, "OMP_NUM_THREADS": threads, "RESULT": f"{directory}/result.txt",
        }  # fmt: skip
        plain, plain_seconds, said = peak_and_seconds(
            [sys.executable, str(script), str(asked.plain_steps), asked.device], environment
        )
        print(
            f"alone: {plain:.2f} GiB, {plain_seconds:.1f} s for {asked.plain_steps} steps; {said}",
            end="",
        )
        probed, seconds, said = peak_and_seconds(
            [sys.executable, "-m", "convlint", "probe", "--tier", "quick", "--device", asked.device,
             *asked.probe_options.split(), str(script), "--", "10000", asked.device],
            environment,
        )  # fmt: skip
        print(said)
        print(f"tier quick: {probed:.2f} GiB, {probed / plain:.2f} x alone; {seconds:.1f} s")


if __name__ == "__main__":
    main()
