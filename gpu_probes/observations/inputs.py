"""What the model was given, and whether its output depends on it."""

from __future__ import annotations

from dataclasses import dataclass

from convlint.gpu_probes.observations.values import Measurement, Place


@dataclass(frozen=True)
class InputTensor:
    """A floating or integer tensor the root module received, over the held batches.

    ``kind`` is ``image`` (4 or 5 dimensions, channels at dimension 1), ``tabular`` (2 dimensions),
    ``sequence`` (3 dimensions), ``tokens`` (integers), or ``other``. A *feature* is a channel of
    an image, a column of a table, the last dimension of a sequence. ``scale_ratio`` is the largest
    over the smallest positive standard deviation among features; ``offset`` the largest
    \\|mean\\| / std among non-constant features. ``covariance_condition`` is the condition number
    of the feature covariance about the origin (uncentred second moments), which is what multiplies
    the curvature of the first layer.
    """

    name: str
    model: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    samples: int
    mean: float | None
    std: float | None
    minimum: float | None
    maximum: float | None
    features: int = 0
    constant_features: int = 0
    scale_ratio: Measurement | None = None
    offset: Measurement | None = None
    covariance_condition: Measurement | None = None
    non_finite: int = 0
    normalized_inside: str = ""
    """Class of the first weight-bearing module reached when it normalises (BatchNorm, LayerNorm,
    Embedding), else empty."""
    place: Place | None = None


@dataclass(frozen=True)
class Batches:
    """The held batches compared with each other. ``identical`` counts pairs of equal batches."""

    count: int
    size: int | None
    identical: int
    compared: int


@dataclass(frozen=True)
class SampleDependence:
    """What the output of a model depends on, asked of one recorded forward pass (M0).

    ``input_response`` is the relative change of the output when the samples of the batch are
    exchanged for each other. ``leak`` is the change of the other samples' output over that of the
    sample that was replaced, along ``dimension``, None where it is not known which dimension holds
    the samples. ``batch_statistics`` names a module that mixes samples by design.
    """

    model: str
    input_response: Measurement
    leak: Measurement | None
    dimension: int | None
    batch_size: int | None
    batch_statistics: str = ""
    place: Place | None = None
