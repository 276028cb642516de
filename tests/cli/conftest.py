from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from convlint.cli.group import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result


@pytest.fixture
def convlint(tmp_path, monkeypatch) -> Callable[..., Result]:
    """Run the command line in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, input: bytes | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), input=input, prog_name="convlint")

    return run


@pytest.fixture
def write(tmp_path):
    def write_file(name: str, *lines: str) -> None:
        (tmp_path / name).write_text("import torch\n" + "".join(line + "\n" for line in lines))

    return write_file
