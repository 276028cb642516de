"""Event trees: what happens in a loop, in which order, seen through helpers and methods."""

from extraction import HEAD, events, extract, kinds, loops, objects, walk

from convlint.program.facts import Branch, EventKind, ObjectKind

STEP = [
    EventKind.ZERO_GRAD,
    EventKind.FORWARD,
    EventKind.LOSS,
    EventKind.BACKWARD,
    EventKind.STEP,
]


def test_plain_loop_gives_its_events_in_order() -> None:
    program = extract(
        """
        for epoch in range(3):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
        """,
        HEAD,
    )
    assert kinds(program) == STEP
    outer, inner = loops(program)
    assert outer.trips.number == 3
    assert inner.over.object == objects(program, ObjectKind.LOADER)[0].id


def test_helper_function_is_seen_through_with_the_call_recorded() -> None:
    program = extract(
        """
        def update(net, opt, x, y):
            loss = criterion(net(x), y)
            loss.backward()
            opt.step()

        for x, y in loader:
            optimizer.zero_grad()
            update(model, optimizer, x, y)
        """,
        HEAD,
    )
    assert kinds(program) == STEP
    step = events(program)[-1]
    assert step.target == objects(program, ObjectKind.OPTIMIZER)[0].id
    assert len(step.via) == 1


def test_trainer_class_shares_its_optimizer_between_methods() -> None:
    program = extract(
        """
        class Trainer:
            def __init__(self, model):
                self.model = model
                self.optimizer = torch.optim.Adam(model.parameters())

            def run_batch(self, x, y):
                self.optimizer.zero_grad()
                F.cross_entropy(self.model(x), y).backward()
                self.optimizer.step()

            def fit(self):
                for x, y in loader:
                    self.run_batch(x, y)

        Trainer(nn.Linear(4, 2)).fit()
        """,
        HEAD,
    )
    assert kinds(program) == STEP
    zero, step = events(program)[0], events(program)[-1]
    assert zero.target == step.target


def test_class_nobody_uses_is_walked_on_its_own() -> None:
    program = extract(
        """
        import torch
        class Trainer:
            def __init__(self, model, loader):
                self.model, self.loader = model, loader
                self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

            def _batch(self, x, y):
                loss = torch.nn.functional.mse_loss(self.model(x), y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()

            def run(self):
                for x, y in self.loader:
                    self._batch(x, y)
        """
    )
    in_loop = [e.kind for loop in loops(program) for e in walk(loop.body)]  # type: ignore[union-attr]
    assert in_loop.count(EventKind.BACKWARD) == 1
    assert in_loop.count(EventKind.STEP) == 1
    assert all(entry.standalone for entry in program.entries)


def test_condition_becomes_a_branch_that_remembers_modulo() -> None:
    program = extract(
        """
        for i, (x, y) in enumerate(loader):
            criterion(model(x), y).backward()
            if (i + 1) % 4 == 0:
                optimizer.step()
                optimizer.zero_grad()
        """,
        HEAD,
    )
    branch = next(n for n in walk(loops(program)[0].body) if isinstance(n, Branch))
    assert branch.modulo
    assert [e.kind for e in walk(branch.arms[0].body)] == [EventKind.STEP, EventKind.ZERO_GRAD]  # type: ignore[union-attr]
    assert branch.arms[1].body == ()


def test_early_return_of_a_helper_does_not_leave_the_callers_loop() -> None:
    program = extract(
        """
        def update(loss):
            if loss.item() > 100:
                return
            loss.backward()
            optimizer.step()

        for x, y in loader:
            optimizer.zero_grad()
            update(criterion(model(x), y))
        """,
        HEAD,
    )
    branch = next(n for n in walk(loops(program)[0].body) if isinstance(n, Branch))
    assert [arm.ends for arm in branch.arms] == [None, None]
    assert [e.kind for e in walk(branch.arms[1].body)] == [EventKind.BACKWARD, EventKind.STEP]  # type: ignore[union-attr]


def test_gradients_set_to_none_by_hand_are_cleared() -> None:
    program = extract(
        """
        for x, y in loader:
            for p in model.parameters():
                p.grad = None
            criterion(model(x), y).backward()
            optimizer.step()
        """,
        HEAD,
    )
    cleared = events(program)[0]
    assert cleared.kind is EventKind.ZERO_GRAD
    assert cleared.over == (objects(program, ObjectKind.LAYER)[0].id,)


def test_closure_events_come_with_the_step() -> None:
    program = extract(
        """
        for x, y in loader:
            def closure():
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                return loss
            optimizer.step(closure)
        """,
        HEAD,
    )
    assert kinds(program) == STEP
    assert events(program)[-1].flags == ("closure",)


def test_scaled_backward_unscale_and_scaler_step_name_scaler_and_optimizer() -> None:
    program = extract(
        """
        scaler = torch.cuda.amp.GradScaler()
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda"):
                loss = criterion(model(x), y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
        """,
        HEAD,
    )
    by_kind = {e.kind: e for e in events(program)}
    optimizer = objects(program, ObjectKind.OPTIMIZER)[0].id
    assert by_kind[EventKind.BACKWARD].flags == ("scaled",)
    assert by_kind[EventKind.UNSCALE].optimizer == optimizer
    assert by_kind[EventKind.SCALER_STEP].optimizer == optimizer
    assert by_kind[EventKind.LOSS].context == ("autocast",)
    assert by_kind[EventKind.CLIP].over == (objects(program, ObjectKind.LAYER)[0].id,)


def test_no_grad_decorator_is_a_context() -> None:
    program = extract(
        """
        @torch.no_grad()
        def evaluate():
            model.eval()
            for x, y in loader:
                model(x)
        evaluate()
        """,
        HEAD,
    )
    assert all(e.context == ("no_grad",) for e in events(program))
    assert kinds(program) == [EventKind.EVAL_MODE, EventKind.FORWARD]


def test_train_false_is_eval_mode() -> None:
    assert kinds(extract("model.train(False)\nmodel.train(True)", HEAD)) == [
        EventKind.EVAL_MODE,
        EventKind.TRAIN_MODE,
    ]


def test_call_inside_an_f_string_happens() -> None:
    program = extract(
        """
        def evaluate():
            model.eval()
            return 1.0
        for epoch in range(2):
            print(f"accuracy {evaluate():.3f}")
        """,
        HEAD,
    )
    assert kinds(program) == [EventKind.EVAL_MODE]


def test_step_of_an_unknown_thing_is_not_an_optimizer_step() -> None:
    program = extract(
        """
        def play(env, agent):
            while True:
                observation, reward, done = env.step(agent.act())
        """
    )
    assert EventKind.STEP not in kinds(program)


def test_parameter_that_clears_and_steps_is_an_optimizer() -> None:
    program = extract(
        """
        def train(model, loader, opt, loss_fn):
            model.train()
            for x, y in loader:
                opt.zero_grad()
                loss_fn(model(x), y).backward()
                opt.step()
        """
    )
    step = next(e for e in events(program) if e.kind is EventKind.STEP)
    assert step.target is not None
    assert program.objects[step.target].kind is ObjectKind.OPTIMIZER
    assert program.objects[step.target].symbolic


def test_model_handed_to_unresolved_code_escapes() -> None:
    program = extract("import somewhere\nsomewhere.fit(model, optimizer)", HEAD)
    assert [o.escaped for o in objects(program, ObjectKind.OPTIMIZER)] == [True]
    assert kinds(program) == [EventKind.UNKNOWN_CALL]


def test_known_harmless_calls_do_not_escape() -> None:
    program = extract("import wandb\nwandb.watch(model)\nprint(model)\ntorch.compile(model)", HEAD)
    assert not any(o.escaped for o in program.objects)


def test_two_phases_over_literal_names_are_walked_apart() -> None:
    program = extract(
        """
        for phase in ["train", "val"]:
            if phase == "train":
                model.train()
            else:
                model.eval()
        """,
        HEAD,
    )
    assert kinds(program) == [EventKind.TRAIN_MODE, EventKind.EVAL_MODE]


def test_optimizer_chosen_in_a_branch_is_one_optimizer_to_the_loop() -> None:
    program = extract(
        """
        import sys
        if len(sys.argv) > 1:
            opt = torch.optim.Adam(model.parameters())
        else:
            opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            opt.zero_grad()
            criterion(model(x), y).backward()
            opt.step()
        """,
        HEAD,
    )
    targets = {e.target for e in events(program) if e.kind in (EventKind.STEP, EventKind.ZERO_GRAD)}
    assert len(targets) == 1
    aliases = [o for o in objects(program, ObjectKind.OPTIMIZER) if o.same_as is not None]
    assert [o.same_as for o in aliases] == list(targets)


def test_learning_rate_written_by_hand_is_an_event() -> None:
    program = extract(
        """
        for epoch in range(9):
            for group in optimizer.param_groups:
                group["lr"] *= 0.5
            optimizer.param_groups[0]["lr"] = 0.1
        """,
        HEAD,
    )
    assert kinds(program) == [EventKind.LR_WRITE, EventKind.LR_WRITE]
    assert events(program)[0].args["factor"].number == 0.5


def test_running_total_of_losses_is_an_event_but_not_of_items() -> None:
    program = extract(
        """
        total, shown = 0.0, 0.0
        for x, y in loader:
            loss = criterion(model(x), y)
            total += loss
            shown += loss.item()
        """,
        HEAD,
    )
    assert kinds(program).count(EventKind.ACCUMULATE) == 1


def test_a_handler_with_statements_of_several_lines_is_walked() -> None:
    program = extract(
        """
        for x, y in loader:
            try:
                loss = criterion(model(x), y)
            except Exception:
                if x is None:
                    raise
                with torch.no_grad():
                    print(x)
            loss.backward()
        """,
        HEAD,
    )
    assert EventKind.BACKWARD in kinds(program)


def test_optimizers_of_a_long_factory_are_lost_track_of_not_forgotten() -> None:
    program = extract(
        """
        from elsewhere import Nadam, Lion, Lamb, Novograd
        def create(name):
            if name == "sgd":
                opt = torch.optim.SGD(model.parameters(), lr=0.1)
            elif name == "adam":
                opt = torch.optim.Adam(model.parameters())
            elif name == "nadam":
                opt = Nadam(model.parameters())
            elif name == "lion":
                opt = Lion(model.parameters())
            elif name == "lamb":
                opt = Lamb(model.parameters())
            elif name == "novograd":
                opt = Novograd(model.parameters())
            else:
                opt = torch.optim.RMSprop(model.parameters())
            return opt
        """,
        HEAD,
    )
    made = [o for o in objects(program, ObjectKind.OPTIMIZER) if o.names == ("opt",)]
    assert [o.cls.rpartition(".")[2] for o in made] == ["SGD", "Adam", "RMSprop"]
    # Each either stands for the others or counts as out of sight: none is on its own.
    first, *others = made
    assert all(o.escaped or o.same_as == first.id for o in others)
