"""``convlint self-test``: are the probe's measurements right on this device?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from convlint.cli.run_options import device_option
from convlint.cli.sections import SectionedCommand, option
from convlint.errors import UserError

if TYPE_CHECKING:
    from convlint.gpu_probes.ground_truths import Outcome


@click.command(
    "self-test",
    cls=SectionedCommand,
    short_help="Measure what is known beforehand, on this device.",
)
@device_option
@option(
    "--output-format",
    section="Output",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="text: a line for each ground truth; json: for programs.",
)
def command(device: str, output_format: str) -> int:
    """Measure quantities whose value is known beforehand, on the device a probe would use.

    Closed forms (the gradient of a deep linear network, the first step of Adam), an eigenvalue with
    its certificate, replays of a recorded step to the bit. Prints what was expected and what was
    measured; takes some seconds. Nothing of yours is run.

    \b
    Examples:
      convlint self-test
      convlint self-test --device cuda
      convlint self-test --output-format json

    \b
    Exit codes:
      0  every measurement agrees
      1  one is off
      2  it could not be run: torch is missing, or there is no such device
    """
    from convlint.cli import EXIT_CLEAN, EXIT_FINDINGS

    try:
        import torch

        from convlint.gpu_probes.ground_truths import check
    except ImportError as error:
        raise UserError(
            f"self-test needs torch and numpy: pip install torch numpy ({error})"
        ) from None
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"--device {device}: torch sees no CUDA device")
    try:
        where = torch.device(device)
        torch.zeros(1, device=where)
    except RuntimeError as error:
        raise UserError(f"--device {device}: {str(error).splitlines()[0]}") from None
    outcomes = []
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu"
    if output_format == "text":
        click.echo(f"Ground truths on {name}, torch {torch.__version__}:")
    for outcome in check(where):
        outcomes.append(outcome)
        if output_format == "text":
            click.echo(_line(outcome))
    off = [outcome for outcome in outcomes if not outcome.holds]
    if output_format == "json":
        truths = [_plain(outcome) for outcome in outcomes]
        report = {"device": name, "torch": str(torch.__version__), "ground_truths": truths}
        click.echo(json.dumps(report, indent=2))
    elif off:
        click.echo(f"{len(off)} of {len(outcomes)} are off: do not trust a probe on this device.")
    else:
        click.echo(f"All {len(outcomes)} agree.")
    return EXIT_FINDINGS if off else EXIT_CLEAN


def _line(outcome: Outcome) -> str:
    truth = outcome.truth
    verdict = "ok " if outcome.holds else "OFF"
    measured = outcome.error if outcome.measured is None else f"{outcome.measured:.6g}"
    within = f"± {truth.tolerance:.1g}" if truth.tolerance else "exactly"
    return (
        f"  {verdict}  {truth.name}: expected {truth.expected:.6g} {within}, measured {measured}"
        f"  ({truth.reason})"
    )


def _plain(outcome: Outcome) -> dict[str, object]:
    return {
        "name": outcome.truth.name,
        "expected": outcome.truth.expected,
        "tolerance": outcome.truth.tolerance,
        "measured": outcome.measured,
        "holds": outcome.holds,
        "error": outcome.error,
        "seconds": round(outcome.seconds, 3),
    }
