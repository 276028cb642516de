"""Puts what the recorders hold into one ``Observations``."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from convlint.gpu_probes.attach.experiments import Experiments
from convlint.gpu_probes.attach.loaded_sources import loaded_sources
from convlint.gpu_probes.attach.peak_memory import peak_memory
from convlint.gpu_probes.attach.sound_answers import sound
from convlint.gpu_probes.observations import Device, Measurement, Observations, PeakMemory

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.gpu_probes.attach.observer import Observer
    from convlint.gpu_probes.observations import GradientFlow, LossFunction, Place

T = TypeVar("T")

# A back-propagated loss within this share of the loss function's value is on its scale.
_SAME_SCALE = 0.02
# With fewer samples the entropy of the observed labels is too small: by half their number of
# classes over that of samples (Miller 1955), here by up to 0.1 nats.
_SAMPLES_PER_CLASS = 5
# Ends of a probe after which there is something to experiment with.
_COMPLETE = ("steps", "finished")
# More backward passes per step than this on average is accumulation.
_ACCUMULATES = 1.5


def assemble_observations(
    observer: Observer,
    stopped: str,
    error: str,
    place: Place | None,
    held_back: tuple[str, ...],
) -> Observations:
    """Ask every recorder; one that fails is reported as skipped."""

    def ask(measurement: str, read: Callable[[], tuple[T, ...]]) -> tuple[T, ...]:
        return ask_one(measurement, read) or ()

    def ask_one(measurement: str, read: Callable[[], T | None]) -> T | None:
        results: list[T | None] = [None]
        with observer.measuring.section(measurement):
            results.append(read())
        return results[-1]

    # Before the experiments, whose memory is theirs.
    peak = ask_one("peak memory", lambda: peak_memory(_in_use(observer))) or PeakMemory()
    optimizers = ask("optimizers", observer.optimizers.uses)
    losses = ask("initial loss", observer.losses.recorder.results)
    schedules = ask(
        "schedule ahead",
        lambda: observer.schedules.ahead(observer.optimizers, observer.settings.steps),
    )
    experiments = Experiments(observer, schedules)
    if stopped in _COMPLETE:
        baseline = ask_one("baseline", lambda: _baseline(observer, losses))
        constant = None if baseline is None else baseline.value
        experiments.run(losses, _minimised(observer, losses), constant)
    else:
        experiments.leave_out(stopped)
    observer.pace.note_left_out()
    seen: dict[str, Any] = {
        "batches": ask_one("batches", observer.forward.inputs.batches),
        "inputs": ask("inputs", observer.forward.inputs.results),
        "activations": ask("activations", observer.forward.activations.results),
        "gradient_flow": ask("gradient flow", lambda: _flows(observer)),
        "parameters": ask("parameters", observer.parameters.results),
        "losses": losses,
        "optimizers": optimizers,
        "updates": ask("update ratio", observer.updates.results),
        "non_finite": ask("non-finite values", observer.non_finite.results),
        "non_finite_origin": observer.taped.origin,
        "sample_dependence": ask("sample dependence", observer.taped.sample_dependence),
        "graph_growth": ask_one("graph growth", observer.graphs.results),
        "modes": ask("modes", observer.forward.modes.results),
        "curvature": tuple(observer.curvature.results),
        "schedules": schedules,
        "series": observer.series.results(),
        "plan": observer.schedules.plan,
        "peak_memory": peak,
        "gradient_history": ask_one("gradient history", observer.gradients.results),
        "overfit": experiments.overfit,
        "learning_rate_range": experiments.learning_rate_range,
        "gradient_noise": experiments.gradient_noise,
        "remedies": experiments.remedies,
        "baseline": ask_one("baseline", lambda: _baseline(observer, losses)),
        "ranks": ask_one(
            "comparison of ranks",
            lambda: observer.ranks.compare(observer.probe.seconds(), observer.settings.budget),
        ),
        "recognised": ask("recognised patterns", lambda: _recognised(observer)),
    }
    observations = Observations(
        script=observer.settings.script,
        arguments=observer.settings.arguments,
        device=_device(observer),
        stopped=stopped,
        held=observer.held,
        steps=observer.steps,
        seconds=observer.probe.seconds(),
        backwards=observer.backwards,
        error=error,
        error_place=place,
        writes_held_back=held_back,
        loaded_files=ask("loaded files", lambda: loaded_sources(observer.probe.script)),
        skipped=observer.measuring.skipped(),
        **seen,
    )
    return sound(observations)


def _flows(observer: Observer) -> tuple[GradientFlow, ...]:
    weights = observer.parameters.weights_by_module()
    flows = []
    for name, recorder in observer.forward.flows.items():
        flow = recorder.results(name, weights)
        if flow is not None:
            flows.append(flow)
    return tuple(flows)


def _in_use(observer: Observer) -> torch.device:
    found = observer.device
    for record in observer.optimizers.records:
        for parameter in record.parameters()[:1]:
            found = parameter.device
    return found


def _device(observer: Observer) -> Device:
    found = _in_use(observer)
    cuda = found.type == "cuda"
    return Device(
        kind=found.type,
        name=torch.cuda.get_device_name(found) if cuda else platform.processor(),
        torch_version=str(torch.__version__),
        python_version=platform.python_version(),
        statistics_backend=_statistics_backend(found),
        threads=torch.get_num_threads(),
    )


def _statistics_backend(device: torch.device) -> str:
    from convlint.gpu_probes.backends import backend_name

    return backend_name(device)


def _baseline(observer: Observer, losses: tuple[LossFunction, ...]) -> Measurement | None:
    """The constant predictor's loss, where the back-propagated loss is the one loss function."""
    loss = _minimised(observer, losses)
    if loss is None or loss.uninformed.value is None:
        return None
    if loss.uninformed.n < _SAMPLES_PER_CLASS * (loss.classes or 0):
        return None
    return loss.uninformed


def _minimised(observer: Observer, losses: tuple[LossFunction, ...]) -> LossFunction | None:
    """The one loss function whose value is what the script back-propagates, if there is one."""
    initial = observer.series.initial_losses()
    if len(losses) != 1 or not initial:
        return None
    loss = losses[0]
    mean = sum(initial) / len(initial)
    if loss.initial.value is None or loss.reduction != "mean":
        return None
    # The series sums the losses accumulated for one step.
    accumulated = max((r.accumulation or 1.0 for r in observer.optimizers.stepping), default=1.0)
    if abs(accumulated * mean - loss.initial.value) > _SAME_SCALE * abs(loss.initial.value):
        return None
    return loss


def _recognised(observer: Observer) -> tuple[str, ...]:
    """Patterns that explain what would otherwise look like faults."""
    stepping = observer.optimizers.stepping
    seen = []
    if any(type(record.optimizer).__name__ == "LBFGS" for record in stepping):
        seen.append("LBFGS")
    if len(stepping) > 1:
        seen.append("several optimizers")
    elif any((record.accumulation or 0.0) >= _ACCUMULATES for record in stepping):
        closure = any(record.uses_closure for record in stepping)
        seen.append("closure" if closure else "gradient accumulation")
    elif not stepping and observer.by_hand.updates:
        seen.append("updates by hand")
    if observer.forward.targets.seen():
        seen.append("moving targets")
    if observer.scaled:
        seen.append("GradScaler")
    if any(not p.requires_grad for m in observer.models.models for p in m.root.parameters()):
        seen.append("frozen parameters")
    if observer.forward.recurrent:
        seen.append("recurrent")
    if _trains_on_full_batch(observer):
        seen.append("full batch")
    return tuple(seen)


def _trains_on_full_batch(observer: Observer) -> bool:
    """Whether the one batch the script trains on looks like the whole of its data.

    It is passed again from the same memory, its loader has no other batch, or there is no loader
    at all. One row at a time is no full batch but a loop that stands still.
    """
    batches = observer.forward.inputs.batches()
    if batches is None or not batches.compared:
        return observer.forward.same_batch_memory
    if batches.identical < batches.compared:
        return False
    if observer.forward.same_batch_memory or observer.schedules.loader_length == 1:
        return True
    return not observer.loader_used and (batches.size or 0) > 1
