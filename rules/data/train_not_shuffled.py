"""DAT004: the training data comes in the same order every epoch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Severity
from convlint.lazy_regex import lazy_regex
from convlint.program.facts import Event, EventKind, Loop, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.datasets import dataset_of, is_evaluating, is_training
from convlint.rules.patterns.flows import objects_by_id
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.training_loops import all_loops

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from convlint.findings import Location
    from convlint.program.facts import Node, Object, TrainingProgram, Value
    from convlint.rules import Changes

ORDERED = lazy_regex(
    r"seq|series|tempor|forecast|stream|iterable|bptt|corpus|buffer|replay|rollout|trajector"
    r"|episode|window|recurr|language|text|token|webdataset",
    re.IGNORECASE,
)
"""Names of data whose order carries meaning, or that have no order to shuffle."""
GRADIENTS = frozenset({EventKind.BACKWARD})
UPDATES = frozenset({EventKind.STEP, EventKind.SCALER_STEP, EventKind.PARAMETER_WRITE})
"""A loop that computes gradients without updating anything attacks or inspects a model."""
SAMPLERS = ("sampler", "batch_sampler")


class TrainNotShuffled(Rule):
    """The training loader serves the data in the same order every epoch.

    ## What it does
    Reports a `DataLoader` that serves training (by its name, by `train=True` of its dataset, or
    because a loop over it updates a model), over a map-style dataset, without `shuffle=True` and without a sampler.

    ## Why it hurts
    Stochastic gradient descent needs batches that are unbiased samples of the data. Data sets are
    often stored sorted by class or by time: then every batch pulls in one direction, batch
    statistics are those of one class, and the loss saws up and down once an epoch.

    ## Example
        import torch
        from sklearn.datasets import load_iris
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        x, y = load_iris(return_X_y=True)
        train_set = TensorDataset(torch.tensor(x).float(), torch.tensor(y))
        train_loader = DataLoader(train_set, batch_size=16, shuffle=False)
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for epoch in range(10):
            for inputs, labels in train_loader:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(inputs), labels)
                loss.backward()
                optimizer.step()

    ## Use instead
        import torch
        from sklearn.datasets import load_iris
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        x, y = load_iris(return_X_y=True)
        train_set = TensorDataset(torch.tensor(x).float(), torch.tensor(y))
        train_loader = DataLoader(train_set, batch_size=16, shuffle=True)
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for epoch in range(10):
            for inputs, labels in train_loader:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(inputs), labels)
                loss.backward()
                optimizer.step()

    ## When it is fine
    A sampler or batch sampler (not one for several processes that is None where one trains alone),
    iterable and streaming datasets, time series and language models read in order, replay buffers, loaders that only evaluate on the training data or show it.

    ## Measured
    The order of the data is not measured.

    ## References
    - PyTorch, `torch.utils.data.DataLoader`: `shuffle` is False by default
    - Bottou, Curiously fast convergence of some stochastic gradient descent algorithms, 2009
    """

    code, slug, severity = "DAT004", "train-not-shuffled", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    unmeasured_because = "the probe does not know the order in which the data is stored"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per training loader that neither shuffles nor samples."""
        objects = objects_by_id(program)
        training, evaluating = _use_of_loaders(program)
        trains = any(
            o.kind in GRADIENTS for entry in program.entries for o in occurrences(entry.body)
        )
        looked_at = _looked_at(program)
        reported: set[Location] = set()
        for loader in program.objects:
            if loader.cls != "torch.utils.data.DataLoader" or loader.location in reported:
                continue
            dataset = dataset_of(objects, loader)
            if dataset is None or not _is_map_style(dataset) or not _unshuffled(objects, loader):
                continue
            if not trains and not loader.within:
                continue  # a trial of the data set; what a function returns may train elsewhere
            if loader.id in looked_at or (loader.id in evaluating and loader.id not in training):
                continue
            trains = loader.id in training and not is_evaluating(objects, loader)
            if not (trains or is_training(objects, loader)) or _is_ordered(loader, dataset):
                continue
            reported.add(loader.location)
            alone = _sampled_when_distributed(objects, loader)
            yield self.finding(
                loader.location,
                "the training loader does not shuffle"
                f"{' when one process trains alone' if alone else ''}: every epoch sees the same "
                "batches in the same order",
                help="pass `shuffle=(sampler is None)`" if alone else "pass `shuffle=True`",
                evidence=(Evidence("static", "`shuffle` is not true and there is no sampler"),),
                # a loader with a sampler must not shuffle
                fix=None
                if alone
                else self.repair("shuffle the training data", _shuffled(program, loader)),
            )


def _unshuffled(objects: Mapping[int, Object], loader: Object) -> bool:
    """Whether `shuffle` is surely false and there surely is no sampler, in some runs at least."""
    given = [name for name in SAMPLERS if _given(loader.args.get(name))]
    if given and not (given == ["sampler"] and _sampled_when_distributed(objects, loader)):
        return False
    if "**" in loader.args:
        return False
    shuffle = loader.args.get("shuffle")
    return shuffle is None or (shuffle.known and not shuffle.constant)


def _sampled_when_distributed(objects: Mapping[int, Object], loader: Object) -> bool:
    """Whether the sampler is one for several processes, and None where there is one."""
    sampler = loader.args.get("sampler")
    if sampler is None or not sampler.optional or sampler.object is None:
        return False
    return objects[sampler.object].cls.endswith(".DistributedSampler")


def _given(value: Value | None) -> bool:
    return value is not None and not (value.known and value.constant is None)


def _is_map_style(dataset: Object) -> bool:
    """Whether a dataset surely is indexed rather than iterated."""
    lineage = " ".join((dataset.cls, *dataset.bases))
    if "Iterable" in lineage or "Streaming" in lineage:
        return False
    return dataset.cls.startswith(("torch.utils.data.", "torchvision.datasets.")) or any(
        base == "torch.utils.data.Dataset" for base in dataset.bases
    )


def _is_ordered(loader: Object, dataset: Object) -> bool:
    names = (*loader.names, *dataset.names, dataset.cls.rpartition(".")[2])
    return any(ORDERED.search(name) for name in names)


def _use_of_loaders(program: TrainingProgram) -> tuple[frozenset[int], frozenset[int]]:
    """The loaders that some loop iterates to train a model, and those some loop only reads."""
    training: set[int] = set()
    evaluating: set[int] = set()

    def walk(nodes: tuple[Node, ...]) -> frozenset[EventKind]:
        """Which of gradient computations and updates happen in these nodes."""
        found: frozenset[EventKind] = frozenset()
        for node in nodes:
            if isinstance(node, Event):
                found |= {node.kind} & (GRADIENTS | UPDATES)
            elif isinstance(node, Loop):
                inside = walk(node.body)
                if node.over.object is not None:
                    if inside & GRADIENTS and inside & UPDATES:
                        training.add(node.over.object)
                    elif not inside and not node.incomplete:
                        evaluating.add(node.over.object)
                found |= inside
            else:
                for arm in node.arms:
                    found |= walk(arm.body)
        return found

    for entry in program.entries:
        walk(entry.body)
    return frozenset(training), frozenset(evaluating)


def _looked_at(program: TrainingProgram) -> frozenset[int]:
    """The loaders a function makes to draw single batches from, where it makes no optimizer."""
    drawn = {flow.source for flow in program.flows if flow.op == "<batch>"}
    iterated = {nest[-1].over.object for _, nest in all_loops(program)}
    training = {o.within for o in program.objects if o.kind is ObjectKind.OPTIMIZER}
    return frozenset(
        loader.id
        for loader in program.objects
        if loader.id in drawn - iterated and loader.within and loader.within not in training
    )


def _shuffled(program: TrainingProgram, loader: Object) -> Changes:
    call = edits.call_at(program, loader.location)
    if not edits.made_once(program, loader):
        return None
    if call is not None and call.argument("shuffle", 2) is None:
        return edits.add_keyword(program, loader.location, "shuffle", "True")
    return edits.set_literal(program, loader, loader.args.get("shuffle"), "True")
