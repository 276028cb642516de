"""Short ways to extract facts from source text and to look at them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from convlint.program import extract_program
from convlint.program.facts import (
    Branch,
    Event,
    EventKind,
    Flow,
    Loop,
    Node,
    Object,
    ObjectKind,
    TrainingProgram,
)

HEAD = """
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader
model = nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader(dataset)
criterion = nn.CrossEntropyLoss()
"""


def extract(source: str, head: str = "") -> TrainingProgram:
    """The facts of a snippet."""
    return extract_program(head + textwrap.dedent(source), "snippet.py")


def walk(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """Every node of an event tree, in order."""
    for node in nodes:
        yield node
        if isinstance(node, Branch):
            for arm in node.arms:
                yield from walk(arm.body)
        elif isinstance(node, Loop):
            yield from walk(node.body)


def events(program: TrainingProgram) -> list[Event]:
    """Every event of the program, in order."""
    return [n for entry in program.entries for n in walk(entry.body) if isinstance(n, Event)]


def kinds(program: TrainingProgram) -> list[EventKind]:
    """The kinds of the program's events, in order."""
    return [event.kind for event in events(program)]


def loops(program: TrainingProgram) -> list[Loop]:
    """Every loop of the program, outer before inner."""
    return [n for entry in program.entries for n in walk(entry.body) if isinstance(n, Loop)]


def objects(program: TrainingProgram, kind: ObjectKind) -> list[Object]:
    """The objects of one kind."""
    return [o for o in program.objects if o.kind is kind]


def chain(program: TrainingProgram, flow: int | None) -> list[str]:
    """Operation names from a flow back along its first inputs to the source."""
    names: list[str] = []
    while flow is not None:
        node: Flow = program.flows[flow]
        names.append(node.op)
        flow = node.inputs[0] if node.inputs else None
    return names
