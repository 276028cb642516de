"""What each optimizer of the script does: its steps, the order of events, what it finds in .grad."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from convlint.gpu_probes.attach.places import user_place
from convlint.gpu_probes.observations import OptimizerUse, ParameterGroup

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convlint.gpu_probes.attach.module_registry import CreationPlaces

# Events kept in order: several steps of the longest usual sequence.
_EVENTS_KEPT = 32
# Steps whose .grad is looked at before backward, and tensors looked at each time: a loop that
# clears its gradients does so every time, and each look costs a transfer from the device.
_STEPS_COMPARED = 32
_TENSORS_COMPARED = 16


@dataclass
class OptimizerRecord:
    """The life of one optimizer so far."""

    number: int
    optimizer: torch.optim.Optimizer
    steps: int = 0
    withheld: int = 0
    backwards: int = 0
    """Backward passes used up by its steps, withheld ones included."""
    pending: list[int] = field(default_factory=list)
    """Backward passes since its last step whose gradients may still be there."""
    cleared: int = 0
    """How many of these were cleared: gone for good once another backward pass follows."""
    events: list[str] = field(default_factory=list)
    clipped: bool = False
    uses_closure: bool = False
    in_step: bool = False
    carried: int = 0
    compared: int = 0
    carries: bool = False
    """Whether the coming step uses gradients of earlier ones; after ``compared`` has reached its
    end, whether the last one looked at did."""
    groups: tuple[ParameterGroup, ...] = ()
    stash: list[tuple[torch.Tensor, torch.Tensor]] | None = None
    oldest_contribution: int = 0
    previous_step: int = 0
    found_gradients: bool = False

    @property
    def steps_seen(self) -> int:
        """Steps the script asked for, real or withheld."""
        return self.steps + self.withheld

    @property
    def accumulation(self) -> float | None:
        """Backward passes per step."""
        return self.backwards / self.steps_seen if self.steps_seen else None

    def parameters(self) -> list[torch.Tensor]:
        """Every tensor the optimizer may change."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def note(self, event: str) -> None:
        """Append an event while there is room."""
        if len(self.events) < _EVENTS_KEPT:
            self.events.append(event)


class OptimizerWatch:
    """All optimizers that took part in training."""

    def __init__(self, created: CreationPlaces) -> None:
        self._created = created
        self._records: dict[int, OptimizerRecord] = {}
        self._owners: dict[int, list[OptimizerRecord]] = {}
        self._step_places: dict[int, Any] = {}

    @property
    def records(self) -> list[OptimizerRecord]:
        """One record per optimizer, in order of construction."""
        return list(self._records.values())

    @property
    def stepping(self) -> list[OptimizerRecord]:
        """The optimizers that stepped."""
        return [record for record in self._records.values() if record.steps_seen]

    @property
    def in_step(self) -> bool:
        """Whether the script is inside a call of ``step``, so in a closure."""
        return any(record.in_step for record in self._records.values())

    def record(self, optimizer: torch.optim.Optimizer) -> OptimizerRecord:
        """The record of ``optimizer``, made on first sight; a wrapper's is that of what it wraps."""
        optimizer = _unwrapped(optimizer)
        record = self._records.get(id(optimizer))
        if record is None or record.optimizer is not optimizer:
            record = OptimizerRecord(len(self._records), optimizer)
            self._records[id(optimizer)] = record
            self._owners.clear()
        return record

    def place(self, record: OptimizerRecord) -> Any:
        """The line that made the optimizer, or the line of its first step."""
        return self._created.place(record.optimizer) or self._step_places.get(record.number)

    def holding(self, tensors: Iterable[int]) -> list[OptimizerRecord]:
        """The optimizers that hold any of the tensors, given by identity."""
        if not self._owners:
            for record in self._records.values():
                for parameter in record.parameters():
                    self._owners.setdefault(id(parameter), []).append(record)
        found: dict[int, OptimizerRecord] = {}
        for tensor in tensors:
            for record in self._owners.get(tensor, ()):
                found[record.number] = record
        return [found[number] for number in sorted(found)]

    def held_of(self, leaves: dict[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """The leaves that an optimizer has: not an input that an attack moves, nor a code that is
        inferred."""
        self.holding(())
        return {number: leaves[number] for number in leaves if number in self._owners}

    def groups_changed(self) -> None:
        """Forget which optimizer holds what: a parameter group was added."""
        self._owners.clear()

    def before_backward(self, backward: int, leaves: dict[int, torch.Tensor]) -> None:
        """Note which optimizers' gradients this backward pass adds to, and what lies there."""
        for record in self.holding(leaves) or self.sharding():
            record.pending = [*record.pending[record.cleared :], backward]
            record.cleared = 0
            record.note("backward")
            if record.compared >= _STEPS_COMPARED:
                continue
            held = [p for p in record.parameters() if id(p) in leaves or is_sharded(p)]
            if not any_gradient(held):
                record.oldest_contribution = backward

    def sharding(self) -> list[OptimizerRecord]:
        """Whose gradients a sharded model fills: its leaves are whole, and no optimizer has them."""
        return [r for r in self._records.values() if any(map(is_sharded, r.parameters()))]

    def gradients_cleared(self, record: OptimizerRecord) -> None:
        """The script cleared every gradient of this optimizer.

        A closure clears before each of its evaluations, which all belong to one step.
        """
        record.note("zero_grad")
        if not record.in_step:
            record.cleared = len(record.pending)

    def begin_step(self, record: OptimizerRecord) -> None:
        """The script calls ``step``."""
        record.note("step")
        if not record.found_gradients:
            record.found_gradients = any(p.grad is not None for p in record.parameters())
        if not record.groups:
            record.groups = tuple(_group(group) for group in record.optimizer.param_groups)
            self._step_places[record.number] = user_place()
        if record.steps_seen and record.pending and record.compared < _STEPS_COMPARED:
            record.compared += 1
            record.carries = record.oldest_contribution <= record.previous_step
            record.carried += record.carries

    def consume(self, record: OptimizerRecord) -> list[int]:
        """The backward passes this step uses up; other optimizers no longer count them."""
        used = record.pending
        record.backwards += len(used)
        if used:
            record.previous_step = used[-1]
        spent = set(used)
        for other in self._records.values():
            if other is not record:
                cleared = set(other.pending[: other.cleared])
                other.pending = [b for b in other.pending if b not in spent]
                other.cleared = len(cleared.intersection(other.pending))
        record.pending, record.cleared = [], 0
        return used

    def withhold(self, record: OptimizerRecord) -> None:
        """Make the coming step a no-op by taking the gradients away."""
        record.stash = [(p, p.grad) for p in record.parameters() if p.grad is not None]
        for parameter, _ in record.stash:
            parameter.grad = None

    def give_back(self, record: OptimizerRecord) -> None:
        """Return the gradients a withheld step was denied."""
        for parameter, gradient in record.stash or ():
            parameter.grad = gradient
        record.stash = None

    def clear_gradients(self) -> None:
        """Drop what the held batches left, so that the first real step sees its own batch only."""
        for record in self._records.values():
            record.pending, record.cleared = [], 0
            for parameter in record.parameters():
                parameter.grad = None

    def uses(self) -> tuple[OptimizerUse, ...]:
        """What to report of each optimizer that stepped."""
        return tuple(
            OptimizerUse(
                id=record.number,
                cls=type(record.optimizer).__name__,
                groups=record.groups,
                steps=record.steps,
                accumulation=record.accumulation,
                carried_gradient_steps=record.carried,
                compared_steps=record.compared,
                clipped=record.clipped,
                uses_closure=record.uses_closure,
                events=tuple(record.events),
                place=self.place(record),
                found_gradients=None if record.uses_closure else record.found_gradients,
            )
            for record in self.stepping
        )


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether this process holds only a part of ``tensor``, or at times nothing of it (FSDP)."""
    if hasattr(tensor, "to_local"):
        return True
    if tensor.layout != torch.strided or tensor.is_meta:
        return False
    return tensor.numel() > 0 and tensor.untyped_storage().size() == 0


def evaluates_once(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a closure given to ``step`` is called once, before anything changes.

    So do all optimizers of torch but LBFGS; one from elsewhere may move the parameters first.
    """
    cls = type(optimizer)
    return cls.__module__.startswith("torch.optim") and not issubclass(cls, torch.optim.LBFGS)


def learning_rate(optimizer: torch.optim.Optimizer) -> float | None:
    """The learning rate of the first parameter group."""
    rate = optimizer.param_groups[0].get("lr") if optimizer.param_groups else None
    return None if rate is None else float(rate)


def _unwrapped(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer inside those of Accelerate and Lightning, which only hand calls on."""
    for name in ("optimizer", "_optimizer"):
        inside = vars(optimizer).get(name)
        if isinstance(inside, torch.optim.Optimizer):
            return _unwrapped(inside)
    return optimizer


def any_gradient(parameters: list[torch.Tensor]) -> bool:
    """Whether any of the first of these has a gradient that is not zero everywhere."""
    found = [p.grad for p in parameters if p.grad is not None]
    gradients = [g.to_local() if hasattr(g, "to_local") else g for g in found]
    return any(bool(g.count_nonzero()) for g in gradients[:_TENSORS_COMPARED] if not g.is_sparse)


def _group(group: dict[str, Any]) -> ParameterGroup:
    options: dict[str, float | bool | str | None] = {}
    for name, value in group.items():
        if name == "params":
            continue
        if isinstance(value, tuple | list):
            options.update({f"{name}[{i}]": _plain(item) for i, item in enumerate(value)})
        else:
            options[name] = _plain(value)
    return ParameterGroup(
        learning_rate=None if group.get("lr") is None else float(group["lr"]),
        parameters=len(group["params"]),
        elements=sum(p.numel() for p in group["params"]),
        options=options,
    )


def _plain(value: Any) -> float | bool | str | None:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return float(value)
    return float(value) if isinstance(value, torch.Tensor) and value.numel() == 1 else str(value)
