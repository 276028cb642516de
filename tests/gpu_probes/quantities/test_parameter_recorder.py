"""Missing, zero and symmetric gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from convlint.gpu_probes.quantities.parameters import ParameterRecorder, TrackedParameter

if TYPE_CHECKING:
    from collections.abc import Collection

    from convlint.gpu_probes.observations import Parameter


def tracked(model: nn.Module) -> list[TrackedParameter]:
    return [
        TrackedParameter(name, parameter, name.rpartition(".")[0], "Linear")
        for name, parameter in model.named_parameters()
    ]


def seen(
    model: nn.Module, losses: list[torch.Tensor], optimized: Collection[int] = ()
) -> dict[str, Parameter]:
    recorder = ParameterRecorder()
    for loss in losses:
        model.zero_grad()
        loss.backward()
        recorder.after_backward(tracked(model), None, optimized)
    return {parameter.name: parameter for parameter in recorder.results()}


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))


def test_scales_of_weights_and_gradients_over_batches() -> None:
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 4.0]]))
    rows = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])]
    weight = seen(model, [model(row).sum() for row in rows])["weight"]
    assert weight.weight_rms == pytest.approx(math.sqrt(12.5))
    assert weight.grad_rms == pytest.approx(math.sqrt((1 + 4 + 9 + 16) / 4))
    assert weight.batches == 2
    assert not (weight.missing or weight.zero or weight.symmetric)


def test_a_gradient_of_one_batch_alone_can_be_given() -> None:
    model = nn.Linear(2, 1, bias=False)
    recorder = ParameterRecorder()
    model(torch.ones(1, 2)).sum().backward()
    own = {id(model.weight): torch.full((1, 2), 7.0)}
    recorder.after_backward(tracked(model), None, (), own)
    assert recorder.results()[0].grad_rms == pytest.approx(7.0)


def test_missing_is_not_zero() -> None:
    model = mlp()
    unused = nn.ModuleList([model, nn.Linear(2, 2)])
    loss = (model(torch.randn(5, 6)) * 0).sum()
    result = seen(unused, [loss])
    assert result["1.weight"].missing
    assert not result["1.weight"].reached
    assert not result["1.weight"].zero
    assert result["0.0.weight"].zero
    assert result["0.0.weight"].reached
    assert not result["0.0.weight"].missing


def test_a_gradient_in_one_of_several_batches_is_neither_missing_nor_zero() -> None:
    model = mlp()
    x = torch.randn(5, 6)
    result = seen(model, [(model(x) * 0).sum(), model(x).sum()])
    assert not result["0.weight"].zero


def test_leaves_of_the_graph_decide_what_was_reached() -> None:
    model = mlp()
    model(torch.randn(5, 6)).sum().backward()
    recorder = ParameterRecorder()
    recorder.after_backward(tracked(model), {id(model[0].weight)}, {id(model[2].bias)})
    result = {parameter.name: parameter for parameter in recorder.results()}
    assert result["0.weight"].reached
    assert not result["0.bias"].reached
    assert result["2.bias"].optimized
    assert not result["0.weight"].optimized


def test_constant_initialisation_is_symmetric() -> None:
    model = mlp()
    nn.init.constant_(model[0].weight, 0.1)
    nn.init.zeros_(model[0].bias)
    nn.init.constant_(model[2].weight, 0.1)
    x, y = torch.randn(7, 6), torch.randint(0, 3, (7,))
    result = seen(model, [nn.functional.cross_entropy(model(x), y)])
    assert result["0.weight"].symmetric
    assert not result["0.bias"].symmetric


def test_a_zero_initialised_head_is_not_symmetric_because_its_classes_differ() -> None:
    model = mlp()
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    x, y = torch.randn(7, 6), torch.tensor([0, 0, 0, 1, 1, 2, 0])
    result = seen(model, [nn.functional.cross_entropy(model(x), y)])
    assert not result["2.weight"].symmetric


def test_equal_weights_with_different_gradients_are_not_symmetric() -> None:
    model = mlp()
    nn.init.constant_(model[0].weight, 0.1)
    x = torch.randn(7, 6)
    assert not seen(model, [model(x).square().sum()])["0.weight"].symmetric


def test_sparse_gradients_are_read() -> None:
    model = nn.Embedding(10, 3, sparse=True)
    weight = seen(model, [model(torch.tensor([1, 4, 4])).sum()])["weight"]
    assert weight.grad_rms is not None
    assert not weight.zero


def test_gradients_below_float32_squares_are_not_called_zero() -> None:
    model = nn.Linear(2, 2)
    weight = seen(model, [model(torch.ones(1, 2)).sum() * 1e-30])["weight"]
    assert not weight.zero
    assert weight.grad_rms == pytest.approx(1e-30, rel=1e-5)


def test_the_weight_of_each_module_is_its_scale() -> None:
    model = mlp()
    recorder = ParameterRecorder()
    model(torch.randn(5, 6)).sum().backward()
    recorder.after_backward(tracked(model), None, ())
    scales = recorder.weights_by_module()
    assert set(scales) == {"0", "2"}
    expected = model[2].weight.detach().square().mean().sqrt().item()
    assert scales["2"].weight_rms == pytest.approx(expected, rel=1e-6)
    assert scales["2"].weight_grad_rms is not None


def test_lazy_and_meta_parameters_are_passed_over() -> None:
    model = nn.ModuleList([nn.LazyLinear(3), nn.Linear(2, 2, device="meta")])
    recorder = ParameterRecorder()
    recorder.after_backward(tracked(model), None, ())
    assert recorder.results() == ()
