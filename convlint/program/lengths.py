"""How many items data sets, arrays and loaders hold, where it is known without running anything."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.program.domain import Const, Instance, Seq, Tensor
from convlint.program.facts import ObjectKind

if TYPE_CHECKING:
    from convlint.program.domain import Abstract, Argument
    from convlint.program.drafts import FlowDraft
    from convlint.program.state import State

__all__ = ["length_of"]

_ARRAYS = {
    "sklearn.datasets.load_digits": 1797,
    "sklearn.datasets.load_iris": 150,
    "sklearn.datasets.load_wine": 178,
    "sklearn.datasets.load_breast_cancer": 569,
    "sklearn.datasets.load_diabetes": 442,
    "sklearn.datasets.load_linnerud": 20,
    "sklearn.datasets.fetch_california_housing": 20640,
    "sklearn.datasets.fetch_olivetti_faces": 400,
}
"""Rows of the data sets of scikit-learn."""

_TRAIN_AND_TEST = {
    "torchvision.datasets.MNIST": (60000, 10000),
    "torchvision.datasets.FashionMNIST": (60000, 10000),
    "torchvision.datasets.KMNIST": (60000, 10000),
    "torchvision.datasets.CIFAR10": (50000, 10000),
    "torchvision.datasets.CIFAR100": (50000, 10000),
}
"""Images of data sets with a ``train`` flag."""
_SPLITS = {
    "torchvision.datasets.SVHN": {"train": 73257, "test": 26032, "extra": 531131},
    "torchvision.datasets.STL10": {"train": 5000, "test": 8000, "unlabeled": 100000},
}
"""Images of data sets with a ``split`` name."""

_SAME_ROWS = frozenset(
    {
        "tensor", "as_tensor", "from_numpy", "asarray", "array", "float_tensor", "long_tensor",
        "to", "float", "double", "long", "int", "astype", "cpu", "cuda", "clone", "detach",
        "contiguous", "transform", "fit_transform", "unsqueeze", "data", "numpy", "type",
    }
)  # fmt: skip
"""Operations after which an array has as many rows as before."""
_ELEMENTWISE = frozenset({"add", "sub", "mul", "div", "neg"})
_FIRST_SIZE = ("size", "0", "d0")
_DEFAULT_TEST_SHARE = 0.25
_DEEPEST = 20


def length_of(state: State, value: Abstract | None, depth: int = 0) -> int | None:
    """``len(value)`` of a loader, data set or array; None when it is not known."""
    if depth > _DEEPEST or value is None:
        return None
    if isinstance(value, Tensor):
        return _rows(state, state.flows[value.flow], depth)
    if not isinstance(value, Instance) or value.leader is not value:
        return None
    if value.kind is ObjectKind.LOADER and value.cls == "torch.utils.data.DataLoader":
        return _batches(state, value, depth)
    if value.kind is ObjectKind.DATASET:
        return _samples(state, value, depth)
    return None


def _number(argument: Argument | None) -> float | None:
    value = argument.value if argument is not None else None
    if not isinstance(value, Const) or isinstance(value.value, (bool, str)):
        return None
    return value.value


def _flag(argument: Argument | None, default: bool) -> bool | None:
    if argument is None:
        return default
    value = argument.value
    return bool(value.value) if isinstance(value, Const) else None


def _batches(state: State, loader: Instance, depth: int) -> int | None:
    args = loader.args
    for name in ("sampler", "batch_sampler", "**"):
        given = args.get(name)
        if given is not None and not (isinstance(given.value, Const) and given.value.value is None):
            return None
    dataset = args.get("dataset")
    samples = length_of(state, dataset.value if dataset is not None else None, depth + 1)
    size, drop = _number(args.get("batch_size")), _flag(args.get("drop_last"), False)
    if samples is None or not size or size < 1 or drop is None:
        return None
    return int(samples // size) if drop else math.ceil(samples / size)


def _samples(state: State, dataset: Instance, depth: int) -> int | None:
    if dataset.klass is not None:
        return None
    sizes = _TRAIN_AND_TEST.get(dataset.cls)
    if sizes is not None:
        train = _flag(dataset.args.get("train"), True)
        return None if train is None else sizes[0 if train else 1]
    splits = _SPLITS.get(dataset.cls)
    if splits is not None:
        split = dataset.args.get("split")
        name = split.value.value if split is not None and isinstance(split.value, Const) else None
        return splits.get(name) if isinstance(name, str) else None
    if dataset.cls == "torch.utils.data.TensorDataset":
        first = dataset.args.get("0")
        return length_of(state, first.value if first is not None else None, depth + 1)
    return None


def _rows(state: State, flow: FlowDraft, depth: int) -> int | None:
    if flow.op == "<array>":
        return _ARRAYS.get(flow.name)
    if flow.op == "<constant>":
        return _made_rows(flow)
    if flow.op == "train_test_split" and len(flow.inputs) == 1:
        return _split_rows(state, flow, depth)
    if flow.op in _SAME_ROWS and flow.inputs:
        return _rows(state, state.flows[flow.inputs[0]], depth + 1) if depth < _DEEPEST else None
    if flow.op in _ELEMENTWISE and len(flow.inputs) == 1:
        return _rows(state, state.flows[flow.inputs[0]], depth + 1) if depth < _DEEPEST else None
    return None


def _made_rows(flow: FlowDraft) -> int | None:
    """Rows of ``torch.randn(256, 8)``, ``torch.zeros((256, 8))``, ``torch.randint(0, 2, (256,))``."""
    name = flow.name.rpartition(".")[2]
    if name == "randint":
        size = flow.args.get("size") or flow.args.get("2") or flow.args.get("1")
    elif name in ("randn", "rand", "zeros", "ones", "empty"):
        size = next((flow.args[key] for key in _FIRST_SIZE if key in flow.args), None)
    else:
        return None
    value = size.value if size is not None else None
    if isinstance(value, Seq):
        value = value.items[0] if value.items and value.complete else None
    if isinstance(value, Const) and type(value.value) is int:
        return value.value
    return None


def _split_rows(state: State, flow: FlowDraft, depth: int) -> int | None:
    """Rows of one part of ``train_test_split``, rounded as scikit-learn does."""
    total = _rows(state, state.flows[flow.inputs[0]], depth + 1)
    if total is None:
        return None
    train, test = _number(flow.args.get("train_size")), _number(flow.args.get("test_size"))
    for name, number in (("train_size", train), ("test_size", test)):
        if name in flow.args and number is None:
            return None
    if test is None and train is None:
        test = _DEFAULT_TEST_SHARE
    tested = None if test is None else math.ceil(test * total) if test < 1 else int(test)
    trained = None if train is None else math.floor(train * total) if train <= 1 else int(train)
    if flow.index == 0:
        return trained if trained is not None else total - (tested or 0)
    return tested if tested is not None else total - (trained or 0)
