"""Builds observations by hand."""

from __future__ import annotations

from typing import Any

from convlint.gpu_probes.observations import Device, Observations


def observations(**fields: Any) -> Observations:
    """What a probe of a script saw; everything not given was not measured."""
    made_up: dict[str, Any] = {
        "script": "train.py",
        "arguments": (),
        "device": Device("cpu", "cpu", "2.13.0", "3.11", "torch"),
        "stopped": "steps",
        "held": 8,
        "steps": 30,
        "seconds": 1.0,
    }
    return Observations(**{**made_up, **fields})
