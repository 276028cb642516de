"""Learning rates as the script gives them to its optimizers, and who changes them later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.facts import EventKind, ObjectKind
from convlint.rules.patterns.imported import uses_library
from convlint.rules.patterns.layers import canonical, is_attention, is_recurrent, is_weight_layer
from convlint.rules.patterns.ownership import object_of, scheduled_optimizer, submodules
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.settings import Setting, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import Object, TrainingProgram

_RATE_NAMES = ("lr", "learning_rate")

_RATE_SETTING_SCHEDULERS = frozenset(
    {"OneCycleLR", "CyclicLR", "LambdaLR", "MultiplicativeLR", "LinearLR", "SequentialLR"}
)
"""Schedulers after which the rate given to the optimizer is not the rate it trains with: they
warm up, or multiply it by a function of their own."""
_TABLES = frozenset({"embedding", "embedding_bag"})
_RESCALING = ("larc", "lars", "lamb")
_RATE_FINDERS = ("torch_lr_finder", "lr_finder")
_REINFORCEMENT = ("gym", "gymnasium", "stable_baselines3", "pettingzoo")


LearningRate = Setting
"""A learning rate is a setting of an optimizer."""


def learning_rates(optimizer: Object) -> Iterator[LearningRate]:
    """Every learning rate an optimizer is built with: the common one and those of its groups."""
    return settings(optimizer, *_RATE_NAMES)


def rate_is_set_elsewhere(program: TrainingProgram, optimizer: Object) -> bool:
    """Whether a warm-up, a function of the step or the script itself sets the learning rate."""
    if uses_library(program, *_RATE_FINDERS):
        return True
    for found in program.objects:
        if found.kind is not ObjectKind.SCHEDULER:
            continue
        owner = scheduled_optimizer(program, found.id)
        if owner not in (optimizer.id, None):
            continue
        name = found.cls.rsplit(".", 1)[-1]
        if name in _RATE_SETTING_SCHEDULERS or "warmup" in name.lower():
            return True
        if not found.cls.startswith("torch.optim.lr_scheduler."):
            return True
    if _is_wrapped(program, optimizer):
        return True
    return any(
        o.kind is EventKind.LR_WRITE and o.event.target in (optimizer.id, None)
        for entry in program.entries
        for o in occurrences(entry.body)
    )


def _is_wrapped(program: TrainingProgram, optimizer: Object) -> bool:
    """Whether a library was given the optimizer to step in its place, as layer-wise scaling is.

    What LARC or LARS makes of the rate is a thousandth of it per layer.
    """
    return any(
        call.name.rpartition(".")[2].lower().startswith(_RESCALING)
        and any(value.object == optimizer.id for value in call.args.values())
        for call in program.calls
    )


def optimizes_modules(program: TrainingProgram, optimizer: Object) -> bool:
    """Whether the optimizer trains a network: known modules, not a handful of leaf tensors.

    A single weight layer (a probe on frozen features, a regression, a layer trained on its own)
    is no network either: there the rate of each step can be far higher.
    """
    if not optimizer.parameters_of:
        return False
    described = {model.object: model for model in program.models}
    weights: set[int] = set()
    for number in submodules(program, optimizer.parameters_of):
        part = object_of(program, number)
        model = described.get(number)
        if part is not None and any(is_weight_layer(canonical(base)) for base in part.bases):
            weights.add(number)  # a class derived from one layer
            continue
        if model is not None:
            if not model.complete:
                return True
            candidates: tuple[int, ...] = model.layers
        elif part is not None and part.kind is ObjectKind.LAYER:
            candidates = (number,)
        else:
            return True
        for candidate in candidates:
            layer = object_of(program, candidate)
            if layer is not None and _is_graph_convolution(layer):
                weights.add(candidate)
                continue
            if layer is None or (not canonical(layer.cls) and not layer.children):
                return True
            op = canonical(layer.cls)
            if is_recurrent(op) or is_attention(op):
                return True
            if is_weight_layer(op) or op in _TABLES:
                weights.add(candidate)
    return len(weights) > 1


def _is_graph_convolution(layer: Object) -> bool:
    """Whether this is one linear map over a graph, of PyTorch Geometric."""
    return layer.cls.startswith("torch_geometric.nn.") and layer.cls.endswith("Conv")


def default_serves_another_update(program: TrainingProgram, rate: LearningRate) -> bool:
    """Whether a rate given elsewhere (a flag's default) also drives an update written by hand.

    The default then fits that update, and whoever chooses the optimizer sets the flag as well.
    """
    origin = rate.value.origin
    return (origin is None or origin.kind != "literal") and any(
        o.kind is EventKind.PARAMETER_WRITE
        for entry in program.entries
        for o in occurrences(entry.body)
    )


def learns_by_reinforcement(program: TrainingProgram) -> bool:
    """Whether the script trains in a simulated environment.

    There a tiny policy makes one update per episode, and rates ten times the usual are common.
    """
    return uses_library(program, *_REINFORCEMENT)
