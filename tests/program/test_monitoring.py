"""What a program watches, carries and forgets: best scores, patience, iterators, unused results."""

import math

from extraction import HEAD, events, extract, loops

from convlint.program.facts import EventKind


def test_a_selection_has_its_direction_start_and_counter() -> None:
    program = extract(
        """
        best, bad = math.inf, 0
        best = float("inf")
        for epoch in range(10):
            val_loss = evaluate()
            if val_loss < best:
                best = val_loss
            else:
                bad += 1
                if bad > 5:
                    break
        """
    )
    (selection,) = program.selections
    assert (selection.measure, selection.best, selection.below) == ("val_loss", "best", True)
    assert selection.initial.number == math.inf
    assert selection.counter == "bad" and selection.stops and not selection.counter_reset
    assert not selection.keeps


def test_a_reset_counter_and_saved_weights_are_seen() -> None:
    program = extract(
        """
        best = 0.0
        bad = 0
        for epoch in range(10):
            acc = evaluate()
            if best < acc:
                best = acc
                bad = 0
                torch.save(model.state_dict(), "best.pt")
            else:
                bad += 1
        """,
        HEAD,
    )
    (selection,) = program.selections
    assert not selection.below and selection.counter_reset and selection.keeps
    assert not selection.stops


def test_a_tolerance_names_what_it_compares() -> None:
    program = extract(
        """
        for x, y in loader:
            loss = criterion(model(x), y)
            loss.backward()
            if abs(previous - loss.item()) < 1e-4:
                break
        """,
        HEAD,
    )
    (tolerance,) = program.tolerances
    assert tolerance.compared == ("previous", "loss")
    assert tolerance.limit.number == 1e-4 and tolerance.stops


def test_an_iterator_made_before_the_epochs_is_told_from_one_made_in_the_head() -> None:
    program = extract(
        """
        batches = iter(loader)
        for epoch in range(2):
            for x, y in batches:
                model(x).sum().backward()
            for i, (x, y) in enumerate(loader):
                model(x).sum().backward()
        """,
        HEAD,
    )
    _, used_up, fresh = loops(program)
    assert used_up.iterator is not None and used_up.iterator_loops == ()
    assert fresh.iterator is None


def test_next_of_a_new_iterator_is_told_from_next_of_an_old_one() -> None:
    program = extract(
        """
        batches = iter(loader)
        for step in range(100):
            x, y = next(iter(loader))
            model(x).sum().backward()
            u, v = next(batches)
            model(u).sum().backward()
        """,
        HEAD,
    )
    named = [flow.name for flow in program.flows if flow.op == "<batch>" and flow.index is None]
    assert named == ["next(iter)", ""]


def test_a_state_that_passes_between_iterations_is_carried() -> None:
    program = extract(
        """
        rnn = nn.GRU(4, 8)
        hidden = None
        for x, y in loader:
            out, hidden = rnn(x, hidden)
            loss = out.sum()
            loss.backward()
        """,
        HEAD,
    )
    (loop,) = loops(program)
    (carried,) = loop.carried
    (backward,) = (e for e in events(program) if e.kind is EventKind.BACKWARD)
    assert carried.name == "hidden"
    assert backward.flow is not None and set(carried.before).isdisjoint(carried.after)


def test_a_break_at_the_end_of_a_loop_is_how_it_ends() -> None:
    program = extract(
        """
        for x, y in loader:
            model(x).sum().backward()
            break
        """,
        HEAD,
    )
    assert [loop.ends for loop in loops(program)] == ["break"]


def test_unused_methods_and_results_are_noted() -> None:
    program = extract(
        """
        for x, y in loader:
            x.to("cuda")
            model.to("cuda")
            optimizer.step
        """,
        HEAD,
    )
    assert [(u.name, u.called) for u in program.unused] == [("to", True), ("step", False)]


def test_a_handler_that_does_nothing_marks_what_it_swallows() -> None:
    program = extract(
        """
        for x, y in loader:
            try:
                model(x).sum().backward()
            except Exception:
                continue
            try:
                model(x).sum().backward()
            except RuntimeError as error:
                raise
        """,
        HEAD,
    )
    swallowed = ["swallowed" in e.context for e in events(program) if e.kind is EventKind.BACKWARD]
    assert swallowed == [True, False]


def test_the_only_thing_that_steps_beside_a_backward_is_the_optimizer() -> None:
    program = extract(
        """
        def fit(net, batches, algorithm, env):
            for x, y in batches:
                loss = criterion(net(x), y)
                loss.backward()
                algorithm.step()
            for x in batches:
                env.step()
        """,
        HEAD,
    )
    steps = [e for e in events(program) if e.kind is EventKind.STEP]
    assert [program.objects[e.target].names for e in steps if e.target is not None] == [
        ("algorithm",)
    ]


def test_a_state_dict_remembers_its_module() -> None:
    program = extract('torch.save(model.state_dict(), "x.pt")', HEAD)
    (state,) = (o for o in program.objects if o.cls == "torch.nn.Module.state_dict")
    assert program.objects[state.args["module"].object or 0].cls == "torch.nn.Linear"


def test_averaged_weights_are_no_optimizer_and_their_updates_are_seen() -> None:
    program = extract(
        """
        averaged = torch.optim.swa_utils.AveragedModel(model)
        averaged.update_parameters(model)
        keep(averaged)
        """,
        HEAD,
    )
    (averaged,) = (o for o in program.objects if "averaged" in o.names)
    assert averaged.kind == "library" and averaged.escaped
    assert averaged.methods == ("update_parameters",)
