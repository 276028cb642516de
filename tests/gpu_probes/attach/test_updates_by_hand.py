"""Whether parameters moved between two backward passes, and were moved by the script itself."""

import pytest
import torch

from convlint.gpu_probes.attach.updates_by_hand import UpdatesByHand


def leaf(value=1.0):
    return torch.full((2,), value, requires_grad=True)


def by_identity(*leaves):
    return {id(one): one for one in leaves}


@pytest.fixture
def by_hand():
    return UpdatesByHand()


@pytest.mark.parametrize("weight", [leaf(), torch.ones(2, dtype=torch.cfloat)])
def test_a_leaf_that_moved_is_an_update(by_hand, weight):
    assert not by_hand.moved(by_identity(weight), 1, optimized=False)
    assert not by_hand.moved(by_identity(weight), 2, optimized=False)
    weight.data.add_(1.0)
    assert by_hand.moved(by_identity(weight), 3, optimized=False)
    assert (by_hand.updates, by_hand.take(3)) == (1, [1, 2])


def test_a_new_leaf_in_place_of_the_old_one_is_an_update(by_hand):
    first, second = leaf(1.0), leaf(0.9)
    assert not by_hand.moved(by_identity(first), 1, optimized=False)
    assert by_hand.moved(by_identity(second), 2, optimized=False)


def test_losses_with_parameters_of_their_own_are_no_updates(by_hand):
    shared, one, other = leaf(1.0), leaf(2.0), leaf(3.0)
    for backward, own in enumerate((one, other, one)):
        assert not by_hand.moved(by_identity(shared, own), backward, optimized=False)


def test_a_second_evaluation_beside_the_parameters_is_no_update(by_hand):
    """Sharpness-aware minimisation, whose optimizer then makes the step."""
    weight = leaf()
    assert not by_hand.moved(by_identity(weight), 1, optimized=True)
    weight.data.add_(0.05)
    assert not by_hand.moved(by_identity(weight), 2, optimized=True)


def test_an_optimizer_that_never_steps_makes_no_updates_impossible(by_hand):
    weight = leaf()
    found = []
    for backward in range(5):
        found.append(by_hand.moved(by_identity(weight), backward, optimized=True))
        weight.data.add_(0.1)
    assert found == [False, False, False, True, True]
