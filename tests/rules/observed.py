"""Builds observations by hand."""

from __future__ import annotations

from typing import Any

from convlint.gpu_probes.observations import Device, Observations


def observations(**fields: Any) -> Observations:
    """What a probe of ``train.py`` saw; everything not given was not measured."""
    fields.setdefault("held", 8)
    fields.setdefault("steps", 30)
    return Observations(
        script="train.py",
        arguments=(),
        device=Device("cpu", "cpu", "2.13", "3.11", "torch"),
        stopped="steps",
        seconds=1.0,
        **fields,
    )
