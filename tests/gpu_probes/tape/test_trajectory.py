"""Recorded steps replayed are the run itself; changed, they are the run that was not made."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from workloads import build

from convlint.gpu_probes.tape import TapeRecorder
from convlint.gpu_probes.tape.trajectory import (
    AS_RECORDED,
    SOUND,
    Clipping,
    Course,
    Handling,
    RecordedStep,
    Replay,
    Start,
    replay,
)

STEPS = 30


class Run:
    """A training run of a workload, recorded when asked to be."""

    def __init__(
        self,
        name: str,
        optimizer: Callable[..., torch.optim.Optimizer],
        *,
        clip: float | None = None,
        micro_batches: int = 1,
        scaler: torch.amp.GradScaler | None = None,
        scheduled: bool = False,
    ) -> None:
        self.workload = build(name)
        self.optimizer = optimizer(self.workload.model.parameters())
        self.start: Start | None = None
        self.steps: list[RecordedStep] = []
        self.losses: list[float] = []
        schedule = (
            torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 0.01, STEPS) if scheduled else None
        )
        for number in range(STEPS):
            self._step(number, clip, micro_batches, scaler)
            if schedule is not None:
                schedule.step()

    def _step(
        self,
        number: int,
        clip: float | None,
        micro_batches: int,
        scaler: torch.amp.GradScaler | None,
    ) -> None:
        parameters = tuple(self.workload.model.parameters())
        tapes, total = [], 0.0
        self.optimizer.zero_grad()
        for part in range(micro_batches):
            recorder = TapeRecorder()
            with recorder:
                loss = self.workload.loss(number * micro_batches + part) / micro_batches
                scaled = loss if scaler is None else scaler.scale(loss)
            tapes.append(recorder.finish(scaled))
            if self.start is None:
                self.start = Start(self.optimizer)
            total += float(loss.detach())
            scaled.backward()
        scale = 1.0 if scaler is None else scaler.get_scale()
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        clippings = ()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
            clippings = (Clipping(clip, parameters=parameters),)
        options = tuple(
            {k: v for k, v in group.items() if k != "params"}
            for group in self.optimizer.param_groups
        )
        self.steps.append(RecordedStep(tuple(tapes), options, clippings, scale))
        self.losses.append(total)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()

    def replayed(self, course: Course | None = None) -> Replay:
        assert self.start is not None
        return replay(self.start, self.steps, course)


RUNS: dict[str, Callable[[], Run]] = {
    "sgd with momentum": lambda: Run("cnn", lambda p: torch.optim.SGD(p, 0.05, momentum=0.9)),
    "adamw, clipping, one cycle": lambda: Run(
        "gpt", lambda p: torch.optim.AdamW(p, 1e-3), clip=1.0, scheduled=True
    ),
    "accumulation": lambda: Run("cnn", lambda p: torch.optim.Adam(p, 0.01), micro_batches=2),
    "gradient scaler": lambda: Run(
        "perceptron", lambda p: torch.optim.SGD(p, 0.1), scaler=torch.amp.GradScaler("cpu")
    ),
    "recurrent, rmsprop": lambda: Run("lstm", lambda p: torch.optim.RMSprop(p, 0.01), clip=0.5),
}


@pytest.mark.parametrize("kind", RUNS)
def test_thirty_steps_replayed_end_at_the_same_bits(kind):
    run = RUNS[kind]()
    result = run.replayed()
    assert result.losses == tuple(run.losses)
    assert run.start is not None
    assert all(
        torch.equal(a, b) for a, b in zip(result.parameters, run.start.originals, strict=True)
    )


def test_another_learning_rate_equals_the_run_made_with_it():
    slow = Run("cnn", lambda p: torch.optim.SGD(p, 0.01, momentum=0.9))
    fast = Run("cnn", lambda p: torch.optim.SGD(p, 0.03, momentum=0.9))
    course = Course(options=lambda step, group, recorded: {**recorded, "lr": 0.03})
    assert slow.replayed(course).losses == tuple(fast.losses)


def test_without_clipping_equals_the_run_made_without():
    clipped = Run("lstm", lambda p: torch.optim.SGD(p, 0.5), clip=0.1)
    free = Run("lstm", lambda p: torch.optim.SGD(p, 0.5))
    assert clipped.replayed(Course(clippings=())).losses == tuple(free.losses)
    assert clipped.losses != free.losses


def test_another_optimizer_equals_the_run_made_with_it():
    sgd = Run("perceptron", lambda p: torch.optim.SGD(p, 0.1))
    adam = Run("perceptron", lambda p: torch.optim.Adam(p, 0.01))
    course = Course(
        optimizer=lambda groups: torch.optim.Adam([g["params"][0] for g in _single(groups)], 0.01)
    )
    assert sgd.replayed(course).losses == tuple(adam.losses)


def _single(groups: list[dict[str, object]]) -> list[dict[str, list[torch.Tensor]]]:
    return [{"params": [p]} for group in groups for p in group["params"]]  # type: ignore[attr-defined]


def test_a_replay_that_diverges_stops_at_the_first_infinite_loss():
    run = Run("perceptron", lambda p: torch.optim.SGD(p, 0.1))
    course = Course(options=lambda step, group, recorded: {**recorded, "lr": 1e38})
    result = run.replayed(course)
    assert not result.finite
    assert len(result.losses) < STEPS


def test_replays_leave_the_script_alone():
    run = Run("cnn", lambda p: torch.optim.SGD(p, 0.05, momentum=0.9))
    before = [p.detach().clone() for p in run.workload.model.parameters()]
    state = torch.get_rng_state()
    run.replayed(Course(options=lambda step, group, recorded: {**recorded, "lr": 1.0}))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(
        torch.equal(p, b) for p, b in zip(run.workload.model.parameters(), before, strict=True)
    )


def scaled_run(handling: Handling) -> Replay:
    """One step of SGD on 3 θ whose loss carries a factor of 8, clipped at 6 before it is out."""
    theta = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([theta], lr=1.0)
    start = Start(optimizer)
    recorder = TapeRecorder()
    with recorder:
        loss = 8.0 * (3.0 * theta).sum()
    step = RecordedStep(
        (recorder.finish(loss),),
        ({"lr": 1.0},),
        (Clipping(6.0, scaled=True),),
        loss_scale=8.0,
        handling=Handling.CLIPPED_SCALED,
    )
    return replay(start, [step], Course(handling=handling))


def test_a_clip_of_scaled_gradients_is_repeated_only_where_asked_for():
    # Clipped to 6 with the factor in it, a gradient of 24 leaves 6 / 8; without, 3 stays 3.
    assert float(scaled_run(AS_RECORDED).parameters[0]) == pytest.approx(-0.75, rel=1e-5)
    assert float(scaled_run(SOUND).parameters[0]) == pytest.approx(-3.0, rel=1e-5)


def test_gradients_are_carried_on_or_cleared_as_the_script_did():
    theta = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([theta], lr=1.0)
    start = Start(optimizer)
    recorder = TapeRecorder()
    with recorder:
        loss = (2.0 * theta).sum()
    tape = recorder.finish(loss)

    def end(handling: Handling, repeated: Handling) -> float:
        step = RecordedStep((tape,), ({"lr": 1.0},), handling=handling)
        return float(replay(start, [step] * 3, Course(handling=repeated)).parameters[0])

    # 2 + 4 + 6 where gradients add up, 2 + 2 + 2 where they do not.
    assert end(Handling.CARRIED, AS_RECORDED) == -12.0
    assert end(Handling.CARRIED, SOUND) == -6.0
    assert end(Handling.CLEARED, AS_RECORDED) == 0.0
    assert end(Handling.CLEARED, SOUND) == -6.0


def test_the_optimizer_can_be_given_the_parameters_it_lacks():
    layers = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layers[1].parameters(), lr=0.1)
    recorder = TapeRecorder()
    with recorder:
        loss = layers[1](layers[0](torch.ones(3, 2))).square().mean()
    tape = recorder.finish(loss)
    start = Start(optimizer, tape.parameters)
    step = RecordedStep((tape,), ({"lr": 0.1},))
    first = next(k for k, p in enumerate(start.originals) if p is layers[0].weight)
    kept = replay(start, [step]).parameters[first]
    moved = replay(start, [step], Course(everything=True)).parameters[first]
    assert start.optimized == 2
    assert torch.equal(kept, layers[0].weight)
    assert not torch.equal(moved, layers[0].weight)
