"""TensorBoard event files, through TensorBoard's own reader (``pip install 'convlint[logs]'``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from convlint.curves.readers.text import Row

_RECORD_FRAME = 16
"""Bytes of length and check sums around each record of an event file."""
_NOTHING = "the {} no scalar (cut off, or nothing was logged)"
NEEDED = "TensorBoard event files are read by tensorboard: pip install 'convlint[logs]'"


def is_event_file(file: Path) -> bool:
    """Whether it is called as TensorBoard calls its files."""
    return ".tfevents." in file.name


def rows_of_directory(directory: Path, remarks: list[str]) -> Iterator[Row]:
    """The rows of every event file below ``directory``; tags of ``train/`` and ``validation/``
    below it carry that name in front. What of them is broken is told in ``remarks``.

    Raises:
        UserError: there is no event file with a scalar, or tensorboard is not installed.
    """
    files = sorted(file for file in directory.rglob("*") if file.is_file() and is_event_file(file))
    if not files:
        raise UserError(
            "no TensorBoard event file in this directory; name a log file", path=str(directory)
        )
    found = False
    for file in files:
        inside = "/".join(file.parent.relative_to(directory).parts)
        # A run that was killed and begun again leaves files with nothing in them beside others.
        for row in _rows(file, remarks, f"{inside}/" if inside else ""):
            found = True
            yield row
    if not found:
        raise UserError(_NOTHING.format("event files hold"), path=str(directory))


def rows(file: Path, remarks: list[str]) -> Iterator[Row]:
    """One row for each scalar; its line is its number in the file.

    A record that is broken or, as a killed run leaves it, cut off ends the file, which is told in
    ``remarks``.

    Raises:
        UserError: tensorboard is not installed, or the first record is broken.
    """
    found = False
    for row in _rows(file, remarks):
        found = True
        yield row
    if not found:
        raise UserError(_NOTHING.format("event file holds"), path=str(file))


def _rows(file: Path, remarks: list[str], prefix: str = "") -> Iterator[Row]:
    index = 0
    for event in _events(file, remarks):
        for value in event.summary.value:
            found = _scalar(value)
            if found is not None:
                index += 1
                yield index, {"step": float(event.step), f"{prefix}{value.tag}": found}


def _scalar(value: Any) -> float | None:
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if value.HasField("tensor"):
        from tensorboard.util import tensor_util

        numbers = tensor_util.make_ndarray(value.tensor)
        if numbers.size == 1 and numbers.dtype.kind in "fiu":
            return float(numbers.reshape(())[()])
    return None


def _events(file: Path, remarks: list[str]) -> Iterator[Any]:
    try:
        from tensorboard.backend.event_processing import event_file_loader
        from tensorboard.compat.proto.event_pb2 import Event
    except ImportError:
        raise UserError(NEEDED, path=str(file)) from None
    import logging

    # It reports a file that ends within a record, which is normal while a run goes on.
    logging.getLogger("tensorboard").setLevel(logging.CRITICAL)
    read = 0
    try:
        for record in event_file_loader.RawEventFileLoader(str(file)).Load():
            read += _RECORD_FRAME + len(record)
            yield Event.FromString(record)
    except Exception as error:
        raise UserError(
            f"broken event file: {type(error).__name__}: {error}", path=str(file)
        ) from None
    left = file.stat().st_size - read
    if left > 0:
        remarks.append(
            f"{file.name} is cut off or broken behind byte {read:,}: {left:,} bytes are not read"
        )
