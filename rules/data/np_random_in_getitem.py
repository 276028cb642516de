"""DAT009: workers that draw the same numbers from NumPy's global generator, before torch 1.9."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Evidence, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.datasets import dataset_of
from convlint.rules.patterns.flows import objects_by_id, one_per_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from convlint.findings import Location
    from convlint.program.facts import Requirement, TrainingProgram, Value

RESEEDED = (1, 9)
"""The first version of torch that gives NumPy's global generator a seed per worker."""

NO_DRAWS = frozenset({"default_rng", "RandomState", "Generator", "SeedSequence", "get_state"})
RESETS = frozenset({"seed", "set_state"})


class NpRandomInGetitem(Rule):
    """Every worker draws the same numbers from NumPy, in the version of PyTorch asked for.

    ## What it does
    Reports `numpy.random` functions in a `__getitem__` whose loader has workers and no
    `worker_init_fn`, where the project asks for a torch older than 1.9: in `requirements.txt`,
    `environment.yml`, `pyproject.toml`, `setup.cfg` or the script's own metadata.

    ## Why it hurts
    Workers are copies of the process, NumPy's generator included. Before 1.9 nothing reseeded it:
    four workers return the same augmentations four times, and those of the first epoch again in
    every other.

    ## Example
        # /// script
        # dependencies = ["torch==1.8.1", "numpy"]
        # ///
        import numpy as np
        import torch

        from torch.utils.data import DataLoader, Dataset

        class Noisy(Dataset):
            def __init__(self, data):
                self.data = data

            def __len__(self):
                return len(self.data)

            def __getitem__(self, index):
                return self.data[index] + np.random.normal()

        loader = DataLoader(Noisy(torch.randn(512, 8)), batch_size=64, shuffle=True, num_workers=4)

    ## Use instead
        # /// script
        # dependencies = ["torch>=1.9", "numpy"]
        # ///
        import numpy as np
        import torch

        from torch.utils.data import DataLoader, Dataset

        class Noisy(Dataset):
            def __init__(self, data):
                self.data = data

            def __len__(self):
                return len(self.data)

            def __getitem__(self, index):
                return self.data[index] + np.random.normal()

        loader = DataLoader(Noisy(torch.randn(512, 8)), batch_size=64, shuffle=True, num_workers=4)

    ## When it is fine
    No workers; a `worker_init_fn` that reseeds; numbers from `torch` or from a generator made from
    the index; any project that may be run with torch 1.9 or newer, or does not say.

    ## Measured
    Not measured.

    ## References
    - PyTorch issue 5059 and pull request 56488: the NumPy seed of workers
    """

    code, slug, severity = "DAT009", "np-random-in-getitem", Severity.INFO
    default = False
    unmeasured_because = "the probe sees batches, not how they were put together"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per draw."""
        asked = program.requirements
        if not asked or not all(map(is_older, asked)):
            return
        objects = objects_by_id(program)
        loaded = {
            dataset.cls.rpartition(".")[2]: loader
            for loader in program.objects
            if loader.kind is ObjectKind.LOADER and _has_bare_workers(loader.args)
            for dataset in (dataset_of(objects, loader),)
            if dataset is not None
        }
        draws = [
            (call, within.removesuffix(".__getitem__"))
            for call in program.calls
            if call.name.startswith("numpy.random.")
            for within in call.within
            if within.endswith(".__getitem__")
        ]
        seeded = {owner for call, owner in draws if call.name.rpartition(".")[2] in RESETS}
        reported: set[Location] = set()
        for call, owner in draws:
            loader = loaded.get(owner)
            if loader is None or owner in seeded or call.name.rpartition(".")[2] in NO_DRAWS:
                continue
            if one_per_place(reported, call.location):
                yield self.finding(
                    call.location,
                    f"each worker draws the same numbers from `{call.name}`, and the same again "
                    "every epoch: before torch 1.9 nothing reseeds NumPy",
                    help="draw from `torch`, or give the loader a `worker_init_fn` that calls "
                    "`numpy.random.seed(torch.initial_seed() % 2**32)`",
                    related=(
                        Related(loader.location, "the loader with workers"),
                        Related(asked[0].location, "the version asked for"),
                    ),
                    evidence=(Evidence("static", "every requirement on torch is below 1.9"),),
                )


def _has_bare_workers(args: Mapping[str, Value]) -> bool:
    """Whether a loader surely has workers and nothing that reseeds them."""
    workers, starts = args.get("num_workers"), args.get("worker_init_fn")
    if workers is None or (workers.number or 0) <= 0 or "**" in args:
        return False
    return starts is None or (starts.known and starts.constant is None)


def is_older(requirement: Requirement) -> bool:
    """Whether no version a requirement allows reseeds NumPy."""
    return any(_ends_before(*clause) for clause in requirement.clauses or ())


def _ends_before(operator: str, version: str) -> bool:
    numbers = tuple(int(part) for part in version.removesuffix(".*").split("."))
    if operator == "~=":
        numbers = numbers[:-1]
    if operator == "~=" or version.endswith(".*"):
        # any version that begins so; 1.* goes on to 1.13
        return numbers[:2] < RESEEDED if len(numbers) > 1 else numbers < RESEEDED[:1]
    if operator in ("==", "===", "<="):
        return numbers < RESEEDED
    return operator == "<" and numbers <= (*RESEEDED, *[0] * len(numbers))
