"""What ``probe`` and ``audit`` share: the run itself, and what went wrong with it."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convlint.cli.streams import complain
from convlint.errors import UserError
from convlint.gpu_probes.measurements import budget_of, steps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from convlint.audit import RunVerdict
    from convlint.cost import Cost
    from convlint.engine import Outcome
    from convlint.gpu_probes.observations import Observations
    from convlint.program.facts import TrainingProgram
    from convlint.targets import Target

_MISSING_MODULE = "ModuleNotFoundError:"
_STARTS_PROCESSES = (b"mp.spawn(", b"multiprocessing.spawn(", b"start_processes(")
PROGRAMS = "writes of other programs"
TRAINING = "training"
"""The measurement a probe names as skipped when the script trains where it cannot see."""


class Probed(NamedTuple):
    """What a run gave, and when it was made if it was kept from then (seconds since 1970)."""

    seen: Observations | None
    measured_at: float | None = None


def observe(
    target: Target,
    *,
    tier: str,
    steps: int | None,
    hold: int | None,
    no_hold: bool,
    budget: float | None,
    remedies: bool,
    device: str,
    memory_limit: float | None,
    allow_writes: bool,
    isolate: str,
    allow_network: bool,
    seed: int,
    show_output: bool,
    quiet: bool,
    cache_dir: Path | None,
    no_cache: bool,
) -> Probed:
    """Run the script for a short horizon, with a progress bar where standard error is a terminal.

    A run that was kept answers instead where nothing it rests on has changed, unless the script is
    wanted for what it prints or writes.

    Raises:
        UserError: the script could not be started or gave no answer.
    """
    from convlint.launch import ProbeError, run_probe
    from convlint.report.measured import kept_since
    from convlint.report_store import cache_directory
    from convlint.run_inputs import RunInputs, changed_since
    from convlint.run_store import KeptRun, RunStore, is_complete, question_of

    target.require()
    run: dict[str, Any] = {
        "tier": tier,
        "steps": steps,
        "hold": 0 if no_hold else hold,
        "budget": budget,
        "remedies": remedies,
        "device": device,
        "memory_limit": memory_limit,
        "allow_writes": allow_writes,
        "isolate": isolate,
        "allow_network": allow_network,
        "seed": seed,
    }
    store = None
    if not (no_cache or allow_writes or show_output):
        store = RunStore(cache_directory(cache_dir), question_of(target, run))
        kept = store.recall()
        if kept is not None:
            if not quiet:
                complain(f"{target.shown} is not run again: it was {kept_since(kept.measured_at)}")
            return Probed(kept.observations, kept.measured_at)
    if not quiet:
        writes = "" if allow_writes else "; the files it writes are held back"
        seconds = budget or budget_of(tier, remedies)
        bounds = f"{steps or steps_of(tier, remedies)} steps or {seconds:g} s"
        complain(f"running {target.shown} for up to {bounds}{writes}")
    began = time.time()
    inputs: list[RunInputs] = []
    with _progress() as progress:
        try:
            seen = run_probe(
                target,
                **run,
                progress=progress,
                script_output="stderr" if show_output else "discard",
                on_inputs=inputs.append,
            )
        except ProbeError as error:
            raise UserError(str(error)) from None
    if (
        store is not None
        and inputs
        and not inputs[0].unwatched
        and is_complete(seen)
        and why_not_measured(seen) is None
        and not changed_since(inputs[0].sources, began)
    ):
        store.keep(KeptRun(measured_at=began, inputs=inputs[0], observations=seen))
    return Probed(seen)


def observe_or_explain(target: Target, outcome: Outcome, **run: Any) -> Probed:
    """Run the script; say in one line on standard error what went wrong with it.

    The line becomes a problem of ``outcome`` as well. Nothing was seen when the script could not be
    started or gave no answer.
    """
    probed = Probed(None)
    try:
        probed = observe(target, **run)
        assert probed.seen is not None
        problem = why_not_measured(probed.seen) or crash_after_steps(probed.seen)
        if problem is not None:
            problem.message += _hint(target, probed.seen)
    except UserError as error:
        problem = error
    if problem is not None:
        outcome.problems.append(problem)
        complain(str(problem))
    return probed


def _hint(target: Target, seen: Observations) -> str:
    """What to try when a script could not be measured, where the reason tells; else empty."""
    if _MISSING_MODULE in seen.error:
        interpreter = target.python or sys.executable
        return (
            f"; {interpreter} ran it: install the module there, or name the interpreter"
            " that has it with --python"
        )
    untrained = seen.stopped in ("no-training", "budget") and not seen.backwards
    if untrained and (_starts_python(seen) or _starts_processes(Path(target.script))):
        return (
            "; it starts processes of its own, which are not followed: start one that trains in"
            " the first process, or give the command after --, as in -- torchrun train.py"
        )
    return ""


def _starts_python(seen: Observations) -> bool:
    """Whether the script was seen to start another interpreter."""
    return any(s.measurement == PROGRAMS and "python" in s.reason for s in seen.skipped)


def _starts_processes(script: Path) -> bool:
    from convlint.sources import read_file

    try:
        text = read_file(script)
    except UserError:
        return False
    return any(call in text for call in _STARTS_PROCESSES)


def exit_code(seen: Observations | None, outcome: Outcome) -> int:
    """2 when no step was seen or a rule failed, 1 for failing findings or a crash, else 0."""
    from convlint.cli import EXIT_CANNOT, EXIT_CLEAN, EXIT_FINDINGS

    if seen is None or why_not_measured(seen) is not None or outcome.faults:
        return EXIT_CANNOT
    return EXIT_FINDINGS if outcome.failing or seen.stopped == "crashed" else EXIT_CLEAN


def cost_of_run(seen: Observations | None, target: Target, price: float | None) -> Cost | None:
    """What the whole run will cost; None when no step was seen.

    The source is read only where the running script did not say how long it means to train.
    """
    from convlint.cost import cost_of
    from convlint.engine import check_paths

    if seen is None or not seen.steps:
        return None
    programs: Sequence[TrainingProgram] = ()
    if seen.plan.epochs is None and seen.stopped != "finished" and Path(target.script).is_file():
        programs = check_paths((target.script,), facts_only=True).programs
    return cost_of(seen, programs, price_per_hour=price)


def write_reports(
    files: tuple[Path, ...],
    target: Target,
    outcome: Outcome,
    seen: Observations | None,
    verdict: RunVerdict | None,
    cost: Cost | None,
    measured_at: float | None,
) -> None:
    """Write what --report asks for.

    Raises:
        UserError: a file cannot be written.
    """
    from convlint.report.run import RunReport, write_run

    if not files:
        return
    run = RunReport(
        shown=target.shown,
        findings=outcome.findings,
        problems=(*outcome.problems, *outcome.faults),
        texts=outcome.sources,
        seen=seen,
        verdict=verdict,
        hidden=outcome.hidden,
        cost=cost,
        measured_at=measured_at,
    )
    for file in files:
        write_run(file, run)


def why_not_measured(seen: Observations) -> UserError | None:
    """The problem when nothing could be measured because the script never took a step."""
    if seen.steps or seen.backwards:
        return None
    if seen.stopped == "crashed":
        return _crash(seen, "the script raised before its first step")
    unseen = next((s.reason for s in seen.skipped if s.measurement == TRAINING), None)
    if unseen is not None:
        why = f"nothing could be measured: {unseen}"
    elif seen.stopped == "exited":
        why = f"no training step was seen: {seen.error or 'the script exited'}"
    elif seen.stopped == "budget":
        why = "no training step within the budget; give more with --budget"
    else:
        why = "the script ended without training: no backward pass was seen"
    return UserError(why, path=seen.script)


def crash_after_steps(seen: Observations) -> UserError | None:
    """The problem when the script crashed after some steps were measured."""
    if seen.stopped != "crashed" or why_not_measured(seen) is not None:
        return None
    return _crash(seen, f"the script raised after {seen.steps} steps")


def _crash(seen: Observations, what: str) -> UserError:
    from convlint.sources import display_path

    message = f"{what}: {seen.error}"
    place = seen.error_place
    if place is None:
        return UserError(message, path=seen.script)
    return UserError(message, path=display_path(Path(place.path)), line=place.line)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """A callback that moves a bar on standard error; None when that is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(phase: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None, description=phase)

        yield show
