"""A replayed step is the step: to the bit at its own parameters, exactly elsewhere."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from workloads import NAMES, Workload, build

from convlint.gpu_probes.tape import Change, Tape, TapeRecorder, TapeUnavailable


def recorded(workload: Workload, batch: int = 0, **autocast: object) -> tuple[Tape, torch.Tensor]:
    recorder = TapeRecorder()
    with recorder, torch.autocast("cpu", torch.bfloat16, enabled=bool(autocast)):
        loss = workload.loss(batch)
    return recorder.finish(loss), loss


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradients_are_the_scripts_to_the_bit(name):
    tape, loss = recorded(build(name))
    again, gradients = tape.gradients()
    assert torch.equal(again, loss.detach())
    expected = torch.autograd.grad(loss, tape.parameters)
    assert all(torch.equal(g, e) for g, e in zip(gradients, expected, strict=True))


@pytest.mark.parametrize("name", ["perceptron", "cnn", "gpt"])
def test_autocast_casts_are_on_the_tape(name):
    tape, loss = recorded(build(name), autocast=True)
    again, gradients = tape.gradients()
    assert torch.equal(again, loss.detach())
    expected = torch.autograd.grad(loss, tape.parameters)
    assert all(torch.equal(g, e) for g, e in zip(gradients, expected, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_every_trainable_parameter_is_found_once(name):
    workload = build(name)
    tape, _ = recorded(workload)
    assert {id(p) for p in tape.parameters} == {id(p) for p in workload.model.parameters()}
    assert len(tape.parameters) == len({id(p) for p in tape.parameters})


@pytest.mark.parametrize("name", NAMES)
def test_replay_in_double_precision_differs_by_rounding_only(name):
    tape, loss = recorded(build(name))
    double, gradients = tape.gradients(change=Change(dtype=torch.float64))
    # float32 resolves 6e-8 of the loss; a handful of sums lose a few of these.
    assert float(double) == pytest.approx(float(loss.detach()), rel=1e-6)
    expected = torch.autograd.grad(loss, tape.parameters)
    for gradient, single in zip(gradients, expected, strict=True):
        assert torch.allclose(gradient.float(), single, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_other_parameters_give_the_loss_the_model_has_there(name):
    workload = build(name)
    state = torch.get_rng_state()
    tape, _ = recorded(workload)
    moved = [p.detach() * 1.1 + 0.01 for p in tape.parameters]
    with torch.no_grad():
        replayed = tape.loss(moved)
        for parameter, value in zip(tape.parameters, moved, strict=True):
            parameter.copy_(value)
        torch.set_rng_state(state)
        assert torch.equal(replayed, workload.loss(0))


@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives_agree_with_differences_of_gradients(name):
    tape, _ = recorded(build(name))
    change = Change(dtype=torch.float64, twice_differentiable=True)
    leaves = [p.detach().double().requires_grad_() for p in tape.parameters]
    _, gradients = tape.gradients(leaves, change=change, create_graph=True)
    generator = torch.Generator().manual_seed(1)
    direction = [torch.randn(p.shape, generator=generator).double() for p in leaves]
    along = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    product = torch.autograd.grad(along, leaves, allow_unused=True)
    step = 1e-6
    ahead, behind = (
        tape.gradients(
            [(p + s * d).detach() for p, d in zip(leaves, direction, strict=True)], change=change
        )[1]
        for s in (step, -step)
    )
    for exact, up, down in zip(product, ahead, behind, strict=True):
        difference = (up - down) / (2 * step)
        exact = torch.zeros_like(difference) if exact is None else exact
        # Truncation of the difference: step squared times third derivatives; kinks are not met.
        assert torch.allclose(exact, difference, rtol=1e-4, atol=1e-5)


def test_a_replay_without_dropout_is_the_model_in_eval_mode():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Dropout(0.4), nn.Linear(32, 4))
    x, y = torch.randn(8, 6), torch.randint(0, 4, (8,))
    tape, _ = recorded(Workload(model, lambda k: F.cross_entropy(model(x), y)))
    model.eval()
    with torch.no_grad():
        expected = F.cross_entropy(model(x), y)
    # 1/(1-p) is rounded once in the mask and not at all in eval mode.
    assert tape.loss(change=Change(dropout=False)).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


def test_running_statistics_of_the_model_stay_as_they_are():
    workload = build("cnn")
    tape, _ = recorded(workload)
    before = {name: b.clone() for name, b in workload.model.named_buffers()}
    for _ in range(3):
        tape.loss()
    assert all(torch.equal(b, before[name]) for name, b in workload.model.named_buffers())


def test_the_random_state_of_the_script_stays_as_it_is():
    tape, _ = recorded(build("cnn"))
    before = torch.get_rng_state()
    tape.loss()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_batch_may_be_overwritten_after_the_step():
    torch.manual_seed(0)
    model, x, y = nn.Linear(6, 4), torch.randn(8, 6), torch.randint(0, 4, (8,))
    tape, loss = recorded(Workload(model, lambda k: F.cross_entropy(model(x), y)))
    x.zero_()
    assert torch.equal(tape.loss().detach(), loss.detach())


def test_activations_are_not_kept_alive():
    kept: list[weakref.ref[torch.Tensor]] = []
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    model[1].register_forward_hook(lambda m, i, o: kept.append(weakref.ref(o)))
    x, y = torch.randn(8, 6), torch.randint(0, 4, (8,))
    tape, loss = recorded(Workload(model, lambda k: F.cross_entropy(model(x), y)))
    del loss
    gc.collect()
    assert kept[0]() is None
    assert tape.loss().dim() == 0


def test_a_detached_part_stays_detached():
    torch.manual_seed(0)
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    x = torch.randn(3, 4)

    def loss(_: int) -> torch.Tensor:
        hidden = first(x)[0:2]
        return (second(hidden.detach()) * hidden).square().mean()

    tape, value = recorded(Workload(nn.ModuleList([first, second]), loss))
    expected = torch.autograd.grad(value, tape.parameters)
    _, gradients = tape.gradients()
    assert all(torch.equal(g, e) for g, e in zip(gradients, expected, strict=True))


def test_targets_without_gradients_can_be_held_at_other_parameters():
    torch.manual_seed(0)
    model, x = nn.Linear(4, 4), torch.randn(3, 4)

    def loss(_: int) -> torch.Tensor:
        with torch.no_grad():
            target = model(x).tanh()
        return F.mse_loss(model(x), target)

    tape, _ = recorded(Workload(model, loss))
    own = [p.detach().clone() for p in tape.parameters]
    moved = [p + 0.5 for p in own]
    with torch.no_grad():
        target = F.linear(x, *own).tanh()
        expected = F.mse_loss(F.linear(x, *moved), target)
        assert torch.equal(tape.loss(moved, fixed=own), expected)
        assert not torch.equal(tape.loss(moved), expected)


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def test_a_backward_of_the_scripts_own_is_refused_and_named():
    model, x = nn.Linear(4, 1), torch.randn(3, 4)
    workload = Workload(model, lambda k: _Doubled.apply(model(x)).square().mean())
    tape, loss = recorded(workload)
    assert torch.equal(tape.loss().detach(), loss.detach())
    with pytest.raises(TapeUnavailable, match="_Doubled"):
        tape.gradients()


def test_a_tensor_computed_from_parameters_beforehand_is_refused():
    model, x = nn.Linear(4, 1), torch.randn(3, 4)
    early = model.weight * 2.0
    with pytest.raises(TapeUnavailable, match="computed from parameters before"):
        recorded(Workload(model, lambda k: F.linear(x, early).square().mean()))


def test_activation_checkpointing_is_replayed():
    from torch.utils.checkpoint import checkpoint

    torch.manual_seed(0)
    block, head = nn.Sequential(nn.Linear(6, 6), nn.Tanh()), nn.Linear(6, 4)
    x, y = torch.randn(8, 6), torch.randint(0, 4, (8,))

    def loss(_: int) -> torch.Tensor:
        return F.cross_entropy(head(checkpoint(block, x, use_reentrant=False)), y)

    tape, value = recorded(Workload(nn.ModuleList([block, head]), loss))
    expected = torch.autograd.grad(value, tape.parameters)
    _, gradients = tape.gradients()
    assert all(torch.equal(g, e) for g, e in zip(gradients, expected, strict=True))
