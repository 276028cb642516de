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

from convlint.curves.assemble import assemble
from convlint.curves.readers import open_log
from convlint.report.logged import HEALTHY, UNDETERMINED, VERDICTS, verdict
from convlint.rules import all_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

    Series = NDArray[np.float64]
    Table = dict[str, Series]

ROOT = Path(__file__).resolve().parents[1]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
"""Spinning threads of several processes slow one another down."""
SICK = {word for _, word, _ in VERDICTS} - {"plateaued"}
WORDS = (HEALTHY, *(word for _, word, _ in VERDICTS), UNDETERMINED)


def columns(**values: Series) -> Table:
    """A table by column."""
    return values


def healthy_epochs(random: Generator) -> Table:
    k = np.arange(40.0)
    loss = 0.1 + 2.0 * 0.9**k
    return columns(
        epoch=k,
        loss=loss + 0.01 * random.normal(size=40),
        val_loss=loss + 0.1 + 0.02 * random.normal(size=40),
    )


def healthy_power_law(random: Generator) -> Table:
    k = np.arange(2000.0)
    return columns(
        step=10 * k, loss=1.7 + 8.0 * (k + 3.0) ** -0.5 + 0.05 * random.normal(size=2000)
    )


def healthy_noisy_batches(random: Generator) -> Table:
    k = np.arange(3000.0)
    level = 0.3 + 2.0 * np.exp(-k / 700.0)
    return columns(step=k, train_loss=level * random.gamma(16.0, 1.0 / 16.0, size=3000))


def healthy_steps_of_rate(random: Generator) -> Table:
    k = np.arange(90.0)
    loss = np.where(
        k < 30,
        1.0 + 1.3 * 0.8**k,
        np.where(k < 60, 0.5 + 0.3 * 0.8 ** (k - 30), 0.35 + 0.1 * 0.8 ** (k - 60)),
    )
    rate = np.where(k < 30, 0.1, np.where(k < 60, 0.01, 0.001))
    return columns(
        epoch=k,
        loss=loss + 0.02 * random.normal(size=90),
        val_loss=loss + 0.15 + 0.03 * random.normal(size=90),
        lr=rate,
    )


def healthy_warm_restarts(random: Generator) -> Table:
    k = np.arange(300.0)
    phase = (k % 60) / 60
    rate = 0.1 * 0.5 * (1 + np.cos(np.pi * phase)) + 1e-4
    base = 0.3 + 2.0 * np.exp(-k / 80.0)
    return columns(step=k, loss=base * (1.0 + 4.0 * rate) + 0.01 * random.normal(size=300), lr=rate)


def healthy_adversarial(random: Generator) -> Table:
    k = np.arange(400.0)
    return columns(
        step=k,
        loss_d=0.7 + 0.3 * np.sin(k / 15.0) + 0.1 * random.normal(size=400),
        loss_g=1.0 + k / 150.0 + 0.2 * random.normal(size=400),
    )


def healthy_reinforcement(random: Generator) -> Table:
    k = np.arange(300.0)
    return columns(
        step=k,
        loss=0.1 + k / 300.0 + 0.1 * random.normal(size=300),
        policy_loss=0.05 * random.normal(size=300),
        mean_reward=200.0 * (1 - np.exp(-k / 80.0)) + 10 * random.normal(size=300),
    )


def healthy_fine_tuning(random: Generator) -> Table:
    k = np.arange(400.0)
    return columns(step=k, loss=2.1 + 0.12 * np.exp(-k / 60.0) + 0.1 * random.normal(size=400))


def healthy_one_spike(random: Generator) -> Table:
    k = np.arange(600.0)
    loss = 0.5 + 2.5 * 0.99**k + 0.02 * random.normal(size=600)
    loss[300] += 2.0
    return columns(step=k, loss=loss)


def healthy_early_stopped(random: Generator) -> Table:
    k = np.arange(45.0)
    loss = 0.1 + 2.0 * 0.9**k
    return columns(
        epoch=k,
        loss=loss + 0.005 * random.normal(size=45),
        val_loss=loss + 0.2 + 0.012 * np.maximum(0.0, k - 37) + 0.01 * random.normal(size=45),
    )


def healthy_score_still_improves(random: Generator) -> Table:
    k = np.arange(40.0)
    loss = 0.02 + 2.0 * 0.85**k
    return columns(
        epoch=k,
        loss=loss + 0.003 * random.normal(size=40),
        val_loss=loss + 0.3 + 0.012 * np.maximum(0.0, k - 15) + 0.005 * random.normal(size=40),
        val_accuracy=0.9 - 0.5 * 0.93**k + 0.001 * random.normal(size=40),
    )


def healthy_skipped_steps(random: Generator) -> Table:
    k = np.arange(500.0)
    loss = 0.4 + 2.0 * 0.99**k + 0.05 * random.normal(size=500)
    loss[[3, 90, 210]] = np.nan
    return columns(step=k, loss=loss)


def healthy_resumed(random: Generator) -> Table:
    k = np.concatenate([np.arange(300.0), np.arange(280.0, 600.0)])
    return columns(step=k, loss=0.4 + 2.0 * 0.99**k + 0.03 * random.normal(size=k.size))


def healthy_likelihood(random: Generator) -> Table:
    k = np.arange(300.0)
    return columns(step=k, nll_loss=-40.0 + 60.0 * 0.98**k + 0.5 * random.normal(size=300))


def healthy_small_errors(random: Generator) -> Table:
    k = np.arange(200.0)
    mse = 1e-6 + 1e-3 * 0.96**k
    return columns(epoch=k, mse=mse * random.gamma(100.0, 0.01, size=200), val_mse=mse * 1.2)


def healthy_validation_noise(random: Generator) -> Table:
    k = np.arange(20.0)
    loss = 0.5 + 1.5 * 0.85**k
    return columns(
        epoch=k,
        train_loss=loss,
        valid_loss=loss + 0.1 + 0.08 * random.normal(size=20),
    )


def overfitting_steadily(random: Generator) -> Table:
    k = np.arange(60.0)
    loss = 2.0 * 0.92**k
    return columns(
        epoch=k,
        loss=loss + 0.005 * random.normal(size=60),
        val_loss=0.4
        + 1.6 * 0.8**k
        + 0.02 * np.maximum(0.0, k - 12)
        + 0.02 * random.normal(size=60),
    )


def overfitting_soon(random: Generator) -> Table:
    k = np.arange(12.0)
    return columns(
        epoch=k,
        train_loss=1.5 * 0.6**k + 0.002 * random.normal(size=12),
        val_loss=np.array([1.2, 0.95, 0.85, 0.9, 0.98, 1.07, 1.18, 1.29, 1.4, 1.52, 1.66, 1.8])
        + 0.01 * random.normal(size=12),
    )


def overfitting_by_steps(random: Generator) -> Table:
    k = np.arange(3000.0)
    loss = 0.05 + 2.5 * np.exp(-k / 500.0)
    validation = 0.9 + 1.6 * np.exp(-k / 300.0) + 0.4 * np.maximum(0.0, k - 900) / 1000
    return columns(
        step=k,
        train_loss=loss * random.gamma(25.0, 0.04, size=3000),
        eval_loss=np.where(k % 100 == 99, validation + 0.02 * random.normal(size=3000), np.inf),
    )


def diverged_to_nan(random: Generator) -> Table:
    k = np.arange(200.0)
    loss = 2.3 * 0.99**k + 0.05 * random.normal(size=200)
    loss[120:] = np.nan
    return columns(step=k, loss=loss)


def diverged_exponentially(random: Generator) -> Table:
    k = np.arange(80.0)
    return columns(step=k, loss=2.0 * 1.08**k * random.gamma(100.0, 0.01, size=80))


def diverged_thrown(random: Generator) -> Table:
    k = np.arange(200.0)
    loss = np.where(k < 5, 2.3, 8.0 + 12.0 * np.exp(-(k - 5) / 60.0))
    return columns(step=k, train_loss=loss + 0.3 * random.normal(size=200))


def diverged_late(random: Generator) -> Table:
    k = np.arange(400.0)
    loss = np.where(k < 200, 0.5 + 2.0 * 0.98**k, 0.55 + 0.02 * (k - 200))
    return columns(step=k, loss=loss + 0.03 * random.normal(size=400))


def underfitting_by_score(random: Generator) -> Table:
    k = np.arange(100.0)
    return columns(
        epoch=k,
        loss=2.303 + 0.004 * random.normal(size=100),
        accuracy=0.1 + 0.004 * random.normal(size=100),
    )


def underfitting_two_classes(random: Generator) -> Table:
    k = np.arange(60.0)
    return columns(
        epoch=k,
        loss=0.694 + 0.01 * 0.8**k + 0.001 * random.normal(size=60),
        val_loss=0.695 + 0.002 * random.normal(size=60),
        val_acc=0.5 + 0.01 * random.normal(size=60),
    )


def oscillating_in_twos(random: Generator) -> Table:
    k = np.arange(150.0)
    return columns(step=k, loss=2.0 + 0.7 * (-1.0) ** k + 0.1 * random.normal(size=150))


def oscillating_slowly(random: Generator) -> Table:
    k = np.arange(300.0)
    return columns(
        step=k, train_loss=1.5 + 0.8 * np.sin(2 * np.pi * k / 12.5) + 0.1 * random.normal(size=300)
    )


def oscillating_erratically(random: Generator) -> Table:
    k = np.arange(200.0)
    return columns(step=k, loss=random.uniform(0.3, 6.0, size=200))


def too_slow(random: Generator) -> Table:
    k = np.arange(400.0)
    return columns(step=k, loss=2.3 * 0.99992**k + 0.002 * random.normal(size=400))


def spiky_thrice(random: Generator) -> Table:
    k = np.arange(800.0)
    loss = 0.4 + 2.0 * 0.99**k + 0.02 * random.normal(size=800)
    for at in (300, 420, 560, 700):
        loss[at : at + 6] += 2.5 * 0.6 ** np.arange(6.0)
    return columns(step=k, loss=loss)


def spiky_and_slow_to_heal(random: Generator) -> Table:
    k = np.arange(800.0)
    loss = 0.4 + 2.0 * 0.99**k + 0.02 * random.normal(size=800)
    loss[400:] += 2.5 * 0.97 ** np.arange(400.0)
    return columns(step=k, loss=loss)


def plateaued_for_long(random: Generator) -> Table:
    k = np.arange(400.0)
    return columns(step=k, loss=0.3 + 2.0 * 0.95**k + 0.01 * random.normal(size=400))


def plateaued_with_validation(random: Generator) -> Table:
    k = np.arange(120.0)
    loss = 0.25 + 1.8 * 0.88**k
    return columns(
        epoch=k,
        loss=loss + 0.01 * random.normal(size=120),
        val_loss=loss + 0.1 + 0.01 * random.normal(size=120),
    )


BY_FORMULA: dict[str, tuple[str, Callable[[Generator], Table], dict[str, float]]] = {
    maker.__name__: (truth, maker, known)
    for truth, known, makers in (
        (
            HEALTHY,
            {},
            (
                healthy_epochs, healthy_power_law, healthy_noisy_batches, healthy_steps_of_rate,
                healthy_warm_restarts, healthy_fine_tuning, healthy_one_spike,
                healthy_early_stopped,
                healthy_score_still_improves, healthy_skipped_steps, healthy_resumed,
                healthy_likelihood, healthy_small_errors, healthy_validation_noise,
            ),
        ),
        # Losses of a game, or against moving targets, say nothing.
        (UNDETERMINED, {}, (healthy_adversarial, healthy_reinforcement)),
        ("overfitting", {}, (overfitting_steadily, overfitting_soon, overfitting_by_steps)),
        (
            "diverged",
            {},
            (diverged_to_nan, diverged_exponentially, diverged_thrown, diverged_late),
        ),
        ("underfitting", {}, (underfitting_by_score, underfitting_two_classes)),
        (
            "oscillating",
            {},
            (oscillating_in_twos, oscillating_slowly, oscillating_erratically),
        ),
        ("too slow", {"planned_steps": 1000.0}, (too_slow,)),
        ("spiky", {}, (spiky_thrice, spiky_and_slow_to_heal)),
        ("plateaued", {}, (plateaued_for_long, plateaued_with_validation)),
    )
    for maker in makers
}  # fmt: skip


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
