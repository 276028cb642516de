"""Layers and their parameters: the signal through them, what reaches them, and their mode."""

from __future__ import annotations

from dataclasses import dataclass

from convlint.gpu_probes.observations.values import Measurement, Place


@dataclass(frozen=True)
class Activation:
    """The output of one activation module (or the input and output of a functional activation).

    ``kind`` is ``relu``, ``leaky_relu``, ``sigmoid``, ``tanh``, ``softmax``, ``gelu``, ``silu``,
    ``elu``, ``selu`` ...; ``dead_fraction`` is the share of units that are exactly zero on every
    held sample (position), ``saturated_fraction`` the share of units whose mean derivative is
    below 5 % of the activation's largest. ``samples`` is the number of samples x positions per
    unit. ``inside`` names an enclosing recurrent or attention module.
    """

    module: str
    cls: str
    kind: str
    depth: int
    units: int
    samples: int
    dead_fraction: float | None
    saturated_fraction: float | None
    mean: float | None
    rms: float | None
    non_finite: int = 0
    inside: str = ""
    place: Place | None = None


@dataclass(frozen=True)
class LayerFlow:
    """Signal at one weight-bearing module at the initial parameters, over the held batches.

    ``output_rms`` is the forward signal; ``output_grad_rms`` that of dL/d(output);
    ``weight_grad_rms`` and ``weight_rms`` belong to the module's weight.
    """

    module: str
    cls: str
    depth: int
    output_rms: float | None
    output_grad_rms: float | None
    weight_rms: float | None
    weight_grad_rms: float | None
    place: Place | None = None


@dataclass(frozen=True)
class GradientFlow:
    """Gradient flow through depth (PROBES.md M1).

    ``slope`` is d ln rms(dL/d output) / d layer toward the *input* (negative: the gradient
    shrinks on its way to the input), by least squares over the layers of the largest same-kind
    chain; ``end_to_end`` is rms at the first layer over rms at the last.
    """

    model: str
    layers: tuple[LayerFlow, ...]
    slope: Measurement
    end_to_end: Measurement
    forward_end_to_end: Measurement | None = None
    """rms of the last layer's output over that of the first."""


@dataclass(frozen=True)
class GradientHistory:
    """Gradients over the real steps, for the eye: both axes may be thinned.

    ``rms[m][k]`` is the root mean square of the gradient of ``modules[m]`` (all its own parameters)
    just before real step ``steps[k]`` (from 0), None where it had none or it was not finite.
    Modules come in the order in which the optimizer holds them.
    """

    modules: tuple[str, ...]
    steps: tuple[int, ...]
    rms: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Parameter:
    """One parameter tensor over the held batches.

    ``missing`` is true when its gradient was None in every batch that reached backward, and
    ``zero`` when it was exactly zero in all of them. ``registered`` is false for leaves that
    autograd reaches but ``parameters()`` of the root module does not list. ``symmetric`` is true
    when all rows (output units) of a weight are identical and so are their gradients.
    """

    name: str
    module: str
    cls: str
    shape: tuple[int, ...]
    requires_grad: bool
    weight_rms: float | None
    grad_rms: float | None
    missing: bool
    zero: bool
    registered: bool
    optimized: bool
    symmetric: bool
    reached: bool = True
    """Whether autograd reached it from the loss (the leaves of the backward graph)."""
    depth: int = -1
    batches: int = 0
    place: Place | None = None


@dataclass(frozen=True)
class ModeUse:
    """A mode-sensitive module (dropout, batch norm ...) in training forwards.

    ``eval_share`` is the share of back-propagated forwards it spent in eval mode."""

    module: str
    cls: str
    forwards: int
    eval_share: float
    trainable: bool
    place: Place | None = None
