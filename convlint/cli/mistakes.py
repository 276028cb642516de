"""Mistakes in a command line that are found after it was read."""

from __future__ import annotations


def usage_error(message: str) -> Exception:
    """What to raise: it is said in one line, with the way to the usage."""
    import click

    return click.UsageError(message)
