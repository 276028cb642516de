"""Finds the settings that hold for a file: those of its nearest configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from convlint.configuration import FILE_NAMES, find_layers, read_layers
from convlint.errors import UserError
from convlint.settings import Overrides, Settings

if TYPE_CHECKING:
    from convlint.configuration import Layer


class SettingsFinder:
    """Finds and remembers the settings of each directory."""

    def __init__(self, overrides: Overrides | None = None) -> None:
        self._overrides = overrides or Overrides()
        self._by_directory: dict[str, Settings] = {}
        self._default: Settings | None = None
        self._without_file: set[str] = set()

    def know(self, directory: str, names: frozenset[str]) -> None:
        """Take ``names`` for all that is in the absolute ``directory``: no need to look there."""
        if names.isdisjoint(FILE_NAMES):
            self._without_file.add(directory)

    def for_file(self, path: Path) -> Settings:
        """Settings of the configuration nearest to this file.

        Raises:
            UserError: that configuration has a mistake.
        """
        return self.for_directory(Path(os.path.abspath(path)).parent)  # noqa: PTH100

    def for_directory(self, directory: Path) -> Settings:
        """Settings of the configuration in or above this directory.

        Raises:
            UserError: that configuration has a mistake.
        """
        absolute = os.path.abspath(directory)  # noqa: PTH100
        known = self._by_directory.get(absolute)
        if known is None:
            known = self._look(Path(absolute))
            self._by_directory[absolute] = known
        return known

    def _look(self, directory: Path) -> Settings:
        if not self._overrides.isolated and self._overrides.file is None:
            layers = None if str(directory) in self._without_file else find_layers(directory)
            if layers is not None:
                return Settings(layers, self._overrides)
            if directory.parent != directory:
                return self.for_directory(directory.parent)
        if self._default is None:
            self._default = Settings(self._without_search(), self._overrides)
        return self._default

    def _without_search(self) -> tuple[Layer, ...]:
        """What holds where no file is looked for, or none is found."""
        file = self._overrides.file
        if file is None or self._overrides.isolated:
            return ()
        layers = read_layers(file, root=Path.cwd())
        if layers is None:
            what = "holds no [tool.convlint]" if file.is_file() else "no such configuration file"
            raise UserError(what, path=str(file))
        return layers
