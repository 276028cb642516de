"""Whether dropout, batch norm and the like are in training mode when their model is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from convlint.gpu_probes.observations import ModeUse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convlint.gpu_probes.attach.module_registry import Model, ModelRegistry
    from convlint.gpu_probes.observations import Place

_MODE_SENSITIVE = ("Dropout", "BatchNorm", "InstanceNorm")


def is_mode_sensitive(module: nn.Module) -> bool:
    """Whether the module computes something else in eval mode."""
    name = type(module).__name__
    if any(mark in name for mark in _MODE_SENSITIVE):
        # Frozen statistics and a dropout of nothing behave alike in both modes.
        statistics = getattr(module, "track_running_stats", True)
        return bool(statistics) and getattr(module, "p", 1.0) > 0
    return isinstance(module, nn.RNNBase) and getattr(module, "dropout", 0.0) > 0


@dataclass
class _Use:
    module: nn.Module
    model: Model
    forwards: int = 0
    in_eval: int = 0


class ModeWatch:
    """Counts the back-propagated forwards of every mode-sensitive module, over the whole run.

    While forward passes are followed, the mode is the one the module ran in. Afterwards it is the
    one it is in when the same line back-propagates again, which costs no hook.
    """

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models
        self._uses: dict[int, _Use] = {}
        self._behind: dict[Place | None, dict[int, _Use]] = {}

    def followed(
        self, place: Place | None, model: Model, modes: Iterable[tuple[nn.Module, bool]]
    ) -> None:
        """A forward pass, with the mode of each module in it, led to the loss of ``place``."""
        for module, training in modes:
            use = self._uses.setdefault(id(module), _Use(module, model))
            use.forwards += 1
            use.in_eval += not training
            self._behind.setdefault(place, {})[id(module)] = use

    def back_propagated(self, place: Place | None) -> None:
        """``place`` back-propagates once more, its forward passes not followed."""
        for use in self._behind.get(place, {}).values():
            use.forwards += 1
            use.in_eval += not use.module.training

    def results(self) -> tuple[ModeUse, ...]:
        """One `ModeUse` for each module, in order of first use."""
        return tuple(
            ModeUse(
                module=use.model.module_name(use.module),
                cls=type(use.module).__name__,
                forwards=use.forwards,
                eval_share=use.in_eval / use.forwards,
                trainable=any(p.requires_grad for p in use.model.root.parameters())
                and all(p.requires_grad for p in use.module.parameters()),
                place=self._models.place(use.module, use.model),
            )
            for use in self._uses.values()
        )
