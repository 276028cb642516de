"""What ``convlint curves`` says of logs whose truth is known, as a confusion table.

    python bench/curve_verdicts.py [--fixtures] [--real]

Logs by formula (several seeds each); ``--real`` adds those of small trainings run on the spot
(needs torch and scikit-learn), ``--fixtures`` what the scripts in ``fixtures/`` print, the healthy
ones of which must not be called sick. Exits with 1 when a healthy log is called sick.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from logs_by_formula import BY_FORMULA

from convlint.curves.assemble import assemble
from convlint.curves.readers import open_log
from convlint.report.logged import HEALTHY, UNDETERMINED, VERDICTS, verdict
from convlint.rules import all_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from logs_by_formula import Table

ROOT = Path(__file__).resolve().parents[1]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
"""Spinning threads of several processes slow one another down."""
SICK = {word for _, word, _ in VERDICTS} - {"plateaued"}
WORDS = (HEALTHY, *(word for _, word, _ in VERDICTS), UNDETERMINED)


def written(table: Table, form: int, folder: Path) -> Path:
    """The table as one of five kinds of log."""
    names = list(table)
    rows = [
        # Infinity marks what was not logged in that row.
        {name: float(table[name][i]) for name in names if table[name][i] != np.inf}
        for i in range(len(table[names[0]]))
    ]
    if form == 0:
        file = folder / "metrics.csv"
        lines = [
            ",".join(names),
            *(",".join(f"{row[n]:.6g}" if n in row else "" for n in names) for row in rows),
        ]
        file.write_text("\n".join(lines) + "\n")
    elif form == 1:
        file = folder / "log.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == 2:
        file = folder / "train.log"
        file.write_text("".join(" ".join(f"{n}: {row[n]:.6g}" for n in row) + "\n" for row in rows))
    elif form == 3:
        file = folder / "history.json"
        file.write_text(json.dumps({n: [row.get(n) for row in rows] for n in names}))
    else:
        file = folder / "trainer_state.json"
        file.write_text(json.dumps({"log_history": rows, "global_step": len(rows)}))
    return file


def judged(file: Path, known: dict[str, float]) -> str:
    """The verdict on one log."""
    curves = assemble(open_log(str(file)), str(file), **known)  # type: ignore[arg-type]
    findings = [f for rule in all_rules() if rule.has_logged() for f in rule.logged(curves)]
    return verdict(curves, findings)


def by_formula(seeds: int, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Name, truth and verdict of each formula's logs; every seed in another format."""
    for index, (name, (truth, maker, known)) in enumerate(BY_FORMULA.items()):
        for seed in range(seeds):
            table = maker(np.random.default_rng([index, seed]))
            yield name, truth, judged(written(table, (index + seed) % 5, folder), known)


TRAINING = """
import sys
import numpy as np, torch
from sklearn.datasets import load_digits
from torch import nn
torch.manual_seed(0); torch.set_num_threads(1)
kind = sys.argv[1]
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16.0, dtype=torch.float32), torch.tensor(y)
order = torch.randperm(len(x)); x, y = x[order], y[order]
train, val = slice(0, 1200), slice(1200, None)
epochs, rate, width, batch = 25, 0.1, 64, 64
optimizer = torch.optim.SGD
if kind == "overfitting":
    train, epochs, width, rate, batch = slice(0, 150), 150, 256, 3e-3, 32
    optimizer = torch.optim.Adam
    noisy = torch.rand(150) < 0.3
    y[:150][noisy] = torch.randint(0, 10, (int(noisy.sum()),))
elif kind == "diverged": rate, width = 3.0, 0
elif kind == "underfitting": x = torch.zeros_like(x); rate, epochs = 0.01, 60
elif kind == "too slow": rate, epochs = 1e-6, 40
elif kind == "plateaued": epochs, width = 250, 0
elif kind == "adam": optimizer, rate = torch.optim.Adam, 2e-3
elif kind == "tiny batches": batch, rate, epochs = 4, 0.01, 8
net = nn.Linear(64, 10) if not width else nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
opt = optimizer(net.parameters(), lr=rate, **({"weight_decay": 0.02} if kind == "plateaued" else {}))
for epoch in range(epochs):
    losses = []
    for part in torch.randperm(train.stop).split(batch):
        loss = nn.functional.cross_entropy(net(x[train][part]), y[train][part])
        if kind == "diverged": loss = (net(x[train][part]) - y[train][part, None]).square().mean()
        opt.zero_grad(); loss.backward(); opt.step(); losses.append(loss.item())
        if kind == "tiny batches": print(f"loss {loss.item():.4f}")
    with torch.no_grad():
        out = net(x[val]); v = nn.functional.cross_entropy(out, y[val]).item()
        a = (out.argmax(1) == y[val]).float().mean().item()
    if kind != "tiny batches":
        print(f"epoch {epoch}: train loss {np.mean(losses):.5f}, val loss {v:.5f}, val accuracy {a:.4f}")
"""
REAL = {
    HEALTHY: ("healthy", "adam", "tiny batches"),
    "overfitting": ("overfitting",),
    "diverged": ("diverged",),
    "underfitting": ("underfitting",),
    "too slow": ("too slow",),
    "plateaued": ("plateaued",),
}


def real(folder: Path) -> Iterator[tuple[str, str, str]]:
    """The same of small trainings."""
    script, log = folder / "train.py", folder / "real.log"
    script.write_text(TRAINING)
    for truth, kinds in REAL.items():
        for kind in kinds:
            printed = subprocess.run(
                [sys.executable, str(script), kind],
                capture_output=True,
                text=True,
                check=True,
                env=ONE_THREAD,
            )
            log.write_text(printed.stdout)
            yield (
                f"training: {kind}",
                truth,
                judged(log, {"planned_steps": 100.0} if kind == "too slow" else {}),
            )


def fixtures(folder: Path) -> Iterator[tuple[str, str, str]]:
    """What the scripts in ``fixtures`` print; sick ones need not show it in their log."""
    from convlint.errors import UserError

    log = folder / "fixture.log"
    for kind in ("healthy", "sick"):
        for script in sorted((ROOT / "fixtures" / kind).glob("*.py")):
            done = subprocess.run(
                [sys.executable, str(script)],
                capture_output=True,
                text=True,
                check=False,
                cwd=folder,
                env=ONE_THREAD,
            )
            log.write_text(done.stdout)
            try:
                said = judged(log, {})
            except UserError as problem:
                said = UNDETERMINED
                print(f"{script.name}: {problem.message}")
            print(f"{kind}/{script.name}: {said}", flush=True)
            yield f"fixture: {script.name}", HEALTHY if kind == "healthy" else "sick", said


def confusion(results: list[tuple[str, str, str]], say: Callable[[str], None] = print) -> int:
    """Print the table and every mistake; the number of healthy logs called sick."""
    table = Counter((truth, said) for _, truth, said in results)
    truths = dict.fromkeys(truth for _, truth, _ in results)
    say(f"{'truth':14}" + "".join(f"{word:>13}" for word in WORDS))
    for truth in truths:
        say(f"{truth:14}" + "".join(f"{table[truth, word]:>13}" for word in WORDS))
    for name, truth, said in results:
        if truth not in (said, "sick"):
            say(f"{name}: {truth}, called {said}")
    called_sick = sum(
        truth in (HEALTHY, UNDETERMINED) and said in SICK for _, truth, said in results
    )
    right = sum(truth == said for _, truth, said in results)
    say(f"{len(results)} logs, {right} right; healthy ones called sick: {called_sick}")
    return called_sick


def main() -> int:
    """Judge all logs and print the table."""
    parser = argparse.ArgumentParser(description="Confusion table of verdicts on known logs.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--real", action="store_true", help="also run small trainings")
    parser.add_argument("--fixtures", action="store_true", help="also run the fixtures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = list(by_formula(arguments.seeds, folder)) if arguments.seeds else []
        if arguments.real:
            results += real(folder)
        if arguments.fixtures:
            results += fixtures(folder)
    return int(confusion(results) > 0)


if __name__ == "__main__":
    sys.exit(main())
