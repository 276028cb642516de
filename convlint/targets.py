"""What ``probe`` and ``audit`` are asked to run: a script, a module, a notebook, a command line."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_PYTHON = re.compile(r"(?:python|pypy)(?:\d(?:\.\d+)?)?(?:\.exe)?")
_OPTION_WITH_VALUE = re.compile(r"-[WX]|--check-hash-based-pycs")
_TORCHRUN_MODULE = "torch.distributed.run"
# Options of launchers that take no value; every other one does.
_TORCHRUN_SWITCHES = {"--standalone", "--virtual-local-rank"}
_TORCHRUN_UNFOLLOWED = {"--no-python", "--run-path"}
ACCELERATE = "accelerate"
_ACCELERATE_MODULE = "accelerate.commands.launch"
_ACCELERATE_SWITCHES = {
    "-q", "--quiet", "--cpu", "--multi-gpu", "--enable-cpu-affinity", "--dynamo-use-fullgraph",
    "--dynamo-use-dynamic", "--dynamo-use-regional-compilation", "--use-deepspeed", "--use-fsdp",
    "--use-parallelism-config", "--use-megatron-lm", "--same-network", "--downcast-bf16",
    "--fp8-use-autocast-during-eval", "--debug",
}  # fmt: skip
_ACCELERATE_UNFOLLOWED = {"--no-python", "--tpu", "--tpu-cluster", "--tpu-use-sudo"}
_CHOOSES_MEETING_POINT = re.compile(r"--(?:rdzv|master|standalone)")


@dataclass(frozen=True)
class Target:
    """A training program as it is started.

    ``script`` is its file (of a module, its name where the file is not known), ``arguments`` what
    it is given, ``module`` the name after ``-m``. ``python`` and ``python_options`` come from a
    command line. ``torchrun`` are the options of a ``launcher`` of processes before the script
    (``torchrun`` or ``accelerate``), None without one.
    """

    script: str
    arguments: tuple[str, ...] = ()
    module: str = ""
    python: str | None = None
    python_options: tuple[str, ...] = ()
    torchrun: tuple[str, ...] | None = None
    launcher: str = "torchrun"

    def require(self) -> None:
        """Raise UserError unless there is a file to run, or a module that may be found later."""
        path = Path(self.script)
        if self.module and not path.exists():
            return
        if path.is_dir():
            raise UserError("a directory; give the script that trains", path=self.script)
        if not path.is_file():
            missing = "a symbolic link that leads nowhere" if path.is_symlink() else "no such file"
            raise UserError(missing, path=self.script)

    @property
    def shown(self) -> str:
        """How it is called in messages."""
        name = f"-m {self.module}" if self.module else self.script
        if self.torchrun is None:
            return name
        return f"accelerate launch {name}" if self.launcher == ACCELERATE else f"torchrun {name}"

    @property
    def launcher_module(self) -> str:
        """The module whose command starts the processes."""
        return _ACCELERATE_MODULE if self.launcher == ACCELERATE else _TORCHRUN_MODULE


def target_of(
    words: Sequence[str], *, module: str | None = None, python: str | None = None
) -> Target:
    """The program that ``words`` start: a script and its arguments, or a whole command line.

    With ``module`` all words are its arguments. Command lines are ``python [OPTIONS] SCRIPT|-m
    MODULE ARGS``, and the same with ``torchrun`` or ``accelerate launch``.

    Raises:
        UserError: nothing to run is named, or the command cannot be followed.
    """
    if module is not None:
        return Target(_file_of(module), tuple(words), module=module, python=python)
    if not words:
        raise UserError("give a script, -m MODULE, or a command after --")
    first, rest = words[0], words[1:]
    if not Path(first).is_file() or os.access(first, os.X_OK):
        name = Path(first).name
        command = None
        if _PYTHON.fullmatch(name):
            command = _python_command(_found(first), rest)
        elif name == "torchrun":
            command = replace(_torchrun(rest), python=_python_beside(shutil.which(first)))
        elif name == ACCELERATE:
            if list(rest[:1]) != ["launch"]:
                raise UserError("of accelerate only `accelerate launch SCRIPT` can be followed")
            command = replace(_accelerate(rest[1:]), python=_python_beside(shutil.which(first)))
        elif "/" not in first and not first.endswith((".py", ".ipynb")) and shutil.which(first):
            raise UserError(
                f"cannot follow the command {first}; give the script itself, `python SCRIPT`, "
                "`torchrun SCRIPT` or `accelerate launch SCRIPT`"
            )
        if command is not None:
            return command if python is None else replace(command, python=python)
    return Target(first, tuple(rest), python=python)


def _found(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise UserError(f"{program}: no such program")
    return found


def _python_beside(torchrun: str | None) -> str | None:
    """The interpreter torchrun is installed for, where it is found."""
    beside = Path(torchrun).parent / "python" if torchrun else None
    return str(beside) if beside is not None and beside.exists() else None


def _python_command(python: str, words: Sequence[str]) -> Target:
    options: list[str] = []
    position = 0
    while position < len(words) and words[position].startswith("-"):
        word = words[position]
        if word in ("-", "-c"):
            raise UserError("only code in a file can be probed: give a script or -m MODULE")
        if word == "-m":
            if position + 1 == len(words):
                raise UserError("python -m: the module is missing")
            module, rest = words[position + 1], words[position + 2 :]
            if module in (_TORCHRUN_MODULE, "torch.distributed.launch"):
                return replace(_torchrun(rest), python=python, python_options=tuple(options))
            if module == _ACCELERATE_MODULE:
                return replace(_accelerate(rest), python=python, python_options=tuple(options))
            return Target(_file_of(module), tuple(rest), module, python, tuple(options))
        options.append(word)
        if _OPTION_WITH_VALUE.fullmatch(word) and position + 1 < len(words):
            position += 1
            options.append(words[position])
        position += 1
    if position == len(words):
        raise UserError("the command names no script: python SCRIPT or python -m MODULE")
    return Target(
        words[position], tuple(words[position + 1 :]), "", python, python_options=tuple(options)
    )


def _torchrun(words: Sequence[str]) -> Target:
    options, module, position = _launcher_options(
        "torchrun", words, _TORCHRUN_SWITCHES, _TORCHRUN_UNFOLLOWED, "--nnodes", ("1", "1:1")
    )
    if not any(_CHOOSES_MEETING_POINT.match(option) for option in options):
        # A port of its own, so that a job already running here is not met.
        options.insert(0, "--standalone")
    named, rest = words[position], tuple(words[position + 1 :])
    if module:
        return Target(_file_of(named), rest, named, torchrun=tuple(options))
    return Target(named, rest, torchrun=tuple(options))


def _accelerate(words: Sequence[str]) -> Target:
    options, module, position = _launcher_options(
        "accelerate launch",
        words,
        _ACCELERATE_SWITCHES,
        _ACCELERATE_UNFOLLOWED,
        "--num-machines",
        ("1",),
    )
    if not any(option.replace("_", "-").startswith("--main-process-port") for option in options):
        # A free port, so that a job already running here is not met.
        options += ["--main_process_port", "0"]
    named, rest = words[position], tuple(words[position + 1 :])
    script = _file_of(named) if module else named
    return Target(
        script, rest, named if module else "", torchrun=tuple(options), launcher=ACCELERATE
    )


def _launcher_options(
    launcher: str,
    words: Sequence[str],
    switches: Collection[str],
    unfollowed: Collection[str],
    machines: str,
    one_machine: Collection[str],
) -> tuple[list[str], bool, int]:
    """The options before the script, whether it is given as a module, and where it stands.

    ``switches`` take no value, ``unfollowed`` cannot be probed, and neither can more machines than
    the option ``machines`` has in ``one_machine``. Dashes and underscores are the same.

    Raises:
        UserError: such an option is there, or no script is.
    """
    options: list[str] = []
    module = False
    position = 0
    while position < len(words) and words[position].startswith("-"):
        word = words[position]
        said, equals, value = word.partition("=")
        name = said.replace("_", "-")
        position += 1
        if name in unfollowed:
            raise UserError(f"{launcher} {said} cannot be followed; give it a Python script")
        if name in ("-m", "--module"):
            module = True
            continue
        options.append(word)
        if name not in switches and not equals and position < len(words):
            value = words[position]
            options.append(value)
            position += 1
        if name == machines and value not in one_machine:
            raise UserError(f"{launcher} {said} {value}: only one machine can be probed")
    if position == len(words):
        raise UserError(f"the command names no script: {launcher} [OPTIONS] SCRIPT")
    return options, module, position


def _file_of(module: str) -> str:
    """The file of a module below the working directory or PYTHONPATH, else the module's name."""
    inside = Path(*module.split("."))
    for entry in ("", *os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        for file in (Path(entry) / inside.with_suffix(".py"), Path(entry) / inside / "__main__.py"):
            if file.is_file():
                return str(file)
    return module
