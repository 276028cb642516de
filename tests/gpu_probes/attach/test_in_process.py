"""``convlint.probe`` and ``assert_trains``: measured like a script, and everything left alone."""

import html
import random

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

import convlint
from convlint.testing import assert_trains


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def digits(scale=1.0):
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    data = torch.utils.data.TensorDataset(
        (torch.tensor(images, dtype=torch.float32) / 8 - 1) * scale, torch.tensor(labels)
    )
    return torch.utils.data.DataLoader(data, batch_size=64, shuffle=True)


def perceptron(*, softmax=False):
    torch.manual_seed(0)
    layers = [nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)]
    return nn.Sequential(*layers, *([nn.Softmax(1)] if softmax else []))


def test_observations_are_those_of_a_script_and_of_the_callers_lines():
    model = perceptron()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    seen = convlint.probe(
        model, nn.CrossEntropyLoss(), digits(), optimizer, steps=12, hold=3, budget=60
    )
    assert (seen.stopped, seen.held, seen.steps, seen.backwards) == ("steps", 3, 12, 15)
    assert {c.phase for c in seen.curvature} == {"start", "end"}
    assert seen.overfit is not None
    assert seen.learning_rate_range is not None
    assert seen.convergence is not None
    assert [loss.function for loss in seen.losses] == ["cross_entropy"]
    assert seen.losses[0].place.path == __file__
    assert seen.script == __file__
    assert [p.name for p in seen.parameters][:2] == ["0.weight", "0.bias"]


def test_everything_is_left_as_it_was():
    model = perceptron().eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    functional.cross_entropy(model(torch.randn(4, 64)), torch.tensor([1, 2, 3, 4])).backward()
    optimizer.step()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    momentum = [s["momentum_buffer"].clone() for s in optimizer.state.values()]
    gradients = [p.grad.clone() for p in model.parameters()]
    owners = (nn.Module, torch.optim.Optimizer, torch.autograd, functional, nn.utils)
    attributes = [dict(vars(owner)) for owner in owners]
    # Importing scikit-learn draws a random number of its own.
    batches = digits()
    draws = random.getstate(), torch.get_rng_state(), numpy.random.get_state()[1].tolist()
    convlint.probe(
        model, functional.cross_entropy, batches, optimizer, tier="quick", steps=5, hold=2
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    after = [s["momentum_buffer"] for s in optimizer.state.values()]
    assert all(map(torch.equal, after, momentum))
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert not any(module.training for module in model.modules())
    assert [dict(vars(owner)) for owner in owners] == attributes
    assert random.getstate() == draws[0]
    assert torch.equal(torch.get_rng_state(), draws[1])
    assert numpy.random.get_state()[1].tolist() == draws[2]


def test_an_error_of_the_model_is_the_callers_and_leaves_nothing_behind():
    model = perceptron()
    backward = torch.autograd.backward
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        convlint.probe(
            model,
            functional.cross_entropy,
            [(torch.ones(2, 3), torch.tensor([0, 1]))],
            torch.optim.SGD(model.parameters(), lr=0.1),
        )
    assert torch.autograd.backward is backward


def test_dicts_are_keyword_arguments_and_iterators_end_the_probe():
    class Scaled(nn.Linear):
        def forward(self, features, labels):
            return functional.mse_loss(super().forward(features), labels)

    model = Scaled(3, 1)
    batches = iter({"features": torch.randn(8, 3), "labels": torch.randn(8, 1)} for _ in range(6))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    seen = convlint.probe(model, lambda loss, batch: loss, batches, optimizer, tier="quick", hold=2)
    assert (seen.stopped, seen.held, seen.steps) == ("finished", 2, 4)


@pytest.mark.parametrize(
    ("batches", "said"), [([], "batches is empty"), ([torch.ones(2)], "a batch must be")]
)
def test_batches_that_cannot_be_used_are_refused(batches, said):
    model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match=said):
        convlint.probe(
            model, functional.mse_loss, batches, torch.optim.SGD(model.parameters(), lr=0.1)
        )


def test_a_notebook_shows_findings_and_measurements():
    model = perceptron(softmax=True)
    seen = convlint.probe(
        model,
        nn.CrossEntropyLoss(),
        digits(),
        torch.optim.Adam(model.parameters(), lr=1e-3),
        tier="quick",
        steps=5,
    )
    frame = seen._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    page = html.unescape(frame)
    assert "softmax-into-cross-entropy" in page
    assert "5 steps; all planned steps were run" in page
    assert "<script" not in page


def test_a_healthy_model_passes():
    model = perceptron()
    seen = assert_trains(
        model, nn.CrossEntropyLoss(), digits(), torch.optim.Adam(model.parameters(), lr=2e-3)
    )
    assert seen.steps == 60


def test_a_sick_model_fails_with_what_was_found():
    model = perceptron(softmax=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with pytest.raises(AssertionError, match="softmax-into-cross-entropy"):
        assert_trains(model, nn.CrossEntropyLoss(), digits(), optimizer, steps=8)
    with pytest.raises(ValueError, match="ignore names no rule: nonsense"):
        assert_trains(model, nn.CrossEntropyLoss(), digits(), optimizer, ignore=["nonsense"])
