"""The project around a file, with a record of what was asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from convlint.dependencies import Record
from convlint.program.index import ProjectIndex, SourceModule
from convlint.program.libraries.kinds import ML_ROOTS

if TYPE_CHECKING:
    from convlint.program.configuration_files import Configuration


class RecordingIndex(ProjectIndex):
    """Notes every module that is looked up and looked into in ``record``."""

    def __init__(self, replaced: Mapping[Path, bytes] = MappingProxyType({})) -> None:
        super().__init__(replaced)
        self.record = Record()

    def load(self, file: Path) -> SourceModule | None:
        """The parsed module, or None when it cannot be read or parsed."""
        self.record.read(str(file))
        return super().load(file)

    def read_configuration(self, file: Path) -> Configuration | None:
        """The YAML, JSON or TOML file at an absolute path; None when it cannot be read."""
        self.record.read(str(file))
        return super().read_configuration(file)

    def read_text(self, file: Path) -> str | None:
        """The text of a small file at an absolute path; None when it cannot be read."""
        self.record.read(str(file))
        return super().read_text(file)

    def resolve(self, name: str, level: int, importer: Path, root: Path | None) -> Path | None:
        """The file of module ``name`` as imported (``level`` leading dots) by ``importer``."""
        if not level and name.partition(".")[0] in ML_ROOTS:
            return None
        found = super().resolve(name, level, importer, root)
        self.record.resolved(str(importer), "." * level + name, str(found or ""))
        return found
