"""What is kept of optimizers: which backward passes a step uses, and whether it finds gradients."""

import pytest
import torch

from convlint.gpu_probes.attach.module_registry import CreationPlaces
from convlint.gpu_probes.attach.optimizer_watch import OptimizerWatch


@pytest.fixture
def watch():
    return OptimizerWatch(CreationPlaces())


def stepping(watch, *parameters):
    return watch.record(torch.optim.SGD(parameters, lr=0.1))


def leaf():
    return torch.ones(2, requires_grad=True)


def test_gradients_cleared_before_the_next_backward_are_not_used(watch):
    weight = leaf()
    record = stepping(watch, weight)
    for backward in (1, 2):
        watch.before_backward(backward, {id(weight): weight})
    watch.gradients_cleared(record)
    watch.before_backward(3, {id(weight): weight})
    watch.before_backward(4, {id(weight): weight})
    assert watch.consume(record) == [3, 4]


def test_gradients_cleared_just_before_the_step_are_still_told(watch):
    weight = leaf()
    record = stepping(watch, weight)
    watch.before_backward(1, {id(weight): weight})
    watch.gradients_cleared(record)
    assert watch.consume(record) == [1]


def test_evaluations_of_a_closure_belong_to_one_step(watch):
    weight = leaf()
    record = stepping(watch, weight)
    record.in_step = True
    for backward in (1, 2):
        watch.gradients_cleared(record)
        watch.before_backward(backward, {id(weight): weight})
    assert watch.consume(record) == [1, 2]


def test_what_another_optimizer_used_is_not_counted_among_the_cleared(watch):
    shared = leaf()
    first, second = stepping(watch, shared), stepping(watch, shared)
    for backward in (1, 2):
        watch.before_backward(backward, {id(shared): shared})
    watch.gradients_cleared(second)
    watch.consume(first)
    watch.before_backward(3, {id(shared): shared})
    assert watch.consume(second) == [3]


@pytest.mark.parametrize("brought", [False, True])
def test_a_step_tells_whether_it_found_a_gradient(watch, brought):
    weight = leaf()
    record = stepping(watch, weight)
    if brought:
        (weight.grad,) = torch.autograd.grad(weight.sum(), [weight])
    watch.begin_step(record)
    record.steps += 1
    assert [use.found_gradients for use in watch.uses()] == [brought]


def test_leaves_beside_the_parameters_of_an_optimizer_are_no_parameters(watch):
    weight, attacked = leaf(), leaf()
    leaves = {id(weight): weight, id(attacked): attacked}
    assert watch.held_of(leaves) == {}
    stepping(watch, weight)
    assert watch.held_of(leaves) == {id(weight): weight}
