"""Steps against weights, and gradients against their neighbours."""

from __future__ import annotations

from dataclasses import replace

import pytest
from measurements import (
    course,
    cross_entropy,
    falling,
    flat,
    found,
    healthy,
    number,
    optimizer,
    severities,
    update,
)

from convlint.findings import Severity
from convlint.gpu_probes.observations import Observations, ParameterGroup, UpdateRatio
from convlint.rules.flow.gradient_spikes import GradientSpikes
from convlint.rules.flow.update_ratio_too_large import UpdateRatioTooLarge
from convlint.rules.flow.update_ratio_too_small import UpdateRatioTooSmall

INFO, WARNING, ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR


def test_weights_thrown_about_are_an_error_at_the_optimizer() -> None:
    seen = healthy(updates=(update(largest=0.8), update("fc2.weight")), **course("stalled", flat()))
    (finding,) = found(UpdateRatioTooLarge(), seen)
    assert finding.severity is ERROR
    assert finding.location.line == 20
    assert "fc1.weight changed by 0.8 of its norm" in finding.message
    assert "1 of 2 weights" in finding.message


def test_thrown_weights_with_a_falling_loss_are_a_warning() -> None:
    assert severities(UpdateRatioTooLarge(), healthy(updates=(update(largest=0.8),))) == [WARNING]


def test_a_loss_thrown_up_by_the_first_steps_needs_a_smaller_ratio() -> None:
    thrown = (2.3, 1500.0, 600.0, 50.0, *flat(96))
    seen = healthy(updates=(update(largest=0.2),), **course("converging", thrown))
    assert severities(UpdateRatioTooLarge(), seen) == [ERROR]
    assert found(UpdateRatioTooLarge(), healthy(updates=(update(largest=0.2),))) == []


@pytest.mark.parametrize(
    "ratio",
    [
        update("fc1.bias", largest=5.0, shape=(128,)),
        update("norm.weight", largest=5.0, shape=(128,)),
        update(largest=5.0, zero_initialised=True),
        update(largest=0.2),
        update(largest=None),
    ],
    ids=["bias", "norm scale", "starts at zero", "small weight growing as 1/k", "too few steps"],
)
def test_large_ratios_that_are_fine(ratio: UpdateRatio) -> None:
    assert found(UpdateRatioTooLarge(), healthy(updates=(ratio,))) == []


def test_a_line_search_sets_its_own_steps() -> None:
    seen = healthy(updates=(update(largest=5.0),), recognised=("LBFGS",))
    assert found(UpdateRatioTooLarge(), seen) == []
    assert UpdateRatioTooLarge().reading(seen) is None


def still(**changes: object) -> Observations:
    """Steps a hundred million times smaller than the weights, and a loss that does not move."""
    values = {
        "updates": (update(ratio=1e-8), update("fc2.weight", ratio=2e-8)),
        "optimizers": (optimizer("SGD", groups=(ParameterGroup(1e-8, 4, 10_000),)),),
        **course("stalled", flat()),
        **changes,
    }
    return healthy(**values)


def test_steps_that_move_nothing_are_an_error_when_the_loss_stands_still() -> None:
    (finding,) = found(UpdateRatioTooSmall(), still())
    assert finding.severity is ERROR
    assert "2 of 2 weights change by 1.5e-08" in finding.message
    assert "learning rate 1e-08" in finding.message


def test_steps_that_move_nothing_warn_when_the_loss_is_undetermined() -> None:
    assert severities(UpdateRatioTooSmall(), still(**course("undetermined", flat()))) == [WARNING]


def warming_up() -> Observations:
    seen = still()
    rates = tuple(1e-8 * (step + 1) for step in range(100))
    return replace(seen, series=replace(seen.series, learning_rate=rates))


@pytest.mark.parametrize(
    "seen",
    [
        warming_up(),
        still(losses=(cross_entropy(0.3),)),
        still(optimizers=(optimizer(groups=(ParameterGroup(0.0, 2, 10),)),)),
        still(updates=(update(ratio=1e-8), update("fc2.weight"), update("fc3.weight"))),
        still(updates=(replace(update(), ratio=number(1e-8, n=10)),)),
        still(**course("converging", falling())),
        still(updates=(update(ratio=5e-5),)),
    ],
    ids=[
        "warm-up",
        "pre-trained",
        "group frozen by its rate",
        "one layer of three",
        "few steps",
        "loss falls",
        "fine-tuning at 1e-6",
    ],
)
def test_small_steps_that_are_fine(seen: Observations) -> None:
    assert found(UpdateRatioTooSmall(), seen) == []


def spiky(kind: str = "undetermined", height: float = 40.0, **changes: object) -> Observations:
    seen = healthy(**{**course(kind, falling()), **changes})
    norms = [1.0] * 100
    norms[30] = norms[60] = norms[61] = height
    return replace(seen, series=replace(seen.series, gradient_norm=tuple(norms)))


def test_spikes_without_clipping_warn() -> None:
    (finding,) = found(GradientSpikes(), spiky())
    assert finding.severity is WARNING
    assert "3 of 95 steps" in finding.message
    assert "40 times" in finding.message


def test_spikes_of_a_converging_run_are_a_note() -> None:
    assert severities(GradientSpikes(), spiky("converging")) == [INFO]


@pytest.mark.parametrize(
    "seen",
    [
        spiky(height=8.0),
        spiky(recognised=("several optimizers",)),
        spiky(recognised=("LBFGS",)),
        spiky(optimizers=(optimizer(clipped=True),)),
    ],
    ids=["a small last batch", "players in turn", "line search", "clipped"],
)
def test_uneven_gradients_that_are_fine(seen: Observations) -> None:
    assert found(GradientSpikes(), seen) == []


def test_a_gradient_that_falls_by_orders_of_magnitude_has_no_spikes() -> None:
    seen = healthy()
    norms = tuple(10.0 ** (-step / 20) for step in range(100))
    steep = replace(seen, series=replace(seen.series, gradient_norm=norms))
    assert found(GradientSpikes(), steep) == []
    assert (GradientSpikes().reading(steep) or "").startswith("the largest gradient is")


def test_too_few_steps_have_no_reading() -> None:
    seen = healthy(**course("undetermined", falling(20)))
    assert GradientSpikes().reading(seen) is None
