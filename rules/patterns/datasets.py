"""Where a batch comes from: the loader, its dataset, the arrays and transforms behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from convlint.program.facts import Flow, Loop, Object, Value
    from convlint.rules.patterns.flows import FlowGraph

__all__ = [
    "LOADED_TARGETS_1D",
    "UNSCALED_ARRAYS",
    "batch_source",
    "dataset_of",
    "is_evaluating",
    "is_evaluation",
    "is_random",
    "is_training",
    "named_for_evaluation",
    "training_loader",
    "transform_steps",
]

UNSCALED_ARRAYS = {
    "load_wine": "13 columns between 0.1 and 1680",
    "load_breast_cancer": "30 columns between 0.001 and 4254",
    "load_linnerud": "columns between 1 and 250",
    "fetch_california_housing": "8 columns between -124 and 35682",
    "fetch_covtype": "54 columns between -173 and 7173",
    "load_digits": "pixels between 0 and 16",
}
"""Arrays of sklearn.datasets whose columns are in raw units, and what those look like.
load_iris is left out: its four columns are all a few centimetres."""

LOADED_TARGETS_1D = frozenset(
    {
        "load_wine", "load_breast_cancer", "load_diabetes", "load_digits", "load_iris",
        "fetch_california_housing", "fetch_covtype", "make_regression", "make_classification",
        "make_friedman1", "make_friedman2", "make_friedman3", "make_moons", "make_circles",
        "make_blobs",
    }
)  # fmt: skip
"""Loaders of sklearn.datasets whose target is a vector (make_regression: unless n_targets > 1)."""

_TRAIN_WORDS = frozenset({"train", "training", "trn", "tr"})
_EVAL_WORDS = frozenset(
    {"val", "valid", "validation", "eval", "evaluation", "test", "testing", "dev", "holdout",
     "predict", "inference", "probe", "metric"}
)  # fmt: skip
_RANDOM_STEPS = frozenset(
    {"AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix", "ColorJitter", "MixUp", "CutMix"}
)
_HELD_OUT_WORDS = frozenset({"val", "valid", "validation", "test", "testing", "dev", "holdout"})


def dataset_of(objects: Mapping[int, Object], loader: Object) -> Object | None:
    """The dataset object of a loader, when it was resolved."""
    return _object(objects, loader.args.get("dataset"))


def batch_source(graph: FlowGraph, objects: Mapping[int, Object], batch: Flow) -> Flow | None:
    """The tensor that an item of a ``<batch>`` is cut from: the matching argument of the
    TensorDataset behind the loader, or what ``__getitem__`` of a project's dataset returns. None when the dataset is another one or not known."""
    source = objects.get(-1 if batch.source is None else batch.source)
    if source is None or batch.index is None:
        return None
    dataset = dataset_of(objects, source) if source.kind == "loader" else source
    for _ in range(_DEEPEST_SUBSET):
        if dataset is None:
            return None
        if dataset.cls == "torch.utils.data.TensorDataset":
            value = dataset.args.get(str(batch.index))
            if value is None:
                tensors = dataset.args.get("tensors")
                items = tensors.items if tensors is not None else None
                value = items[batch.index] if items and batch.index < len(items) else None
            return graph.get(value.flow) if value is not None else None
        if dataset.item.items is not None:
            parts = dataset.item.items
            return graph.get(parts[batch.index].flow) if batch.index < len(parts) else None
        if dataset.cls not in ("torch.utils.data.Subset", "torch.utils.data.random_split"):
            return None
        dataset = _object(objects, dataset.args.get("dataset"))
    return None


_DEEPEST_SUBSET = 4


def transform_steps(objects: Mapping[int, Object], dataset: Object) -> tuple[Object, ...] | None:
    """The steps of a dataset's ``transform``, nested Compose flattened; None when any part of it
    is not a known library transform, or there is no transform."""
    value = dataset.args.get("transform")
    if value is None:
        return None
    steps = list(_steps(objects, value))
    return (
        tuple(step for step in steps if step is not None) if steps and None not in steps else None
    )


def _steps(objects: Mapping[int, Object], value: Value) -> Iterator[Object | None]:
    transform = _object(objects, value)
    if transform is None:
        yield None
    elif transform.cls.rpartition(".")[2] in ("Compose", "Sequential"):
        listed = transform.args.get("transforms")
        items = listed.items if listed is not None else None
        if items is None:
            items = tuple(transform.args[key] for key in sorted(transform.args) if key.isdigit())
        if not items:
            yield None
        for item in items:
            yield from _steps(objects, item)
    else:
        yield transform if transform.cls.startswith("torchvision.transforms.") else None


def is_random(step: Object) -> bool:
    """Whether a step of a transform changes an image at random."""
    name = step.cls.rpartition(".")[2]
    return name.startswith("Random") or name in _RANDOM_STEPS


def is_training(objects: Mapping[int, Object], loader: Object) -> bool:
    """Whether a loader's own names or its dataset say that it serves training."""
    words = _words(loader)
    if words & _EVAL_WORDS:
        return False
    dataset = dataset_of(objects, loader)
    if words & _TRAIN_WORDS:
        return dataset is None or not is_evaluation(dataset)
    return dataset is not None and _declared_training(dataset)


def is_evaluating(objects: Mapping[int, Object], loader: Object) -> bool:
    """Whether a loader's own names or its dataset say that it serves validation or test."""
    dataset = dataset_of(objects, loader)
    return bool(_words(loader) & _EVAL_WORDS) or (dataset is not None and is_evaluation(dataset))


def named_for_evaluation(item: Object) -> bool:
    """Whether a loader's or dataset's own names say validation or test, and none says training."""
    words = _words(item)
    return bool(words & _HELD_OUT_WORDS) and not words & _TRAIN_WORDS


def training_loader(objects: Mapping[int, Object], loop: Loop) -> Object | None:
    """The loader a loop iterates, when it was resolved."""
    loader = _object(objects, loop.over)
    return loader if loader is not None and loader.kind == "loader" else None


def is_evaluation(dataset: Object) -> bool:
    """Whether a dataset is declared or named as one for validation or test."""
    train = dataset.args.get("train")
    if train is not None and train.known:
        return train.constant is False
    split = dataset.args.get("split")
    if split is not None and isinstance(split.constant, str):
        return bool(set(_split(split.constant)) & _EVAL_WORDS)
    return bool(_words(dataset) & _EVAL_WORDS)


def _declared_training(dataset: Object) -> bool:
    train, split = dataset.args.get("train"), dataset.args.get("split")
    if train is not None and train.constant is True:
        return train.origin is None or train.origin.kind != "library default"
    if split is not None and split.constant == "train":
        return split.origin is None or split.origin.kind != "library default"
    return bool(_words(dataset) & _TRAIN_WORDS)


def _object(objects: Mapping[int, Object], value: Value | None) -> Object | None:
    return objects.get(value.object) if value is not None and value.object is not None else None


def _words(item: Object) -> set[str]:
    return {word for name in item.names for word in _split(name)}


def _split(name: str) -> list[str]:
    """The words of a name: ``self.trainLoader`` gives self, train, loader."""
    spaced = "".join(f" {c.lower()}" if c.isupper() else c for c in name)
    letters = "".join(c if c.isalpha() else " " for c in spaced)
    return [
        part
        for word in letters.split()
        for part in (word, word.removesuffix("loader").removesuffix("set").removesuffix("data"))
    ]
