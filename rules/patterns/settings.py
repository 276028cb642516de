"""Numbers an optimizer is built with: where they stand, and where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from convlint.findings import Related
from convlint.program.facts import ObjectKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram, Value

_LIBRARY_DEFAULT = "library default"
_PACKAGES = ("torch.optim.", "transformers.")


class Setting(msgspec.Struct, frozen=True):
    """One number of one optimizer: the number and where it stands."""

    number: float
    value: Value
    optimizer: Object

    @property
    def location(self) -> Location:
        """The argument, or the constructor when the argument's place is not known."""
        return self.value.location or self.optimizer.location

    @property
    def text(self) -> str:
        """The number, with its origin when it was not written on the spot."""
        origin = self.value.origin
        if origin is None or origin.kind == "literal" or not origin.text:
            return f"{self.number:g}"
        return f"{self.number:g} ({origin.text})"

    @property
    def related(self) -> tuple[Related, ...]:
        """The place the number comes from, when that is another one."""
        origin = self.value.origin
        if origin is None or origin.location is None or origin.location == self.location:
            return ()
        return (Related(origin.location, "the value comes from here"),)

    @property
    def given(self) -> bool:
        """Whether the script gives it, rather than the library's signature."""
        return self.value.origin is None or self.value.origin.kind != _LIBRARY_DEFAULT


def settings(optimizer: Object, *names: str) -> Iterator[Setting]:
    """Every number given under one of ``names``: those of the groups, and the common one unless
    every group has its own."""
    groups = optimizer.args.get("params")
    given = 0
    items = (groups.items if groups is not None else None) or ()
    for group in items:
        for key, value in zip(group.keys or (), group.items or (), strict=False):
            if key in names:
                given += 1
                if value.number is not None:
                    yield Setting(value.number, value, optimizer)
    if items and given == len(items):
        return
    for name in names:
        common = optimizer.args.get(name)
        if common is not None and common.number is not None:
            yield Setting(common.number, common, optimizer)


def optimizers_of(program: TrainingProgram, *classes: str) -> Iterator[Object]:
    """The optimizers torch.optim (or transformers) provides, of these classes (of any without)."""
    for item in program.objects:
        if item.kind is not ObjectKind.OPTIMIZER or not item.cls.startswith(_PACKAGES):
            continue
        if not classes or optimizer_class(item) in classes:
            yield item


def optimizer_class(optimizer: Object) -> str:
    """The class of an optimizer without its package: ``AdamW``."""
    return optimizer.cls.rpartition(".")[2]
