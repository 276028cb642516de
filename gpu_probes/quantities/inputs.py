"""What the root module is fed: kinds, scales, offsets, conditioning, repeated batches."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from typing import Final

import torch

from convlint.gpu_probes.backends.statistics import plain
from convlint.gpu_probes.observations import Batches, InputTensor, Measurement, Place
from convlint.gpu_probes.quantities.feature_moments import FeatureMoments, condition_number
from convlint.gpu_probes.quantities.parameters import measurable
from convlint.gpu_probes.quantities.uncertainty import finite_or_none

IMAGE_CHANNELS: Final = (1, 3, 4)
"""Sizes of a trailing dimension that mean channels-last (grey, RGB, RGBA)."""


@dataclass
class _Stream:
    """One input of one model over the held batches."""

    model: str
    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    place: Place | None
    normalized_inside: str
    samples: int = 0
    features: int = 0
    moments: FeatureMoments | None = None
    pooled: FeatureMoments | None = None
    unusual: torch.Tensor | None = None
    """(non-finite values, values other than 0 and -infinity), on the device."""


class InputRecorder:
    """Accumulates per-feature moments of every tensor the root module receives.

    Sums stay on the device. A batch is remembered by a digest of its bytes only; computing it is
    the one transfer this recorder makes per held batch.
    """

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._calls: Counter[tuple[str, str]] = Counter()
        self._digests: dict[str, dict[int, list[bytes]]] = {}
        self._sizes: dict[str, list[int]] = {}

    @torch.no_grad()
    def observe(
        self,
        model_name: str,
        input_name: str,
        tensor: torch.Tensor,
        place: Place | None,
        normalized_inside: str = "",
        *,
        batch: int | None = None,
    ) -> None:
        """Add one input tensor of one training forward.

        ``batch`` is the index of the held batch, for models called several times per batch; by
        default every call for an input is the next batch.
        """
        if not measurable(tensor) or tensor.is_complex() or tensor.dtype == torch.bool:
            return
        values = plain(tensor)
        key = (model_name, input_name)
        index = self._calls[key] if batch is None else batch
        self._calls[key] += 1
        self._digests.setdefault(model_name, {}).setdefault(index, []).append(_digest(values))
        if values.dim():
            self._sizes.setdefault(model_name, []).append(values.shape[0])
        stream = self._streams.get(key)
        if stream is None:
            stream = _Stream(
                model=model_name,
                name=input_name,
                kind=input_kind(values),
                shape=tuple(values.shape),
                dtype=str(values.dtype).removeprefix("torch."),
                place=place,
                normalized_inside=normalized_inside,
            )
            self._streams[key] = stream
        _add(stream, values)

    def results(self) -> tuple[InputTensor, ...]:
        """One `InputTensor` per model and input, in order of first use."""
        return tuple(_input_tensor(stream) for stream in self._streams.values())

    def batches(self) -> Batches | None:
        """The held batches of the most often fed model compared pair by pair; None without any.

        Two batches are identical when all their input tensors are, byte for byte.
        """
        if not self._digests:
            return None
        model = max(self._digests, key=lambda name: len(self._digests[name]))
        digests = Counter(tuple(parts) for parts in self._digests[model].values())
        count = digests.total()
        sizes = self._sizes.get(model)
        return Batches(
            count=count,
            size=Counter(sizes).most_common(1)[0][0] if sizes else None,
            identical=sum(math.comb(repeats, 2) for repeats in digests.values()),
            compared=math.comb(count, 2),
        )


def input_kind(tensor: torch.Tensor) -> str:
    """``image``, ``tabular``, ``sequence``, ``tokens`` or ``other``.

    Bytes are raw images (or raw table columns); any other integer is an index, not a quantity.
    """
    if tensor.dtype == torch.uint8:
        return "image" if tensor.dim() >= 3 else "tabular" if tensor.dim() == 2 else "other"
    if not tensor.is_floating_point():
        return "tokens"
    return {2: "tabular", 3: "sequence", 4: "image", 5: "image"}.get(tensor.dim(), "other")


def feature_dimension(kind: str, shape: tuple[int, ...]) -> int | None:
    """The dimension that counts features; None when the whole tensor is one feature."""
    if kind == "image" and len(shape) > 3:
        channels_last = shape[-1] in IMAGE_CHANNELS and shape[1] not in IMAGE_CHANNELS
        return len(shape) - 1 if channels_last else 1
    return len(shape) - 1 if kind in ("tabular", "sequence") else None


def _digest(values: torch.Tensor) -> bytes:
    """A 128-bit digest of shape, dtype and bytes: equal only for equal tensors."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{values.dtype}{tuple(values.shape)}".encode())
    raw = values.contiguous().reshape(-1).view(torch.uint8).cpu()
    digest.update(raw.numpy().data)
    return digest.digest()


def _add(stream: _Stream, values: torch.Tensor) -> None:
    if stream.kind == "tokens":
        stream.samples += values.shape[0] if values.dim() else 1
        _merge_pooled(stream, FeatureMoments.of(values.reshape(-1, 1)))
        return
    axis = feature_dimension(stream.kind, tuple(values.shape))
    rows = (
        values.reshape(-1, 1)
        if axis is None
        else values.movedim(axis, -1).reshape(-1, values.shape[axis])
    )
    stream.samples += rows.shape[0]
    if values.is_floating_point():
        finite = rows.isfinite()
        masking = (rows == 0) | (rows == -torch.inf)
        unusual = torch.stack([(~finite).sum(), (~masking).sum()])
        stream.unusual = (
            unusual if stream.unusual is None else stream.unusual + unusual.to(stream.unusual)
        )
    moments = FeatureMoments.of(rows)
    _merge_pooled(stream, moments.pooled())
    if stream.features == 0:
        stream.features, stream.moments = rows.shape[1], moments
    elif stream.features != rows.shape[1]:
        # Features that vary in number (unpadded signals) cannot be told apart.
        stream.features, stream.moments = -1, None
    elif stream.moments is not None:
        stream.moments = stream.moments.merged(moments)


def _merge_pooled(stream: _Stream, pooled: FeatureMoments) -> None:
    stream.pooled = pooled if stream.pooled is None else stream.pooled.merged(pooled)


def _input_tensor(stream: _Stream) -> InputTensor:
    tokens = stream.kind == "tokens"
    pooled = stream.pooled
    moments = stream.moments
    return InputTensor(
        name=stream.name,
        model=stream.model,
        kind=stream.kind,
        shape=stream.shape,
        dtype=stream.dtype,
        samples=stream.samples,
        mean=None if tokens or pooled is None else finite_or_none(pooled.mean.item()),
        std=None if tokens or pooled is None else finite_or_none(pooled.std().item()),
        minimum=None if pooled is None else finite_or_none(pooled.minimum.item()),
        maximum=None if pooled is None else finite_or_none(pooled.maximum.item()),
        features=max(stream.features, 0),
        constant_features=0 if moments is None else int(moments.constant().sum().item()),
        scale_ratio=None if moments is None else _scale_ratio(moments),
        offset=None if moments is None else _offset(moments),
        covariance_condition=None if moments is None else _condition(moments),
        non_finite=_non_finite(stream),
        normalized_inside=stream.normalized_inside,
        place=stream.place,
    )


def _scale_ratio(moments: FeatureMoments) -> Measurement:
    varying = moments.std()[~moments.constant()]
    if not varying.numel():
        return Measurement(None, unit="ratio", n=moments.count, note="no feature varies")
    ratio = finite_or_none((varying.max() / varying.min()).item())
    return Measurement(ratio, unit="ratio", n=moments.count, note=_finite_note(ratio))


def _offset(moments: FeatureMoments) -> Measurement:
    varying = ~moments.constant()
    if not bool(varying.any()):
        return Measurement(None, unit="std", n=moments.count, note="no feature varies")
    offset = finite_or_none((moments.mean.abs() / moments.std())[varying].max().item())
    return Measurement(offset, unit="std", n=moments.count, note=_finite_note(offset))


def _condition(moments: FeatureMoments) -> Measurement:
    condition, note = condition_number(moments)
    return Measurement(condition, unit="ratio", n=moments.count, note=note)


def _finite_note(value: float | None) -> str:
    return "not finite" if value is None else ""


def _non_finite(stream: _Stream) -> int:
    """NaN and infinities; none for an additive attention mask, which holds 0 and -infinity."""
    if stream.unusual is None:
        return 0
    non_finite, other_than_mask = (int(count) for count in stream.unusual.tolist())
    return non_finite if other_than_mask else 0
