"""Training loops and the orders of events through them."""

from __future__ import annotations

from builders import ProgramBuilder, branch

from convlint.program.facts import EventKind
from convlint.rules.patterns.paths import paths
from convlint.rules.patterns.training_loops import training_loops

KINDS = {EventKind.ZERO_GRAD, EventKind.BACKWARD, EventKind.STEP}


def kinds(path):
    return [str(occurrence.kind) for occurrence in path.occurrences]


def test_batch_loop_is_the_training_loop_and_knows_its_epoch_loop():
    b = ProgramBuilder()
    optimizer = b.optimizer(b.model())
    batches = b.loop(b.zero(optimizer), b.backward(), b.step(optimizer))
    epochs = b.loop(batches)
    (found,) = training_loops(b.program(epochs))
    assert found.loop is batches
    assert found.epoch_loop is epochs
    assert found.optimizers == (optimizer,)


def test_full_batch_epoch_loop_is_a_training_loop():
    b = ProgramBuilder()
    optimizer = b.optimizer(b.model())
    (found,) = training_loops(b.program(b.loop(b.backward(), b.step(optimizer))))
    assert found.epoch_loop is None


def test_micro_batches_belong_to_the_loop_that_steps():
    b = ProgramBuilder()
    optimizer = b.optimizer(b.model())
    micro = b.loop(b.forward(None), b.backward())
    outer = b.loop(micro, b.step(optimizer), b.zero(optimizer))
    (found,) = training_loops(b.program(outer))
    assert found.loop is outer
    assert found.has(EventKind.BACKWARD)


def test_critic_loop_inside_generator_loop_gives_two_training_loops():
    b = ProgramBuilder()
    critic, generator = b.optimizer(b.model(), name="d"), b.optimizer(b.model(), name="g")
    inner = b.loop(b.zero(critic), b.backward(), b.step(critic))
    outer = b.loop(inner, b.zero(generator), b.backward(), b.step(generator))
    found = training_loops(b.program(b.loop(outer)))
    assert {loop.loop.id for loop in found} == {inner.id, outer.id}


def test_epoch_loop_around_a_training_loop_is_not_one_itself():
    b = ProgramBuilder()
    optimizer = b.optimizer(b.model())
    inner = b.loop(b.backward(), b.step(optimizer))
    assert len(training_loops(b.program(b.loop(inner, b.step(optimizer))))) == 1


def test_training_loop_under_a_branch_is_found():
    b = ProgramBuilder()
    optimizer = b.optimizer(b.model())
    inner = b.loop(b.backward(), b.step(optimizer))
    (found,) = training_loops(b.program(b.loop(branch("do_train", inner))))
    assert [c.text for c in found.outer_conditions] == ["do_train"]


def test_same_test_takes_the_same_side_twice():
    b = ProgramBuilder()
    body = (
        branch("use_amp", b.backward(), otherwise=(b.zero(None),)),
        branch("use_amp", b.step(None), otherwise=(b.zero(None),)),
    )
    assert sorted(map(kinds, paths(body, KINDS))) == [
        ["backward", "step"],
        ["zero_grad", "zero_grad"],
    ]


def test_negated_test_takes_the_other_side():
    b = ProgramBuilder()
    body = (
        branch("scaler is not None", b.backward()),
        branch("scaler is None", b.step(None)),
        branch("not use_amp", b.zero(None)),
        branch("use_amp", b.backward()),
    )
    assert sorted(map(kinds, paths(body, KINDS))) == [
        ["backward", "backward"],
        ["backward", "zero_grad"],
        ["step", "backward"],
        ["step", "zero_grad"],
    ]


def test_different_tests_are_independent():
    b = ProgramBuilder()
    body = (branch("a", b.backward()), branch("b", b.step(None)))
    assert len(paths(body, KINDS)) == 4


def test_continue_ends_the_iteration_and_break_leaves_the_loop():
    b = ProgramBuilder()
    body = (
        branch("skip", ends="continue"),
        branch("done", ends="break"),
        b.backward(),
    )
    found = {(tuple(kinds(path)), path.ends) for path in paths(body, KINDS)}
    assert found == {((), None), ((), "break"), (("backward",), None)}


def test_raise_drops_the_path():
    b = ProgramBuilder()
    body = (branch("isnan(loss)", b.zero(None), ends="raise"), b.backward())
    assert [kinds(path) for path in paths(body, KINDS)] == [["backward"]]


def test_break_of_an_inner_loop_goes_on_after_it():
    b = ProgramBuilder()
    body = (b.loop(branch("enough", ends="break"), b.backward()), b.step(None))
    assert sorted(map(kinds, paths(body, KINDS))) == [["backward", "step"], ["step"]]


def test_branches_without_events_of_interest_cost_nothing():
    b = ProgramBuilder()
    logging = [branch(f"flag{i}", b.event(EventKind.LOG)) for i in range(20)]
    assert len(paths((*logging, b.backward()), KINDS)) == 1


def test_too_many_orders_are_given_up():
    b = ProgramBuilder()
    body = tuple(branch(f"flag{i}", b.backward()) for i in range(7))
    assert paths(body, KINDS) is None
    assert len(paths(body[:6], KINDS)) == 64


def test_occurrences_carry_their_tests():
    b = ProgramBuilder()
    body = (branch("i % 4 == 0", b.step(None), modulo=True),)
    stepping = next(path for path in paths(body, KINDS) if path.occurrences)
    assert stepping.occurrences[0].conditional
    assert stepping.occurrences[0].modulo


def test_settings_agree_between_iterations_but_modulo_tests_need_not():
    b = ProgramBuilder()
    body = (branch("use_amp", b.zero(None)), branch("i % 2", b.step(None), modulo=True))
    amp = [p for p in paths(body, KINDS) if "zero_grad" in kinds(p)]
    plain = [p for p in paths(body, KINDS) if "zero_grad" not in kinds(p)]
    assert all(one.compatible(other) for one in amp for other in amp)
    assert not any(one.compatible(other) for one in amp for other in plain)
