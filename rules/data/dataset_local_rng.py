"""DAT008: workers that draw the same random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Evidence,
    Finding,
    Related,
    Severity,
)
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.datasets import (
    dataset_of,
)
from convlint.rules.patterns.flows import (
    objects_by_id,
    one_per_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Object,
        TrainingProgram,
    )

GENERATORS = frozenset(
    {"numpy.random.default_rng", "numpy.random.RandomState", "random.Random", "torch.Generator"}
)


class DatasetLocalRng(Rule):
    """Every worker draws the same random numbers, and again in every epoch.

    ## What it does
    Reports a generator that a dataset makes in its constructor and draws from in `__getitem__`,
    where the loader has workers and no `worker_init_fn`.

    ## Why it hurts
    Each worker gets a copy of the dataset, generator state included: four workers return the same
    four draws, and since the copies are made anew every epoch, the augmentation of epoch two is
    that of epoch one. PyTorch reseeds its own and the global generators per worker, not those in
    your objects.

    ## Example
        import numpy as np
        import torch
        from torch import nn

        from torch.utils.data import DataLoader, Dataset

        class Noisy(Dataset):
            def __init__(self, data):
                self.data = data
                self.rng = np.random.default_rng(0)

            def __len__(self):
                return len(self.data)

            def __getitem__(self, index):
                return self.data[index] + self.rng.normal()

        loader = DataLoader(Noisy(torch.randn(512, 8)), batch_size=64, shuffle=True, num_workers=4)

    ## Use instead
        import numpy as np
        import torch
        from torch import nn

        from torch.utils.data import DataLoader, Dataset

        class Noisy(Dataset):
            def __init__(self, data):
                self.data = data
                self.seed = 0

            def __len__(self):
                return len(self.data)

            def __getitem__(self, index):
                rng = np.random.default_rng((self.seed, index))
                return self.data[index] + rng.normal()

        loader = DataLoader(Noisy(torch.randn(512, 8)), batch_size=64, shuffle=True, num_workers=4)

    ## When it is fine
    No workers; a `worker_init_fn` that reseeds; a generator made from the index.

    ## Measured
    Not measured.

    ## References
    - PyTorch, notes on randomness: `torch.utils.data` workers
    """

    code, slug, severity = "DAT008", "dataset-local-rng", Severity.WARNING
    unmeasured_because = "the probe sees batches, not how they were put together"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per generator."""
        objects = objects_by_id(program)
        reported: set[Location] = set()
        for loader in program.objects:
            workers, starts = loader.args.get("num_workers"), loader.args.get("worker_init_fn")
            dataset = dataset_of(objects, loader) if loader.kind is ObjectKind.LOADER else None
            if (
                dataset is None
                or workers is None
                or (workers.number or 0) <= 0
                or "**" in loader.args
            ):
                continue
            if starts is not None and not (starts.known and starts.constant is None):
                continue
            used = _reached(dataset, "__getitem__")
            for name, value in dataset.attributes.items():
                generator = objects.get(-1 if value.object is None else value.object)
                if generator is None or generator.cls not in GENERATORS or name not in used:
                    continue
                if not any(w.endswith(".__init__") for w in generator.within):
                    continue
                if one_per_place(reported, generator.location):
                    yield self.finding(
                        generator.location,
                        f"each of the {workers.number:g} workers copies `self.{name}`: all draw the "
                        "same numbers, and the same again every epoch",
                        help="make the generator from the index in `__getitem__`, or reseed it in a "
                        "`worker_init_fn` from `torch.initial_seed()`",
                        related=(Related(loader.location, "the loader with workers"),),
                        evidence=(
                            Evidence("static", f"`self.{name}` is drawn from in __getitem__"),
                        ),
                    )


def _reached(dataset: Object, method: str) -> set[str]:
    """The attributes a method names, and those of the methods it calls."""
    found: set[str] = set()
    pending = [method]
    while pending:
        for name in dataset.mentions.get(pending.pop(), ()):
            if name not in found:
                found.add(name)
                pending.append(name)
    return found
