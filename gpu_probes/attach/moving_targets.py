"""Whether the loss is measured against targets that training itself moves.

Then its level says nothing: it may rise while the policy improves. Two marks are looked for: an
environment library of reinforcement learning, and a twin of the trained model (a target network,
an averaged teacher) evaluated without gradients before most backward passes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

_ENVIRONMENTS = ("gymnasium", "gym", "pettingzoo", "envpool", "dm_env", "procgen", "minigrid")
# A twin that is evaluated now and then is being validated; one that sets targets runs every step.
_SHARE_OF_STEPS = 0.5


class MovingTargets:
    """Looks at outermost forward passes without gradients, as long as forward passes are seen."""

    def __init__(self) -> None:
        self._since_backward: dict[int, nn.Module] = {}
        self._backwards = 0
        self._with_twin = 0

    def evaluated(self, module: nn.Module) -> None:
        """``module`` runs as the outermost one, with gradients off."""
        self._since_backward[id(module)] = module

    def back_propagated(self, trained: Iterable[nn.Module]) -> None:
        """A loss of these models is back-propagated."""
        evaluated, self._since_backward = self._since_backward, {}
        models = {id(model): model for model in trained}
        self._backwards += 1
        others = [module for key, module in evaluated.items() if key not in models]
        if others:
            shapes = [_shapes(model) for model in models.values()]
            self._with_twin += any(_shapes(module) in shapes for module in others)

    def seen(self) -> bool:
        """Whether the script's targets move."""
        if any(name in sys.modules for name in _ENVIRONMENTS):
            return True
        return self._with_twin > _SHARE_OF_STEPS * self._backwards


def _shapes(module: nn.Module) -> tuple[object, ...]:
    """Class and parameter shapes: equal for a model and its copy."""
    return (type(module), *(tuple(parameter.shape) for parameter in module.parameters()))
