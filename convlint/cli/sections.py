"""Commands whose ``--help`` shows options in named sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

LAST = "Other"
ORDER = (
    "The run", "The log", "Fixes", "Rules", "Files", "Configuration", "Suppressions", "Output", "Speed",
    "Exit code",
    LAST,
)  # fmt: skip


class SectionedOption(click.Option):
    """An option that belongs to a section of ``--help``.

    One that ``may_stand_alone`` takes its value behind ``=`` only, and is empty without one.
    """

    def __init__(
        self,
        *names: Any,
        section: str = LAST,
        may_stand_alone: bool = False,
        **attributes: Any,
    ) -> None:
        attributes.setdefault("show_envvar", attributes.get("envvar") is not None)
        super().__init__(*names, **attributes)
        self.section = section
        self.may_stand_alone = may_stand_alone

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """The environment's value; one for an option that may be repeated, spaces and all."""
        value = self.resolve_envvar_value(ctx)
        return (value,) if value is not None and self.multiple else value


class SectionedCommand(click.Command):
    """A command that shows its options by section."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; what follows an option that may stand alone is no value of it."""
        alone = {
            name
            for parameter in self.params
            if isinstance(parameter, SectionedOption) and parameter.may_stand_alone
            for name in parameter.opts
        }
        end = args.index("--") if "--" in args else len(args)
        options = [f"{arg}=" if arg in alone else arg for arg in args[:end]]
        return super().parse_args(ctx, [*options, *args[end:]])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list for each section, in the order of ``ORDER``."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in ORDER}
        for parameter in self.get_params(ctx):
            if not isinstance(parameter, click.Option):
                continue
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections[getattr(parameter, "section", LAST)].append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def option(*names: Any, section: str, **attributes: Any) -> Callable[[Any], Any]:
    """``click.option`` in a section."""
    return click.option(*names, cls=SectionedOption, section=section, **attributes)
