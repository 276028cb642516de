from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from made_up_runs import HEALTHY

from convlint.cli.group import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from convlint.gpu_probes.observations import Observations
    from convlint.run_inputs import RunInputs


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


@pytest.fixture
def run(monkeypatch):
    """Make ``run_probe`` return (or raise) what a test says; remembers how it was called."""

    class Run:
        seen: Observations | Exception = HEALTHY
        inputs: RunInputs | None = None
        called: tuple[tuple[object, ...], dict[str, object]] | None = None

        def __call__(self, *arguments, **options):
            self.called = (arguments, options)
            if isinstance(self.seen, BaseException):
                raise self.seen
            if self.inputs is not None:
                options["on_inputs"](self.inputs)
            return self.seen

    made_up = Run()
    monkeypatch.setattr("convlint.launch.run_probe", made_up)
    return made_up
