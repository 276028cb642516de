"""Does the remedy measured best cure the script? Sick scripts with a known cure, and healthy ones.

    python bench/remedies.py                     # every case
    python bench/remedies.py digits_stalled      # some of them

For each script: the table of ``convlint audit --remedies``, then full runs of the script itself, to
its end, in several seeds: as it is, with the known cure, and with the first change of every kind the
table calls better. Reported are

* sick: whether the change ranked first is the known cure, or as good in full runs, and the *regret*:
  how far its score stays behind the best of the full runs;
* healthy: whether the answer is to keep the run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from convlint.audit import join
from convlint.engine import check_paths
from convlint.gpu_probes.observations.remedies import BETTER, KEEP, Remedies, Remedy
from convlint.launch import run_probe
from convlint.remedies import fitting
from convlint.settings import Overrides

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "fixtures"
RUNNER = Path(__file__).with_name("changed_run.py")
EQUALLY_GOOD = 0.02
"""Scores that differ by less are equal: seeds differ by as much."""

Edits = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Case:
    """A script and its known cures: kinds of hyperparameter changes, or source edits by the rule
    that a change of the code answers. ``arguments`` of a healthy script have neither."""

    script: str
    kinds: tuple[str, ...] = ()
    edits: tuple[tuple[str, Edits], ...] = ()

    @property
    def healthy(self) -> bool:
        return not self.kinds and not self.edits


def code(answers: str, *edits: tuple[str, str]) -> tuple[tuple[str, Edits], ...]:
    return ((answers, edits),)


_STANDARD = "X_train = (X_train - X_train.mean(0)) / X_train.std(0)"
_BATCH_NORM = "nn.Linear(64, 64),\n            nn.BatchNorm1d(64),"
CASES = (
    Case("sick/digits_adam_lr_high", ("learning rate",)),
    Case("sick/digits_stalled", ("learning rate",)),
    Case("sick/diabetes_sgd_diverges", ("learning rate",)),
    Case("sick/char_rnn_unclipped", ("clipping", "learning rate")),
    Case("sick/digits_schedule_first", ("schedule",)),
    Case(
        "sick/digits_softmax_output",
        edits=code(
            "softmax-into-cross-entropy",
            ("return self.softmax(self.output(x))", "return self.output(x)"),
        ),
    ),
    Case(
        "sick/breast_cancer_double_sigmoid",
        edits=code("sigmoid-into-bce-logits", ("        nn.Sigmoid(),\n", "")),
    ),
    Case(
        "sick/digits_nll_on_probabilities",
        edits=(
            ("nll-needs-log-probs", (("F.softmax(self", "F.log_softmax(self"),)),
            ("unnormalized-input", (("images).float()", "images).float().sub(80).div(96)"),)),
        ),
    ),
    Case(
        "sick/digits_stale_gradients",
        edits=code(
            "zero-grad-missing", ("loss.backward()", "optimizer.zero_grad(); loss.backward()")
        ),
    ),
    Case(
        "sick/digits_cleared_before_step",
        edits=code(
            "zero-grad-kills-gradient",
            ("    optimizer.zero_grad()", "    pass"),
            ("    loss.backward()", "    optimizer.zero_grad(); loss.backward()"),
        ),
    ),
    Case(
        "sick/digits_unit_normal_init",
        edits=code(
            "normal-init-too-wide",
            ("self.apply(self.init_weights)", "pass"),
        ),
    ),
    Case(
        "sick/digits_constant_init",
        edits=code("constant-weight-init", ("self.reset_parameters()\n", "\n")),
    ),
    Case(
        "sick/wine_raw_features",
        edits=code("unnormalized-input", ("y_train = torch", f"{_STANDARD}\ny_train = torch")),
    ),
    Case(
        "sick/digits_deep_sigmoid",
        edits=code("vanishing-gradient", ("nn.Linear(64, 64),", _BATCH_NORM)),
    ),
    Case(
        "sick/digits_head_only",
        edits=code(
            "parameter-not-optimized",
            ("network.head.parameters()", "network.parameters()"),
        ),
    ),
    Case(
        "sick/digits_detached_encoder",
        edits=code("parameter-without-gradient", ("features.detach()", "features")),
    ),
    Case(
        "sick/digits_fp16_clip_scaled",
        edits=code(
            "clip-without-unscale",
            (
                "        torch.nn.utils.clip_grad_norm_",
                "        scaler.unscale_(optimizer); torch.nn.utils.clip_grad_norm_",
            ),
        ),
    ),
    Case(
        "sick/diabetes_broadcast",
        edits=code("mse-shape-broadcast", ("model(features), t", "model(features).squeeze(1), t")),
    ),
    Case("healthy/digits_mlp"),
    Case("healthy/breast_cancer_trainer"),
    Case("healthy/digits_autoencoder"),
    Case("healthy/diabetes_accumulation"),
    Case("healthy/digits_bf16_onecycle"),
    Case("healthy/digits_cnn"),
    Case("healthy/digits_gru_rows"),
    Case("healthy/char_transformer"),
    Case("healthy/char_lstm"),
)


def table_of(script: Path, budget: float) -> tuple[Remedies | None, str]:
    """The remedies that belong to the script's findings, or why there are none."""
    seen = run_probe(str(script), tier="quick", steps=100, budget=budget, remedies=True)
    everything = Overrides(show_info=True)
    findings, _ = join(check_paths((str(script),), everything).findings, seen)
    fitted = fitting(seen, findings).remedies
    skipped = next((s.reason for s in seen.skipped if s.measurement == "remedies"), "")
    return fitted, skipped


@cache
def score(script: Path, seeds: int, kind: str, value: float | None, edits: Edits) -> float:
    """The mean score of full runs with one change."""
    found = []
    for seed in range(seeds):
        spec = {"script": str(script), "seed": seed, "edits": edits, "kind": kind, "value": value}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(spec, file)
            file.flush()
            run = subprocess.run(
                [sys.executable, str(RUNNER), file.name], capture_output=True, text=True
            )
        if run.returncode:
            raise SystemExit(f"{script}: {run.stderr.strip().splitlines()[-1]}")
        found.append(float(run.stdout.rpartition("score ")[2]))
    return sum(found) / len(found)


def edits_of(case: Case, remedy: Remedy) -> Edits | None:
    """The edit of the source that a change of the code stands for."""
    if remedy.kind != "code":
        return ()
    return next((edits for answers, edits in case.edits if answers in remedy.answers), None)


def is_cure(case: Case, remedy: Remedy) -> bool:
    return remedy.kind in case.kinds or (remedy.kind == "code" and bool(edits_of(case, remedy)))


def judge(case: Case, budget: float, seeds: int, changes: int) -> dict[str, object]:
    """One case: the table and what full runs say of its best."""
    script = FIXTURES / f"{case.script}.py"
    remedies, reason = table_of(script, budget)
    if remedies is None:
        return {"case": case.script, "healthy": case.healthy, "not measured": reason}
    first = remedies.tried[0]
    result: dict[str, object] = {
        "case": case.script,
        "healthy": case.healthy,
        "first": first.change,
        "effect": None if first.effect is None else first.effect.value,
        "share": first.share,
        "seconds": round(remedies.seconds, 1),
        "horizon": remedies.horizon,
    }
    if case.healthy:
        return {**result, "right": first.kind == KEEP}
    scores = full_runs(case, script, remedies, seeds, changes)
    own = scores.get(KEEP if first.kind == KEEP else first.change)
    cures = [scores[r.change] for r in remedies.tried if is_cure(case, r) and r.change in scores]
    known = [scores[name] for name in scores if name.startswith("known cure")]
    good = is_cure(case, first) or (own is not None and own >= max([*cures, *known]) - EQUALLY_GOOD)
    regret = None if own is None else max(scores.values()) - own
    return {**result, "right": good, "cure first": is_cure(case, first), "regret": regret, **scores}


def full_runs(
    case: Case, script: Path, remedies: Remedies, seeds: int, changes: int
) -> dict[str, float]:
    """Scores of the run as it is, of the known cure, and of the first ``changes`` kinds of change."""
    scores = {KEEP: score(script, seeds, "", None, ())}
    for answers, edits in case.edits:
        scores[f"known cure ({answers})"] = score(script, seeds, "", None, edits)
    tried: set[str] = set()
    for remedy in remedies.tried:
        key = remedy.change if remedy.kind == "code" else remedy.kind
        wanted = remedy.outcome == BETTER or remedy.kind in case.kinds
        if not wanted or key in tried or len(tried) >= changes:
            continue
        edits = edits_of(case, remedy)
        if edits is None:
            continue
        tried.add(key)
        kind = "" if remedy.kind == "code" else remedy.kind
        scores[remedy.change] = score(script, seeds, kind, remedy.value, edits)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help="scripts by name; all of them by default")
    parser.add_argument("--budget", type=float, default=400.0, help="seconds of each probe")
    parser.add_argument("--seeds", type=int, default=2, help="full runs of each change")
    parser.add_argument("--changes", type=int, default=4, help="kinds of change run to the end")
    parser.add_argument("--output", type=Path, help="append each result to this file as JSON")
    options = parser.parse_args()
    chosen = [c for c in CASES if not options.cases or Path(c.script).name in options.cases]
    results = []
    for case in chosen:
        result = judge(case, options.budget, options.seeds, options.changes)
        results.append(result)
        print(json.dumps(result), flush=True)
        if options.output:
            with options.output.open("a") as file:
                file.write(json.dumps(result) + "\n")
    summarise(results)


def summarise(results: list[dict[str, object]]) -> None:
    measured = [r for r in results if "right" in r]
    for healthy, name in ((False, "sick: a cure ranks first"), (True, "healthy: keep")):
        judged = [r for r in measured if r["healthy"] is healthy]
        right = sum(bool(r["right"]) for r in judged)
        print(f"{name} in {right} of {len(judged)}")
    regrets = sorted(float(str(r["regret"])) for r in measured if r.get("regret") is not None)
    if regrets:
        mean = sum(regrets) / len(regrets)
        print(f"top-1 regret of the score: mean {mean:.3f}, largest {regrets[-1]:.3f}")
    for result in results:
        if "not measured" in result:
            print(f"not measured: {result['case']}: {result['not measured']}")


if __name__ == "__main__":
    main()
