"""Two runs compared: better and worse beyond noise, and silence about what noise explains."""

from __future__ import annotations

import dataclasses
import json
import math
import random

import msgspec
import pytest
from click.testing import CliRunner
from observed import observations

from convlint.cli.group import main
from convlint.comparison import Change, compare
from convlint.curves import convergence
from convlint.findings import Confidence, Finding, Judgement, Location, Severity, Verdict
from convlint.gpu_probes.observations import (
    Curvature,
    Device,
    LossFunction,
    Measurement,
    Observations,
    PeakMemory,
    Series,
    StabilityLimit,
)
from convlint.report.json import Output, to_json

STEPS = 100
NOISE = 0.02


def losses(end: float, seed: int) -> tuple[float, ...]:
    draw = random.Random(seed)
    return tuple(
        end + (2.3 - end) * math.exp(-k / 12) + draw.gauss(0.0, NOISE) for k in range(STEPS)
    )


def run(end: float = 0.5, seed: int = 0, **other) -> Observations:
    series = losses(end, seed)
    seen = observations(
        script="a.py",
        steps=STEPS,
        seconds=3.0,
        backwards=STEPS + 8,
        losses=(
            LossFunction(
                "cross_entropy", 8, Measurement(2.3, ci=(2.25, 2.35)), Measurement(2.3),
                *(None, 10, "mean", (64, 10), (64,), None, None, None, None),
            ),
        ),
        series=Series(loss=series, seconds=(0.1,) * STEPS),
        convergence=convergence(series, lower_bound=0.0),
        peak_memory=PeakMemory(host=2**30),
    )  # fmt: skip
    return dataclasses.replace(seen, **other)


def finding(slug: str = "stalled-loss", line: int = 3, **other) -> Finding:
    return Finding(
        code="CVG004",
        slug=slug,
        severity=other.pop("severity", Severity.WARNING),
        confidence=Confidence.HIGH,
        message="m",
        location=Location("a.py", line, 1, line, 2),
        **other,
    )


def output(seen: Observations, *findings: Finding, verdict: str = "go") -> Output:
    return msgspec.json.decode(
        to_json(findings, observations=seen, verdict=(verdict, "because")), type=Output
    )


def changes(before: Output, after: Output) -> dict[str, Change]:
    return {difference.quantity: difference.change for difference in compare(before, after)}


def test_equal_runs_with_other_noise_are_the_same():
    for seed in range(20):
        found = changes(output(run(seed=seed)), output(run(seed=seed + 100)))
        assert set(found.values()) == {Change.SAME}, (seed, found)


@pytest.mark.parametrize(
    ("end", "change"), [(0.7, Change.WORSE), (0.3, Change.BETTER), (0.505, Change.SAME)]
)
def test_a_loss_is_better_or_worse_beyond_its_noise(end, change):
    assert changes(output(run()), output(run(end, seed=1)))["loss"] is change


def test_losses_after_other_numbers_of_steps_are_not_compared():
    shorter = run(steps=STEPS // 2)
    assert changes(output(run()), output(shorter))["loss"] is Change.UNKNOWN


def test_losses_of_other_functions_are_not_compared():
    other = dataclasses.replace(run().losses[0], function="mse_loss")
    assert changes(output(run()), output(run(0.1, losses=(other,))))["loss"] is Change.UNKNOWN


def test_new_and_gone_findings_are_told_by_rule_and_file_not_by_line():
    moved = changes(output(run(), finding(line=3)), output(run(), finding(line=30)))
    assert not any("warning" in quantity for quantity in moved)
    found = changes(output(run(), finding()), output(run(), finding("dead-units")))
    assert found["new warning"] is Change.WORSE
    assert found["gone warning"] is Change.BETTER


def test_refuted_findings_and_infos_count_for_nothing():
    refuted = finding(judgement=Judgement(Verdict.REFUTED, "it falls"))
    info = finding("amsgrad-hint", severity=Severity.INFO)
    assert changes(output(run()), output(run(), refuted, info)) == changes(
        output(run()), output(run())
    )


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("go", "no-go", Change.WORSE),
        ("no-go", "go with care", Change.BETTER),
        ("go", "go", Change.SAME),
    ],
)
def test_the_verdict_has_an_order(before, after, change):
    found = changes(output(run(), verdict=before), output(run(), verdict=after))
    assert found["verdict"] is change


def headroom(value: float) -> Observations:
    measured = Measurement(value, ci=(0.99 * value, 1.01 * value))
    limit = StabilityLimit(0, "SGD", 0.1, False, Measurement(0.1), measured)
    largest = Measurement(20.0)
    return run(
        curvature=(
            Curvature("start", "exact", 9, largest, largest, None, 1.0, 0.0, 9, limits=(limit,)),
        )
    )


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (0.5, 4.0, Change.BETTER),
        (4.0, 0.5, Change.WORSE),
        # A rate far below its limit is no better for being farther below.
        (4.0, 40.0, Change.DIFFERENT),
        (4.0, 4.01, Change.SAME),
    ],
)
def test_headroom_counts_where_there_is_too_little(before, after, change):
    found = changes(output(headroom(before)), output(headroom(after)))
    assert found["stability headroom of SGD at the start"] is change


def test_memory_is_told_and_time_only_where_no_other_work_explains_it():
    slower = run(
        series=dataclasses.replace(run().series, seconds=(0.13,) * STEPS),
        peak_memory=PeakMemory(host=2**31),
    )
    found = changes(output(run()), output(slower))
    assert found["time of a step"] is Change.SAME
    assert found["peak memory of the process"] is Change.WORSE
    elsewhere = run(device=Device("cuda", "H100", "2.13.0", "3.11", "torch"))
    assert changes(output(run()), output(elsewhere))["time of a step"] is Change.UNKNOWN


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name: str, seen: Observations, *findings: Finding) -> str:
        verdict = ("go", "because")
        (tmp_path / name).write_bytes(to_json(findings, observations=seen, verdict=verdict))
        return name

    return write


def test_the_command_fails_when_something_became_worse(files):
    before, after = files("a.json", run()), files("b.json", run(0.9, seed=1), finding())
    worse = CliRunner().invoke(main, ["compare", before, after])
    assert worse.exit_code == 1
    assert "worse           new warning" in worse.stdout
    assert "stalled-loss (a.py:3)" in worse.stdout
    better = CliRunner().invoke(main, ["compare", after, before])
    assert better.exit_code == 0
    assert "2 better, 0 worse" in better.stdout


def test_the_command_writes_json_for_programs(files):
    before, after = files("a.json", run()), files("b.json", run(0.9, seed=1))
    done = CliRunner().invoke(main, ["compare", before, after, "--output-format", "json"])
    loss = next(d for d in json.loads(done.stdout) if d["quantity"] == "loss")
    assert loss["change"] == "worse"
    assert loss["text"].startswith("0.4987 -> 0.8927 at the end")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "b.json: cannot be read: No such file or directory"),
        (b"{", "b.json: is no output of convlint probe or audit --output-format json"),
        (to_json([]), "b.json: has no measurements; give it the JSON of convlint probe or audit"),
    ],
)
def test_a_file_that_is_no_such_output_is_one_line(files, tmp_path, content, complaint):
    before = files("a.json", run())
    if content is not None:
        (tmp_path / "b.json").write_bytes(content)
    done = CliRunner().invoke(main, ["compare", before, "b.json"])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"convlint: {complaint}")
    assert done.stderr.count("\n") == 1
