"""TensorBoard event files, through TensorBoard's own reader (``pip install 'convlint[logs]'``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from convlint.curves.readers.text import Row

NEEDED = "TensorBoard event files are read by tensorboard: pip install 'convlint[logs]'"


def is_event_file(file: Path) -> bool:
    """Whether it is called as TensorBoard calls its files."""
    return ".tfevents." in file.name


def rows_of_directory(directory: Path) -> Iterator[Row]:
    """The rows of every event file below ``directory``; tags of ``train/`` and ``validation/``
    below it carry that name in front.

    Raises:
        UserError: there is no event file, or tensorboard is not installed.
    """
    files = sorted(file for file in directory.rglob("*") if file.is_file() and is_event_file(file))
    if not files:
        raise UserError(
            "no TensorBoard event file in this directory; name a log file", path=str(directory)
        )
    for file in files:
        inside = "/".join(file.parent.relative_to(directory).parts)
        yield from rows(file, f"{inside}/" if inside else "")


def rows(file: Path, prefix: str = "") -> Iterator[Row]:
    """One row for each scalar; its line is its number in the file.

    A last record cut off, as a killed run leaves it, ends the file.

    Raises:
        UserError: tensorboard is not installed, or the first record is broken.
    """
    index = 0
    for event in _events(file):
        for value in event.summary.value:
            found = _scalar(value)
            if found is not None:
                index += 1
                yield index, {"step": float(event.step), f"{prefix}{value.tag}": found}
    if not index:
        raise UserError(
            "the event file holds no scalar (cut off, or nothing was logged)", path=str(file)
        )


def _scalar(value: Any) -> float | None:
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if value.HasField("tensor"):
        from tensorboard.util import tensor_util

        numbers = tensor_util.make_ndarray(value.tensor)
        if numbers.size == 1 and numbers.dtype.kind in "fiu":
            return float(numbers.reshape(())[()])
    return None


def _events(file: Path) -> Iterator[Any]:
    try:
        from tensorboard.backend.event_processing import event_file_loader
    except ImportError:
        raise UserError(NEEDED, path=str(file)) from None
    import logging

    # It reports a file that ends within a record, which is normal while a run goes on.
    logging.getLogger("tensorboard").setLevel(logging.CRITICAL)
    try:
        yield from event_file_loader.LegacyEventFileLoader(str(file)).Load()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"broken event file: {type(error).__name__}: {error}", path=str(file)
        ) from None
