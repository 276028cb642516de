"""The table of changes that were tried on the recorded steps, for every kind of report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convlint.gpu_probes.observations.remedies import BETTER, KEEP, SLIGHT, Remedies, Remedy
from convlint.remedies import most_valuable
from convlint.report.text import FAINT, STRONG, Line, count, format_number, one_line
from convlint.sources import display_path

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADINGS = ("change", "predicted", "measured", "what to write")

_STYLE = {BETTER: "bold green", "worse": "bold red"}


def remedy_lines(remedies: Remedies) -> Iterator[Line]:
    """The ranked table for a terminal: what is better in full, the rest on one line each."""
    yield (("Remedies", STRONG), (f": {tried_on(remedies)}.", ""))
    better = 0
    for remedy in remedies.tried:
        if remedy.outcome == BETTER:
            better += 1
            yield (
                (f"  {better:>2}. ", ""),
                (one_line(remedy.change), STRONG),
                (f": {measured_text(remedy)}", ""),
            )
            if remedy.predicted:
                yield _under("predicted", remedy.predicted)
            yield _under("write", written(remedy))
        elif remedy.kind == KEEP:
            yield (("   -  ", ""), (answer(remedies), STRONG))
        else:
            yield (
                ("      ", ""),
                (remedy.outcome, _STYLE.get(remedy.outcome, FAINT)),
                (f": {one_line(remedy.change)}{_beside(remedy)}", FAINT),
            )
    yield ()


def valuable_lines(remedies: Remedies) -> Iterator[Line]:
    """The most valuable changes below a verdict; what to do where there is none."""
    found = most_valuable(remedies)
    if not found:
        yield (("Most valuable change: ", STRONG), (answer(remedies), ""))
        return
    yield (("Most valuable changes:", STRONG),)
    for number, remedy in enumerate(found, 1):
        yield (
            (f"  {number}. ", ""),
            (one_line(remedy.change), STRONG),
            (f": {measured_text(remedy)}; {written(remedy)}", ""),
        )


def answer(remedies: Remedies) -> str:
    """What the table says about the run as it is."""
    keep = next(remedy for remedy in remedies.tried if remedy.kind == KEEP)
    left = keep.loss is not None and remedies.limit is not None and keep.loss >= remedies.limit
    loss = "" if keep.loss is None else f" (loss {'above ' * left}{format_number(keep.loss)})"
    if remedies.tried[0] is keep:
        slight = any(remedy.outcome == SLIGHT for remedy in remedies.tried)
        short_of = "better by much" if slight else "distinguishably better"
        return f"keep the run as it is{loss}: no change tried is {short_of}"
    return f"the run as it is{loss}"


def tried_on(remedies: Remedies) -> str:
    """On what the changes were tried and by what they are judged, in one clause."""
    text = (
        f"{count(len(remedies.tried) - 1, 'change')} tried over {remedies.horizon} steps on"
        f" {count(remedies.batches, 'recorded batch').replace('batchs', 'batches')} in"
        f" {count(remedies.orders, 'order')}, judged by the mean loss on {remedies.held_out}"
        f" others ({format_number(remedies.initial)} at the start)"
    )
    return f"{text}; for all of them that is {remedies.measure}" if remedies.measure else text


def measured_text(remedy: Remedy) -> str:
    """The measured effect with its interval, and what came of it."""
    if remedy.effect is None or remedy.effect.value is None:
        if remedy.kind == KEEP:
            return "" if remedy.loss is None else f"loss {format_number(remedy.loss)}"
        last = next((x for x in reversed(remedy.course) if x is not None), None)
        reached = "" if last is None else f", loss {format_number(last)}"
        return f"{remedy.outcome}{reached}"
    effect = remedy.effect.value
    text = f"loss {'lower' if effect >= 0 else 'higher'} by {format_number(abs(effect))}"
    if remedy.effect.ci is not None:
        low, high = sorted(x if effect >= 0 else -x for x in remedy.effect.ci)
        text += f" ({format_number(low)} to {format_number(high)})"
    if remedy.loss is not None:
        text += f", at {format_number(remedy.loss)}"
    return text if remedy.outcome == BETTER else f"{remedy.outcome}: {text}"


def written(remedy: Remedy) -> str:
    """The code to write, with the line it belongs to where that is known."""
    if remedy.place is None:
        return one_line(remedy.code)
    where = f"{display_path(Path(remedy.place.path))}:{remedy.place.line}"
    return one_line(f"{where}: {remedy.code}")


def rows(remedies: Remedies) -> Iterator[tuple[str, str, str, str, str]]:
    """Outcome, change, predicted, measured and code of every row, the best first."""
    for remedy in remedies.tried:
        if remedy.kind == KEEP:
            yield KEEP, remedy.change, "", measured_text(remedy), ""
        else:
            yield (
                remedy.outcome,
                one_line(remedy.change),
                one_line(remedy.predicted),
                measured_text(remedy),
                written(remedy),
            )


def _beside(remedy: Remedy) -> str:
    text = measured_text(remedy).removeprefix(f"{remedy.outcome}: ").removeprefix(remedy.outcome)
    return f" ({text.lstrip(', ')})" if text else ""


def _under(label: str, text: str) -> Line:
    return (("      ", ""), (f"{label}: ", FAINT), (one_line(text), ""))
