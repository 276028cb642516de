"""The modules the script made: where, under which name, inside which model."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from torch import nn

from convlint.gpu_probes.attach.places import user_place

if TYPE_CHECKING:
    import torch

    from convlint.gpu_probes.observations import Place


class CreationPlaces:
    """The user's line that created each object, for as long as the object lives."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[weakref.ref[Any], Place | None]] = {}

    def remember(self, created: object) -> None:
        """Note the line that is creating ``created`` now; the outermost constructor wins."""
        known = self._places.get(id(created))
        if known is None or known[0]() is not created:
            self._places[id(created)] = (weakref.ref(created), user_place(created))

    def place(self, created: object) -> Place | None:
        """Where ``created`` was made, or None when it was copied or loaded."""
        known = self._places.get(id(created))
        return known[1] if known is not None and known[0]() is created else None

    def living(self) -> list[Any]:
        """The remembered objects that still exist, oldest first."""
        return [made for reference, _ in self._places.values() if (made := reference()) is not None]


class Model:
    """One root module: its name, the names of its modules, the order of their first use.

    ``prefix`` keeps the names of a second and third model apart from the first one's.
    """

    def __init__(self, name: str, root: nn.Module, prefix: str = "") -> None:
        self.name = name
        self.root = root
        self.prefix = prefix
        self.depths: dict[int | str, int] = {}
        self._names: dict[int, str] = {}

    def module_name(self, module: nn.Module) -> str:
        """The dotted name of ``module``; the model's own name for the root, the class name for
        a module the model does not list."""
        if id(module) not in self._names:
            self._names = {id(m): name for name, m in self.root.named_modules()}
        name = self._names.get(id(module))
        if name is None:
            return type(module).__name__
        return f"{self.prefix}{name}" if name else self.name

    def depth(self, module: object) -> int:
        """The order of first use, counted from the input."""
        return self.depths.setdefault(id(module), len(self.depths))

    def named_depth(self, name: str) -> int:
        """The order of first use of an operation that is no module."""
        return self.depths.setdefault(name, len(self.depths))


class ModelRegistry:
    """Which model a module that runs on its own belongs to."""

    def __init__(self, created: CreationPlaces) -> None:
        self._created = created
        self._models: dict[int, Model] = {}
        self._model_of_entry: dict[int, tuple[weakref.ref[nn.Module], Model]] = {}

    @property
    def models(self) -> list[Model]:
        """Every model seen, in order of first use."""
        return list(self._models.values())

    def model_of(self, entry: nn.Module) -> Model:
        """The model whose forward pass starts at ``entry``.

        When the script calls parts of a model itself, the model is the outermost module that
        holds the part.
        """
        known = self._model_of_entry.get(id(entry))
        if known is not None and known[0]() is entry:
            return known[1]
        root = self._outermost(unwrapped(entry))
        model = self._models.get(id(root))
        if model is None:
            name = self._free_name(type(root).__name__)
            prefix = f"{name}." if self._models else ""
            model = self._models[id(root)] = Model(name, root, prefix)
        self._model_of_entry[id(entry)] = (weakref.ref(entry), model)
        return model

    def place(self, module: nn.Module, model: Model | None = None) -> Place | None:
        """Where ``module`` was made; a copied module inherits from the module around it."""
        place = self._created.place(module)
        if place is None and model is not None:
            name = model.module_name(module).removeprefix(model.prefix)
            if module is model.root or _submodule(model.root, name) is None:
                name = ""
            while place is None and "." in name:
                name = name.rpartition(".")[0]
                place = self._created.place(_submodule(model.root, name))
            place = place or self._created.place(model.root)
        return place

    def owner_of(self, leaf: torch.Tensor) -> tuple[nn.Module, str] | None:
        """The living module that holds ``leaf`` directly, with the parameter's name."""
        for module in self._created.living():
            for name, parameter in module.__dict__.get("_parameters", {}).items():
                if parameter is leaf:
                    return module, name
        return None

    def _outermost(self, module: nn.Module) -> nn.Module:
        holders = {
            id(child): holder
            for holder in self._created.living()
            for child in holder.__dict__.get("_modules", {}).values()
            if child is not None
        }
        seen = {id(module)}
        while (holder := holders.get(id(module))) is not None and id(holder) not in seen:
            if any(True for _ in holder.parameters()):
                module = holder
            seen.add(id(module))
        return unwrapped(module)

    def _free_name(self, name: str) -> str:
        taken = {model.name for model in self._models.values()}
        number = 2
        free = name
        while free in taken:
            free, number = f"{name}{number}", number + 1
        return free


def unwrapped(module: nn.Module) -> nn.Module:
    """The user's module inside torch's own wrappers (data parallel, compiled)."""
    while True:
        # The table of a scripted module is no dict: it has `items` and no `get`.
        held = dict(module._modules.items())
        inside = held.get("_orig_mod")
        if inside is None and "Parallel" in type(module).__name__:
            inside = held.get("module")
        if inside is None:
            return module
        module = inside


def _submodule(root: nn.Module, name: str) -> object:
    """The module of that dotted name, or None; scripted modules have no ``get_submodule``."""
    found: object = root
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, nn.Module) else None
