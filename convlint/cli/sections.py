"""Commands whose ``--help`` shows options in named sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

LAST = "Other"


class SectionedOption(click.Option):
    """An option that belongs to a section of ``--help``."""

    def __init__(self, *names: Any, section: str = LAST, **attributes: Any) -> None:
        super().__init__(*names, **attributes)
        self.section = section

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """The environment's value; one for an option that may be repeated, spaces and all."""
        value = self.resolve_envvar_value(ctx)
        return (value,) if value is not None and self.multiple else value


class SectionedCommand(click.Command):
    """A command that shows its options by section, in the order the sections first appear."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list for each section; those without one come last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                section = getattr(parameter, "section", LAST)
                sections.setdefault(section, []).append(record)
        for name, records in sorted(sections.items(), key=lambda entry: entry[0] == LAST):
            with formatter.section(name):
                formatter.write_dl(records)


def option(*names: Any, section: str, **attributes: Any) -> Callable[[Any], Any]:
    """``click.option`` in a section."""
    return click.option(*names, cls=SectionedOption, section=section, **attributes)
