"""LOP019: an iterator is used up in the first epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Location, Related, Severity
from convlint.program.facts import EventKind, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.ownership import object_of
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.training_loops import all_loops, breaks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Loop, TrainingProgram
    from convlint.rules import Changes


class ExhaustedIterator(Rule):
    """An iterator made before the epochs is used up in the first one.

    ## What it does
    Reports a `for` inside an epoch loop over `iter(loader)`, `enumerate(loader)` or `zip(...)`
    that was made before the epoch loop.

    ## Why it hurts
    An iterator can be walked once. From the second epoch on the loop body never runs: the
    script counts epochs, prints the old loss and trains nothing.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        batches = enumerate(loader)
        for epoch in range(10):
            for i, (x, y) in batches:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for i, (x, y) in enumerate(loader):
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    An iterator made inside the epoch loop, one that is left with `break` and continued later,
    endless iterators: none is reported.

    ## Measured
    Not measured: the fault is in the text, whatever a short run shows.

    ## References
    - Python documentation, glossary, "iterator"
    """

    code = "LOP019"
    slug = "exhausted-iterator"
    severity = Severity.ERROR
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report loops that walk an iterator older than a loop around them."""
        for _, nest in all_loops(program):
            loop = nest[-1]
            if loop.iterator is None or not _is_finite(program, loop) or breaks(loop.body):
                continue
            around = [outer for outer in nest[:-1] if outer.id not in loop.iterator_loops]
            if not any(outer.trips.number != 1 for outer in around):
                continue
            if not any(o.kind in _TRAINING for o in occurrences(loop.body)):
                continue
            yield self.finding(
                Location(
                    loop.location.path,
                    loop.location.line,
                    loop.location.column,
                    loop.location.line,
                    loop.location.column + 3,
                ),
                "the iterator was made before the loop around this one, so it is used up after the "
                "first pass and this loop never runs again",
                help="make the iterator in the head of this loop",
                related=(Related(loop.iterator, "made here, once"),),
                fix=self.repair(
                    "make the iterator in the head of the loop", _inlined(program, loop)
                ),
            )


_TRAINING = frozenset({EventKind.FORWARD, EventKind.BACKWARD, EventKind.STEP})


def _is_finite(program: TrainingProgram, loop: Loop) -> bool:
    loader = object_of(program, loop.over.object)
    return loader is not None and loader.kind is ObjectKind.LOADER


def _inlined(program: TrainingProgram, loop: Loop) -> Changes:
    """Put what makes the iterator where its name stands in the head; ``iter`` is not needed there.

    The assignment goes when nothing else reads its name.
    """
    layout = program.layout(loop.iterator)
    head = statement_edits.compound_at(program, loop.location, "For")
    made = statement_edits.own_statement(program, loop.iterator)
    call = edits.call_at(program, loop.iterator)
    if layout is None or head is None or made is None or call is None:
        return None
    name = layout.expression(head.iterable)
    if made.kind != "Assign" or made.targets != (name,) or made.function != head.function:
        return None
    plain = [a for a in call.arguments if a.name is None and layout.is_path_of_names(a.text)]
    if head.iterable is None or len(plain) != len(call.arguments) or made.place > head.place:
        return None
    text = layout.text(call.place)
    if call.callee_text == "iter" and len(plain) == 1:
        text = plain[0].text
    changes = edits.replace(head.iterable, text)
    if layout.reads_of(name or "") == 1:
        changes = (*(changes or ()), *(statement_edits.remove_statement(program, made) or ()))
    return changes
