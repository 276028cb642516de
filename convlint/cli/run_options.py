"""The options of ``probe`` and ``audit``: what is run, how long, where, and what is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from convlint.cli.check_options import keeping_options
from convlint.cli.options import OUTPUT, applied, output_format_option, selection_options
from convlint.cli.sections import option
from convlint.gpu_probes.attach.settings import ISOLATIONS
from convlint.gpu_probes.measurements import REMEDY_SECONDS, STANDARD, TIERS

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = "The run"

Command = TypeVar("Command", bound="Callable[..., Any]")


def _device(_: click.Context, __: click.Parameter, value: str) -> str:
    name, colon, index = value.partition(":")
    if value in ("auto", "cpu", "cuda") or (name == "cuda" and colon and index.isdecimal()):
        return value
    raise click.BadParameter(f"{value!r} is none of auto, cpu, cuda and cuda:N")


device_option = option(
    "--device",
    section=RUN,
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]",
    callback=_device,
    help="Where the measurements run; cpu also hides CUDA from the script.",
)
"""Where to measure."""


def run_options(command: Command) -> Command:
    """What is run, how long and where, and the options of every command."""
    return applied(
        (
            click.argument(
                "words", nargs=-1, type=click.UNPROCESSED, metavar="SCRIPT [-- ARGS]..."
            ),
            option(
                "-m",
                "--module",
                section=RUN,
                metavar="NAME",
                help="Run a module, as python -m does; what is given as SCRIPT and ARGS goes to it.",
            ),
            option(
                "--tier",
                section=RUN,
                type=click.Choice(list(TIERS)),
                default=STANDARD,
                show_default=True,
                help="How thoroughly to measure. quick: what the steps themselves show; standard:"
                " also curvature, learning rates and one batch by heart, on recorded steps; deep:"
                " the same with more steps, batches and iterations, and --remedies. What is left"
                " out is listed.",
            ),
            option(
                "--steps",
                section=RUN,
                type=click.IntRange(min=1),
                help=f"Real optimizer steps to run.  {_per_tier('steps')}",
            ),
            option(
                "--hold",
                section=RUN,
                type=click.IntRange(min=0),
                metavar="BATCHES",
                help="Batches seen at the initial parameters, before any real step."
                f"  {_per_tier('hold')}",
            ),
            option(
                "--no-hold",
                section=RUN,
                is_flag=True,
                help="Take real steps from the first batch on; nothing is measured at rest.",
            ),
            option(
                "--budget",
                section=RUN,
                type=click.FloatRange(min=0, min_open=True),
                metavar="SECONDS",
                help="Stop after this long, wherever the script is, and begin nothing that takes"
                f" longer than what is left.  {_per_tier('budget')}",
            ),
            option(
                "--remedies",
                section=RUN,
                is_flag=True,
                help="Also try changes of the run (learning rate, warm-up, clipping, optimizer,"
                " initial weights, and corrections of what was found) on recorded steps, and rank"
                " them by a paired test. Part of --tier deep; adds"
                f" {REMEDY_SECONDS:g} s to the default budget of the others.",
            ),
            device_option,
            option(
                "--python",
                section=RUN,
                metavar="PATH",
                help="The interpreter that runs the script; it needs torch and numpy."
                "  [default: that of the command, else the one convlint runs in]",
            ),
            option(
                "--memory-limit",
                section=RUN,
                type=click.FloatRange(min=0, min_open=True),
                metavar="GIB",
                help="Stop the script when it and its workers hold more memory."
                "  [default: 90% of what is free]",
            ),
            option(
                "--seed",
                section=RUN,
                type=int,
                default=0,
                show_default=True,
                help="Seed Python, NumPy and Torch before the script starts.",
            ),
            option(
                "--allow-writes",
                section=RUN,
                is_flag=True,
                help="Let the script write files (checkpoints, logs) instead of holding them back.",
            ),
            option(
                "--isolate",
                section=RUN,
                type=click.Choice(ISOLATIONS),
                default="auto",
                show_default=True,
                help="How writes are held back. overlay: also those of other programs and of C++"
                " code, by a layer in memory over the working directory (Linux, where mounting is"
                " allowed); patches: those of Python alone; auto: overlay where it can be.",
            ),
            option(
                "--allow-network",
                section=RUN,
                is_flag=True,
                help="Let the script reach other machines after training has begun, too.",
            ),
            option(
                "--show-output",
                section=RUN,
                is_flag=True,
                help="Pass what the script prints on to standard error; it is dropped otherwise.",
            ),
            option(
                "--price-per-hour",
                section=RUN,
                type=click.FloatRange(min=0),
                metavar="AMOUNT",
                help="What an hour of the machine costs, in any currency: the report then says what"
                " the whole run and the probe cost.",
            ),
            selection_options,
            output_format_option,
            option(
                "--report",
                section=OUTPUT,
                multiple=True,
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Also write a report to this file: .html for a page with plots that needs"
                " no network, .md for a pull request's comment. May be given for each.",
            ),
            option(
                "-q",
                "--quiet",
                section=OUTPUT,
                is_flag=True,
                help="Print findings and nothing else.",
            ),
            keeping_options,
        ),
        command,
    )


def _per_tier(quantity: str) -> str:
    """The defaults of a number that the tier decides, as ``--help`` shows defaults."""
    values = {tier: f"{getattr(size, quantity):g}" for tier, size in TIERS.items()}
    if len(set(values.values())) == 1:
        return f"[default: {values[STANDARD]}]"
    return f"[default: {', '.join(f'{tier} {value}' for tier, value in values.items())}]"
