"""What happens inside a model's forward, and what of it only while training."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.lazy_regex import lazy_regex
from convlint.program.facts import ObjectKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import Call, Object, TrainingProgram, Value

__all__ = ["always_dropping", "in_forward", "only_when_training", "samples_on_purpose"]

_STEPS = frozenset({"forward", "training_step"})
_TRAINING = lazy_regex(r"\btrain(ing|_mode)?\b|\bis_train(ing)?\b|\beval(uate|uating)?\b")
_SAMPLING = lazy_regex(r"mc_|_mc\b|monte|bayes|prenet|sampl|stochastic", re.IGNORECASE)


def in_forward(made: Object | Call) -> bool:
    """Whether this is made or called every time a model is applied."""
    names = [name.rpartition(".")[2] for name in made.within]
    last = max((at for at, name in enumerate(names) if name in _STEPS), default=-1)
    return last >= 0 and "__init__" not in names[last:]


def only_when_training(made: Object | Call) -> bool:
    """Whether a test on the mode decides if this happens."""
    return any(_TRAINING.search(condition) for condition in made.conditions)


def samples_on_purpose(within: tuple[str, ...]) -> bool:
    """Whether the names say that dropout is meant to stay on (Monte Carlo dropout, a pre-net)."""
    return any(_SAMPLING.search(name) for name in within)


def always_dropping(
    program: TrainingProgram, names: frozenset[str], argument: str
) -> Iterator[tuple[Call, Value]]:
    """Calls of these functions in a module that pass a dropout probability which does not depend
    on the mode: a positive constant, or an attribute the constructor sets."""
    objects = {item.id: item for item in program.objects}
    modules = {o.cls.rpartition(".")[2] for o in program.objects if o.kind is ObjectKind.MODEL}
    met = set()
    for call in program.calls:
        given = call.args.get(argument) if call.name in names else None
        if given is None or only_when_training(call) or samples_on_purpose(call.within):
            continue
        if not any(name.rpartition(".")[0] in modules for name in call.within):
            continue
        kept = objects.get(-1 if given.object is None else given.object)
        attribute = kept is not None and any(name.startswith("self.") for name in kept.names)
        if not attribute and not (given.number is not None and given.number > 0):
            continue
        if call.location not in met:
            met.add(call.location)
            yield call, given
