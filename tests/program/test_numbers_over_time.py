"""What is known of numbers that change with the step: functions given to schedulers, indices of
loops, lengths of loaders."""

from __future__ import annotations

import math
import textwrap

import pytest

from convlint.program import extract_program
from convlint.program.facts import Branch, Event, EventKind, Loop, Node, TrainingProgram


def program_of(source: str) -> TrainingProgram:
    return extract_program(textwrap.dedent(source), "train.py")


SETUP = """
import math
import functools
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import datasets
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

EPOCHS = 20
model = nn.Linear(10, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
"""


def table_of(function: str, before: str = "") -> dict[int, float]:
    """The tabulated values of a function given to LambdaLR."""
    made = f"scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, {function})"
    program = program_of(f"{SETUP}\n{textwrap.dedent(before)}\n{made}\n")
    (scheduler,) = (o for o in program.objects if o.cls.endswith("LambdaLR"))
    value = scheduler.args["lr_lambda"]
    numbers = value.numbers
    if value.keys is None or numbers is None:
        return {}
    return {int(step or 0): number for step, number in zip(value.keys, numbers, strict=True)}


WARMUP = """
    def factor(step, warmup=5, total=EPOCHS):
        \"\"\"Warm up, then half a cosine.\"\"\"
        if step < warmup:
            return (step + 1) / warmup
        share = (step - warmup) / (total - warmup)
        return 0.5 * (1 + math.cos(math.pi * share))
"""
IN_STAGES = """
    def factor(epoch):
        rate = 1.0
        if epoch >= 10:
            rate *= 0.1
        elif epoch in (3, 4):
            rate = min(rate, 0.5)
        return rate
"""
CALLABLE = """
    class Noam:
        def __init__(self, warmup):
            self.warmup = warmup

        def __call__(self, step):
            return min((step + 1) ** -0.5, (step + 1) * self.warmup ** -1.5)
"""


@pytest.mark.parametrize(
    ("function", "before", "expected"),
    [
        ("lambda e: 0.95 ** e", "", lambda e: 0.95**e),
        ("lambda e: 1 - e / EPOCHS", "", lambda e: 1 - e / 20),
        ("lambda e, power=2: (1 - e / 40) ** power", "", lambda e: (1 - e / 40) ** 2),
        ("lambda e: 1.0 if e < 10 else 0.1", "", lambda e: 1.0 if e < 10 else 0.1),
        ("lambda e: np.exp(-0.1 * e)", "", lambda e: math.exp(-0.1 * e)),
        ("lambda e: [1, 0.5, 0.25][min(e, 2)]", "", lambda e: [1, 0.5, 0.25][min(e, 2)]),
        ("factor", WARMUP, lambda e: (e + 1) / 5 if e < 5 else 0.5 * (1 + math.cos(math.pi * (e - 5) / 15))),
        ("functools.partial(factor, warmup=2)", WARMUP, lambda e: (e + 1) / 2 if e < 2 else 0.5 * (1 + math.cos(math.pi * (e - 2) / 18))),
        ("lambda e: factor(e)", IN_STAGES, lambda e: 0.1 if e >= 10 else 0.5 if e in (3, 4) else 1.0),
        ("Noam(10)", CALLABLE, lambda e: min((e + 1) ** -0.5, (e + 1) * 10**-1.5)),
        ("Noam(10).__call__", CALLABLE, lambda e: min((e + 1) ** -0.5, (e + 1) * 10**-1.5)),
    ],
)  # fmt: skip
def test_a_function_of_the_epoch_becomes_a_table(function, before, expected) -> None:  # type: ignore[no-untyped-def]
    table = table_of(function, before)
    for epoch in range(20):
        # the same operations in the same precision, up to the order of a product
        assert table[epoch] == pytest.approx(expected(epoch), rel=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        "lambda e: 1 / len(open('epochs').read())",
        "lambda e: scale * e",
        "lambda e: torch.rand(1).item()",
        "lambda *e: 1.0",
        "lambda e: model(e)",
    ],
)
def test_a_function_that_cannot_be_followed_has_no_table(function: str) -> None:
    assert table_of(function) == {}


def test_a_table_ends_where_the_function_stops_being_a_number() -> None:
    table = table_of("lambda e: (1 - e / 1000) ** 0.9")
    assert max(table) == 1000
    assert table[1000] == 0.0


def trips_of(source: str) -> list[float | None]:
    """Iterations of every loop, outermost first."""

    def walk(nodes: tuple[Node, ...]) -> list[float | None]:
        found: list[float | None] = []
        for node in nodes:
            if isinstance(node, Loop):
                found += [node.trips.number, *walk(node.body)]
        return found

    program = program_of(SETUP + textwrap.dedent(source))
    return [trips for entry in program.entries for trips in walk(entry.body)]


@pytest.mark.parametrize(
    ("data", "batches"),
    [
        ("datasets.MNIST('data', train=True), batch_size=64", 938),
        ("datasets.MNIST('data', train=False), batch_size=64", 157),
        ("datasets.CIFAR10('data'), batch_size=128, drop_last=True", 390),
        ("datasets.SVHN('data', split='test'), batch_size=100", 261),
        ("TensorDataset(torch.randn(256, 10), torch.zeros(256)), batch_size=32", 8),
        ("TensorDataset(torch.from_numpy(load_digits().data), torch.zeros(1797)), 100", 18),
        ("datasets.ImageFolder('data'), batch_size=64", None),
        ("datasets.MNIST('data'), sampler=make_sampler()", None),
    ],
)
def test_the_batches_of_a_loader_are_counted(data: str, batches: int | None) -> None:
    source = f"""
    for x, y in DataLoader({data}):
        model(x).sum().backward()
        optimizer.step()
    """
    assert trips_of(source) == [batches]


@pytest.mark.parametrize(("options", "rows"), [("", 1347), (", test_size=0.2", 1437)])
def test_the_rows_of_a_split_are_counted(options: str, rows: int) -> None:
    source = f"""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y{options})
    data = TensorDataset(torch.tensor(X_train / 16.0), torch.tensor(y_train))
    for x, t in DataLoader(data, batch_size=1):
        model(x).sum().backward()
        optimizer.step()
    """
    assert trips_of(source) == [rows]


def writes_of(body: str) -> tuple[list[Event], list[Branch]]:
    """The learning-rate writes and the branches in a loop over 20 epochs."""
    source = (
        SETUP + "for epoch in range(EPOCHS):\n" + textwrap.indent(textwrap.dedent(body), "    ")
    )
    events: list[Event] = []
    branches: list[Branch] = []

    def walk(nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            if isinstance(node, Event):
                events.extend([node] if node.kind is EventKind.LR_WRITE else [])
            elif isinstance(node, Branch):
                branches.append(node)
                for arm in node.arms:
                    walk(arm.body)
            else:
                walk(node.body)

    for entry in program_of(source).entries:
        walk(entry.body)
    return events, branches


def test_a_rate_computed_from_the_epoch_is_known_for_every_epoch() -> None:
    events, _ = writes_of("""
        lr = 0.1 * 0.5 ** (epoch // 10) if epoch > 2 else 0.01
        for group in optimizer.param_groups:
            group["lr"] = lr
    """)
    (event,) = events
    expected = tuple(0.1 * 0.5 ** (e // 10) if e > 2 else 0.01 for e in range(20))
    assert event.args["value"].numbers == expected


def test_the_epochs_in_which_a_branch_is_taken_are_known() -> None:
    _, branches = writes_of("""
        if (epoch + 1) % 5 == 0 or epoch in (2, 3):
            optimizer.param_groups[0]["lr"] *= 0.5
    """)
    (branch,) = branches
    assert branch.taken == tuple((e + 1) % 5 == 0 or e in (2, 3) for e in range(20))


def test_a_branch_on_something_else_is_not_known() -> None:
    _, branches = writes_of("""
        if epoch > limit:
            optimizer.param_groups[0]["lr"] *= 0.5
    """)
    assert [branch.taken for branch in branches] == [None]


def test_a_rate_read_back_and_scaled_is_a_factor() -> None:
    events, _ = writes_of("""
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * 0.5 ** (epoch // 10)
    """)
    (event,) = events
    assert event.args["factor"].numbers == tuple(0.5 ** (e // 10) for e in range(20))
    assert event.args["read"].constant is True


def switches_of(source: str) -> list[tuple[str, str, bool | None, bool]]:
    program = program_of(SETUP + textwrap.dedent(source))
    return [(s.name, s.on, s.trainable, s.whole) for s in program.switches]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "for p in model.parameters():\n    p.requires_grad = False",
            ("requires_grad", "parameters", False, True),
        ),
        (
            "for p in list(model.parameters())[:2]:\n    p.requires_grad = False",
            ("requires_grad", "parameters", False, False),
        ),
        (
            "for n, p in model.named_parameters():\n"
            "    if 'bias' not in n:\n        p.requires_grad_(False)",
            ("requires_grad_", "parameters", False, False),
        ),
        ("model.requires_grad_(False)", ("requires_grad_", "module", False, True)),
        ("model.requires_grad = False", ("requires_grad", "module", False, True)),
        (
            "for p in model.parameters():\n    p.require_grad = False",
            ("require_grad", "parameters", False, True),
        ),
    ],
)
def test_switching_gradients_off_is_seen(
    source: str, expected: tuple[str, str, bool | None, bool]
) -> None:
    assert switches_of(source) == [expected]


@pytest.mark.parametrize(
    ("made", "exhausted"),
    [
        ("filter(lambda p: p.requires_grad, model.parameters())", True),
        ("model.parameters()", True),
        ("(p for p in model.parameters())", True),
        ("list(model.parameters())", False),
        ("list(filter(lambda p: p.requires_grad, model.parameters()))", False),
    ],
)
def test_a_generator_walked_twice_is_exhausted(made: str, exhausted: bool) -> None:
    program = program_of(
        f"{SETUP}\nparams = {made}\nadam = torch.optim.Adam(params)\n"
        "nn.utils.clip_grad_norm_(params, 1.0)\n"
    )
    assert [use.name for use in program.exhausted] == (
        ["torch.nn.utils.clip_grad_norm_"] if exhausted else []
    )


def test_a_generator_given_to_one_of_two_optimizers_is_walked_once() -> None:
    program = program_of(f"""{SETUP}
params = model.parameters()
if adam:
    chosen = torch.optim.Adam(params)
else:
    chosen = torch.optim.SGD(params)
""")
    assert program.exhausted == ()
