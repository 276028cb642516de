"""Target networks and averaged teachers move the targets; validation and feature extraction do not."""

import copy

import pytest
from torch import nn

from convlint.gpu_probes.attach.moving_targets import MovingTargets

TRAINED = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
TWIN = copy.deepcopy(TRAINED)
BACKBONE = nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("evaluated", "every", "moving"),
    [(TWIN, 1, True), (TWIN, 10, False), (TRAINED, 1, False), (BACKBONE, 1, False)],
    ids=["target network", "validated average", "metric in every step", "frozen features"],
)
def test_a_twin_evaluated_before_most_steps_sets_the_targets(evaluated, every, moving):
    targets = MovingTargets()
    for step in range(20):
        if step % every == 0:
            targets.evaluated(evaluated)
        targets.back_propagated([TRAINED])
    assert targets.seen() == moving
