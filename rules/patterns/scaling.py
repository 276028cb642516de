"""Gradient scaling of mixed precision: which scaler is at work, and whether it does anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.facts import EventKind, ObjectKind
from convlint.rules.patterns.ownership import object_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.program.facts import TrainingProgram, Value
    from convlint.rules.patterns.paths import Occurrence

_TORCH_SCALERS = frozenset(
    {
        "torch.amp.GradScaler",
        "torch.amp.grad_scaler.GradScaler",
        "torch.cuda.amp.GradScaler",
        "torch.cuda.amp.grad_scaler.GradScaler",
        "torch.cpu.amp.GradScaler",
    }
)
_AUTOCASTS = ("torch.autocast", "torch.amp.autocast", "torch.cuda.amp.autocast")


def is_torch_scaler(program: TrainingProgram, scaler: int | None) -> bool:
    """Whether this is PyTorch's own gradient scaler, not switched off by a constant.

    An option of the command line that is off by default is there to be switched on.

    Other scalers (sharded, home-made) may unscale by themselves. One passed in as an argument is
    taken for PyTorch's.
    """
    found = object_of(program, scaler)
    if found is None:
        return False
    if found.kind is ObjectKind.SYMBOL:
        return True
    enabled = found.args.get("enabled")
    if enabled is not None and False in enabled.candidates and not _is_option(enabled):
        return False
    return found.kind is ObjectKind.SCALER and found.cls in _TORCH_SCALERS


def _is_option(value: Value) -> bool:
    return value.origin is not None and value.origin.kind == "argparse default"


def computes_in_bfloat16(program: TrainingProgram) -> bool:
    """Whether an autocast region here asks for bfloat16, which needs no scaling."""
    return any(
        value.name == "torch.bfloat16"
        for call in program.calls
        if call.name in _AUTOCASTS
        for value in call.args.values()
    )


def autocast_dtypes(program: TrainingProgram) -> set[str]:
    """The dtypes that the enabled autocast regions ask for, ``?`` for one that is not known.

    Without a dtype CUDA autocasts to float16 and the CPU to bfloat16.
    """
    found: set[str] = set()
    for call in program.calls:
        if call.name not in _AUTOCASTS:
            continue
        enabled, dtype = call.args.get("enabled"), call.args.get("dtype")
        device = call.args.get("device_type")
        if enabled is not None and enabled.constant is False:
            continue
        if enabled is not None and enabled.constant is not True:
            found.add("?")
        elif dtype is not None:
            name = dtype.name if dtype.name != "torch.half" else "torch.float16"
            found.add(name or "?")
        elif call.name.startswith("torch.cuda.") or (
            device is not None and device.constant == "cuda"
        ):
            found.add("torch.float16")
        else:
            found.add("?")
    return found


def scaled_backward_before(events: Sequence[Occurrence], index: int) -> int | None:
    """The position of the last backward before ``index`` when its loss was scaled, else None."""
    for position in range(index - 1, -1, -1):
        occurrence = events[position]
        if occurrence.kind is EventKind.BACKWARD:
            return position if "scaled" in occurrence.event.flags else None
    return None
