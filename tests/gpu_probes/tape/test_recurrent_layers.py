"""cuDNN's recurrent layers on a tape: replayed as they ran, and by kernels with second derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from convlint.gpu_probes.tape import Change, TapeRecorder, TapeUnavailable
from convlint.gpu_probes.tape.operations import Operation
from convlint.gpu_probes.tape.substitutions import substitute

LAYERS = {"RNN": 1, "LSTM": 2, "GRU": 3}
"""cuDNN's number of each; 0 is an ``RNN`` with ReLU."""
SHAPES = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"batch_first": True, "bias": False},
]


def as_cudnn_is_called(layer: nn.RNNBase, mode: int, sequence: torch.Tensor) -> tuple[Any, ...]:
    ways = 2 if layer.bidirectional else 1
    batch = sequence.shape[0 if layer.batch_first else 1]
    state = torch.zeros(layer.num_layers * ways, batch, layer.hidden_size)
    cell = torch.zeros_like(state) if mode == LAYERS["LSTM"] else None
    size = (layer.hidden_size, 0, layer.num_layers, layer.batch_first)
    weights = layer._flat_weights
    stride = 4 if layer.bias else 2
    return (
        *(sequence, weights, stride, None, state, cell, mode, *size),
        *(0.0, True, layer.bidirectional, [], None),
    )


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_stand_in_computes_the_layer(name: str, shape: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = getattr(nn, name)(5, 7, **shape)
    sequence = torch.randn(4, 3, 5)
    args = as_cudnn_is_called(layer, LAYERS[name], sequence)
    function = torch.ops.aten._cudnn_rnn.default
    operation = Operation(function, args, {}, (), (0, 1, 2, 3, 4), True, (), False)
    stand_in = substitute(operation, Change(twice_differentiable=True))
    assert stand_in is not None
    output, hidden, cell, *rest = stand_in(operation, args, {})
    expected, state = layer(sequence)
    states = state if isinstance(state, tuple) else (state, None)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(hidden, states[0])
    assert (cell is None) == (states[1] is None)
    assert rest == [None, None]
    parameter = next(layer.parameters())
    (gradient,) = torch.autograd.grad(output.square().sum(), parameter, create_graph=True)
    (curved,) = torch.autograd.grad(gradient.square().sum(), parameter)
    assert bool(curved.abs().sum() > 0)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def recorded(layer: nn.RNNBase, given: Any) -> tuple[Any, torch.Tensor]:
    recorder = TapeRecorder()
    with recorder:
        output, _ = layer(given)
        output = getattr(output, "data", output) if not isinstance(output, torch.Tensor) else output
        loss = output.square().mean()
    return recorder.finish(loss), loss


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_a_tape_with_the_layer_is_exact_and_twice_differentiable(
    monkeypatch: pytest.MonkeyPatch, name: str, packed: bool
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    layer = getattr(nn, name)(5, 7, num_layers=2).cuda()
    given: Any = torch.randn(4, 3, 5, device="cuda")
    if packed:
        given = pack_padded_sequence(given, torch.tensor([4, 3, 2]))
    tape, loss = recorded(layer, given)
    again, gradients = tape.gradients()
    assert torch.equal(again, loss.detach())
    expected = torch.autograd.grad(loss, tape.parameters)
    assert all(torch.equal(g, e) for g, e in zip(gradients, expected, strict=True))
    other = [parameter.detach() * 1.1 for parameter in tape.parameters]
    with torch.no_grad():
        assert abs(float(tape.loss(other)) - float(loss)) > 1e-3 * float(loss)
    smooth = tape.loss(change=Change(dtype=torch.float64, twice_differentiable=True))
    assert float(smooth) == pytest.approx(float(loss), rel=1e-5)
    first = torch.autograd.grad(smooth, tape.parameters, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), tape.parameters)
    assert all(bool(torch.isfinite(s).all()) for s in second)


@pytest.mark.cuda
@needs_cuda
def test_dropout_between_the_layers_is_refused() -> None:
    layer = nn.LSTM(5, 7, num_layers=2, dropout=0.3).cuda()
    layer(torch.randn(4, 3, 5, device="cuda"))  # the first call makes cuDNN's state of dropout
    with pytest.raises(TapeUnavailable, match="dropout between cuDNN's recurrent layers"):
        recorded(layer, torch.randn(4, 3, 5, device="cuda"))
