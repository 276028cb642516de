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


def test_a_loss_that_the_model_returns_follows_its_input():
    class WithLoss(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = perceptron()

        def forward(self, images, labels):
            return {"loss": functional.cross_entropy(self.inside(images), labels)}

    model = WithLoss()
    assert_trains(
        model,
        lambda output, batch: output["loss"],
        [{"images": x, "labels": y} for x, y in digits()],
        torch.optim.Adam(model.parameters(), lr=2e-3),
        steps=8,
    )


def test_a_function_of_torch_given_as_the_loss_is_followed():
    model = perceptron()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    seen = convlint.probe(
        model, functional.cross_entropy, digits(), optimizer, tier="quick", steps=3, hold=2
    )
    assert [(loss.function, loss.back_propagated) for loss in seen.losses] == [
        ("cross_entropy", True)
    ]


def test_a_step_that_evaluates_the_loss_itself_is_given_a_closure():
    torch.manual_seed(0)
    x, y = torch.randn(32, 3), torch.randn(32, 1)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
    seen = convlint.probe(model, functional.mse_loss, [(x, y)], optimizer, tier="quick", steps=3)
    assert (seen.stopped, seen.steps, seen.optimizers[0].uses_closure) == ("steps", 3, True)
    # A quadratic: the first step ends at its minimum.
    design = torch.cat([x, torch.ones(32, 1)], 1)
    least = functional.mse_loss(design @ torch.linalg.lstsq(design, y).solution, y)
    assert seen.series.loss[1:] == pytest.approx([least.item()] * 2, rel=1e-3)


@pytest.mark.filterwarnings("ignore:Using `torch.compile")
def test_compiled_models_run_as_written_and_compiled_again_afterwards():
    model = torch.compile(perceptron(), backend="eager")
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    seen = convlint.probe(
        model, nn.CrossEntropyLoss(), digits(), optimizer, tier="quick", steps=3, hold=2
    )
    assert (seen.steps, {p.name for p in seen.parameters} >= {"0.weight", "3.bias"}) == (3, True)
    assert not any("Error" in skipped.reason for skipped in seen.skipped)


def adversary(model, optimizer):
    """A loss on inputs that three backward passes of an attack have moved."""

    def loss(_, batch):
        images, labels = batch["input"], batch["labels"]
        moved = torch.zeros_like(images, requires_grad=True)
        for _ in range(3):
            functional.cross_entropy(model(images + moved), labels).backward()
            moved.data = (moved + 0.02 * moved.grad.sign()).clamp(-0.05, 0.05)
            moved.grad.zero_()
        optimizer.zero_grad()
        return functional.cross_entropy(model(images + moved.detach()), labels)

    return loss


def test_backward_passes_whose_gradients_are_cleared_are_no_part_of_the_step():
    class Plain(nn.Sequential):
        def forward(self, input, labels=None):
            return super().forward(input)

    model = Plain(*perceptron())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    batches = [{"input": x, "labels": y} for x, y in digits()]
    seen = convlint.probe(
        model, adversary(model, optimizer), batches, optimizer, tier="quick", steps=6, hold=0
    )
    assert seen.optimizers[0].accumulation == 1.0
    assert (seen.steps, len(seen.series.loss), seen.recognised) == (6, 6, ())
    # Ten classes, one loss per step; the sum over the attack would be four times as much.
    assert seen.series.loss[0] == pytest.approx(2.4, rel=0.2)


class Checkpointed(nn.Module):
    """Blocks whose activations are computed again in the backward pass."""

    def __init__(self, *, reentrant):
        super().__init__()
        self.enter, self.leave = nn.Linear(64, 32), nn.Linear(32, 10)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(32, 32), nn.ReLU()) for _ in range(2))
        self.reentrant = reentrant

    def forward(self, x):
        h = self.enter(x)
        for block in self.blocks:
            h = h + torch.utils.checkpoint.checkpoint(block, h, use_reentrant=self.reentrant)
        return self.leave(h)


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_checkpointing_does_inside_a_backward_pass_is_part_of_it(reentrant):
    torch.manual_seed(0)
    model = Checkpointed(reentrant=reentrant)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    seen = convlint.probe(
        model, nn.CrossEntropyLoss(), digits(), optimizer, tier="quick", steps=4, hold=2
    )
    assert (seen.held, seen.steps, seen.backwards, seen.recognised) == (2, 4, 6, ())
    assert seen.series.loss == pytest.approx([2.3026] * 4, rel=0.15)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_scripted_models_are_followed():
    model = torch.jit.script(perceptron())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    seen = convlint.probe(
        model, nn.CrossEntropyLoss(), digits(), optimizer, tier="quick", steps=3, hold=2
    )
    assert not any("Error" in skipped.reason for skipped in seen.skipped)
    assert {p.name for p in seen.parameters} >= {"0.weight", "3.bias"}


def test_steps_of_one_optimizer_alone_are_not_replayed_as_the_training():
    torch.manual_seed(0)
    model = perceptron()
    last = torch.optim.Adam(model[3].parameters(), lr=2e-3)

    def step(_):
        last.step()
        last.zero_grad()

    model[3].weight.register_post_accumulate_grad_hook(step)
    first = torch.optim.Adam(model[0].parameters(), lr=2e-3)
    seen = convlint.probe(
        model, nn.CrossEntropyLoss(), digits(), first, steps=4, hold=3, curvature=False
    )
    reasons = {skipped.measurement: skipped.reason for skipped in seen.skipped}
    assert (seen.overfit, seen.learning_rate_range) == (None, None)
    assert "optimizer" in reasons["overfit one batch"]


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda scores, labels: 1.0, "returned a float"),
        (lambda scores, labels: scores, "must be a scalar"),
        (lambda scores, labels: scores.detach().mean(), "has no gradient"),
    ],
)
def test_losses_that_cannot_be_minimised_are_refused(loss, said):
    model = perceptron()
    with pytest.raises(ValueError, match=said):
        convlint.probe(model, loss, digits(), torch.optim.SGD(model.parameters(), lr=0.1))


def test_lazy_parameters_without_a_shape_are_refused():
    model = nn.LazyLinear(10)
    with pytest.raises(ValueError, match="call it on a batch before the probe"):
        convlint.probe(
            model, nn.CrossEntropyLoss(), digits(), torch.optim.SGD(model.parameters(), lr=0.1)
        )


class Spectrum(nn.Module):
    """Complex weights on the frequencies of its input."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(33, 16, dtype=torch.cfloat) / 33**0.5)
        self.leave = nn.Linear(16, 10)

    def forward(self, x):
        return self.leave((torch.fft.rfft(x, norm="ortho") @ self.weight).abs())


class Words(nn.Sequential):
    """Sparse gradients for the words that occur."""

    def forward(self, x):
        return super().forward((8 * x + 8).long())


@pytest.mark.parametrize(
    "build",
    [Spectrum, lambda: Words(nn.EmbeddingBag(17, 8, sparse=True), nn.Linear(8, 10))],
    ids=["complex", "sparse"],
)
@pytest.mark.filterwarnings("error::UserWarning")
def test_complex_parameters_and_sparse_gradients_cost_no_measurement(build):
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = convlint.probe(
        model, nn.CrossEntropyLoss(), digits(), optimizer, tier="quick", steps=5, hold=2
    )
    assert not any("Error" in skipped.reason for skipped in seen.skipped)
    assert len(seen.updates) == len(list(model.parameters()))


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
