"""The border between the script's computation and ours."""

from __future__ import annotations

import pytest
import torch

from convlint.gpu_probes.attach.measuring import NO_MEMORY, Measuring


def test_nothing_is_measured_while_a_cuda_graph_is_captured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capturing = False
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)
    measuring = Measuring()
    assert measuring.idle
    capturing = True
    assert (measuring.capturing, measuring.idle, measuring.stepping) == (True, False, False)
    capturing = False
    assert measuring.idle


def test_what_finds_no_memory_costs_one_measurement_and_is_told_in_words() -> None:
    measuring = Measuring()
    with measuring.section("activations"):
        raise torch.cuda.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"
        )
    assert [(s.measurement, s.reason) for s in measuring.skipped()] == [("activations", NO_MEMORY)]
    assert measuring.idle
