"""Settings: what holds for a file, from its nearest configuration and the command line."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from convlint import rules
from convlint.catalogue import RuleCard, cards_of, rule_cards
from convlint.configuration import (
    COMMAND_LINE,
    Configuration,
    FailOn,
    Layer,
)
from convlint.discovery import DEFAULT_EXCLUDE
from convlint.errors import UserError
from convlint.findings import Confidence, Severity
from convlint.patterns import Patterns
from convlint.selection import RuleChoice, Selection, resolve_selection, rules_matching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from convlint.rules import Rule


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line (or a caller of the API) says; None leaves it to the configuration."""

    rules: RuleChoice = RuleChoice()
    fail_on: Severity | None = None
    never_fails: bool = False
    """Exit with 0 whatever is found."""
    min_confidence: Confidence | None = None
    show_info: bool = False
    more: Configuration = Configuration()
    """Any other key, as a configuration file would give it."""
    inline: tuple[Configuration, ...] = ()
    """``--config 'key = value'``: stronger than a file, weaker than an option of its own."""
    file: Path | None = None
    """Read this configuration file instead of the nearest one."""
    isolated: bool = False
    """Read no configuration file."""


class Setting(msgspec.Struct, frozen=True):
    """One value that holds, and where it was said: a file, the command line, or ``default``."""

    value: Any
    origin: str


class Settings:
    """What holds for the files under one configuration file.

    ``layers`` are the configurations that bear on it, weakest first. Patterns are relative to the
    root of the layer that gives them.
    """

    def __init__(self, layers: tuple[Layer, ...], overrides: Overrides) -> None:
        here = Path.cwd()
        inline = tuple(Layer(said, here, "") for said in overrides.inline)
        self._layers = (*layers, *inline, Layer(overrides.more, here, ""))
        self._overrides = overrides
        self.catalogue = _catalogue(self._layers)
        """The card of every rule that can be selected here."""
        self.rule_options = _rule_options(self.catalogue, self._layers)
        """What ``rule-options`` says, by slug."""
        choices = [_choice(layer) for layer in self._layers]
        self.selection: Selection = resolve_selection((*choices, overrides.rules), self.catalogue)
        self.fail_on = self._fails_on()
        """None when nothing that is found fails the command."""
        self.min_confidence = (
            overrides.min_confidence or self._last("min_confidence") or Confidence.MEDIUM
        )
        shows = overrides.show_info or bool(self._last("show_info"))
        self.show_info = shows or self.fail_on is Severity.INFO
        respected = self._last("respect_gitignore")
        self.respect_gitignore: bool = True if respected is None else respected
        self.force_exclude: bool = bool(self._last("force_exclude"))
        self._excluding = tuple(self._exclusions())
        self._per_file = tuple(self._silences())
        self._severities = tuple(self._severity_overrides())

    @cached_property
    def every_rule(self) -> tuple[Rule, ...]:
        """All that can be selected here, with their options set."""
        given = self.rule_options
        return tuple(
            rule.configured(given[rule.slug]) if rule.slug in given else rule
            for rule in _rules(self._layers)
        )

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Those selected, with their options set."""
        return tuple(rule for rule in self.every_rule if rule.slug in self.selection)

    def excludes(self, path: Path) -> bool:
        """Whether ``exclude`` rules out this file or directory, or one it lies in."""
        return any(patterns.match(path) for patterns in self._excluding)

    def excludes_entry(self, path: str, name: str, *, directory: bool) -> bool:
        """Whether ``exclude`` rules out the file or directory ``name`` itself, met at ``path``."""
        return any(
            patterns.match_entry(path, name, directory=directory) for patterns in self._excluding
        )

    def ignored_in(self, path: Path) -> frozenset[str]:
        """Slugs that ``per-file-ignores`` silences in this file."""
        silenced: frozenset[str] = frozenset()
        for matches, slugs in self._per_file:
            if matches(path):
                silenced |= slugs
        return silenced

    def severity_in(self, path: Path, slug: str) -> Severity | None:
        """The severity the configuration gives findings of this rule in this file, if any."""
        given = None
        for patterns, severities in self._severities:
            if slug in severities and (patterns is None or patterns.match(path, directory=False)):
                given = severities[slug]
        return given

    def shows(self, slug: str, severity: Severity) -> bool:
        """Whether a reader sees such a finding: info is shown when asked for or when its rule
        was selected by name."""
        return severity is not Severity.INFO or self.show_info or slug in self.selection.asked_for

    def fails(self, severity: Severity) -> bool:
        """Whether a finding this severe makes the command exit with 1."""
        return self.fail_on is not None and severity.rank >= self.fail_on.rank

    @property
    def files(self) -> tuple[str, ...]:
        """The configuration files that were read, the nearest last."""
        return tuple(layer.source for layer in self._layers if layer.source)

    @cached_property
    def judging_key(self) -> str:
        """Equal for settings under which all rules have the same to say of the same source."""
        own = [layer for layer in self._layers if layer.configuration.rules]
        if not own and not self.rule_options:
            return ""
        from convlint.custom_rules import fingerprint

        of_rules = [fingerprint(layer.configuration.rules, layer.root) for layer in own]
        return msgspec.json.encode((self.rule_options, of_rules), order="sorted").decode()

    def fingerprint(self) -> bytes:
        """Equal for settings under which the same source gives the same findings."""
        said = [
            (layer.configuration, str(layer.root) if layer.source else "") for layer in self._layers
        ]
        o = self._overrides
        return msgspec.json.encode(
            (said, o.rules, o.fail_on, o.min_confidence, o.show_info, self._fingerprint_of_rules())
        )

    def _fingerprint_of_rules(self) -> list[str]:
        """Changes with the code of rules that are not our own."""
        from convlint.custom_rules import fingerprint

        return [
            fingerprint(),
            *(
                fingerprint(layer.configuration.rules, layer.root)
                for layer in self._layers
                if layer.configuration.rules
            ),
        ]

    def held(self) -> dict[str, Setting]:
        """Every key of a configuration file with the value that holds and where it was said."""
        defaults = {
            "exclude": DEFAULT_EXCLUDE,
            "respect-gitignore": True,
            "force-exclude": False,
            "fail-on": FailOn.WARNING,
            "min-confidence": Confidence.MEDIUM,
            "show-info": False,
        }
        held: dict[str, Setting] = {}
        overrides = msgspec.structs.replace(
            self._overrides.more,
            select=self._overrides.rules.select,
            extend_select=self._overrides.rules.extend_select,
            ignore=self._overrides.rules.ignore,
            fail_on=FailOn.NEVER
            if self._overrides.never_fails
            else self._overrides.fail_on and FailOn(self._overrides.fail_on.value),
            min_confidence=self._overrides.min_confidence,
            show_info=self._overrides.show_info or None,
        )
        layers = (*self._layers[:-1], Layer(overrides, Path.cwd(), ""))
        for field in msgspec.structs.fields(Configuration):
            key = field.encode_name
            held[key] = Setting(defaults.get(key, field.default), "default")
            for layer in layers:
                value = getattr(layer.configuration, field.name)
                if value is None or value == field.default:
                    continue
                held[key] = _joined(held[key], value, layer.source or COMMAND_LINE, field.name)
        return held

    def _fails_on(self) -> Severity | None:
        if self._overrides.never_fails:
            return None
        said: FailOn = self._last("fail_on") or FailOn.WARNING
        return self._overrides.fail_on or said.severity

    def _last(self, name: str) -> Any:
        """The value of the strongest layer that says one."""
        said = [getattr(layer.configuration, name) for layer in self._layers]
        return next((value for value in reversed(said) if value is not None), None)

    def _exclusions(self) -> Iterable[Patterns]:
        saying = [layer for layer in self._layers if layer.configuration.exclude is not None]
        if saying:
            yield Patterns(
                saying[-1].configuration.exclude or (),
                saying[-1].root,
                _said_in(saying[-1], "exclude"),
            )
        else:
            yield Patterns(DEFAULT_EXCLUDE, self._layers[0].root)
        for layer in self._layers:
            if layer.configuration.extend_exclude:
                yield Patterns(
                    layer.configuration.extend_exclude,
                    layer.root,
                    _said_in(layer, "extend-exclude"),
                )

    def _silences(self) -> Iterable[tuple[Callable[[Path], bool], frozenset[str]]]:
        saying = [
            layer for layer in self._layers if layer.configuration.per_file_ignores is not None
        ]
        for layer in self._layers:
            said = layer.configuration
            tables = (
                ("per-file-ignores", said.per_file_ignores if layer in saying[-1:] else None),
                ("extend-per-file-ignores", said.extend_per_file_ignores),
            )
            for key, table in tables:
                for pattern, names in (table or {}).items():
                    where = _said_in(layer, key)
                    yield _matcher(pattern, layer.root, where), self._slugs(names, where)

    def _severity_overrides(self) -> Iterable[tuple[Patterns | None, dict[str, Severity]]]:
        for layer in self._layers:
            where = _said_in(layer, "severity")
            if layer.configuration.severity:
                yield None, self._by_slug(layer.configuration.severity, where)
        for layer in self._layers:
            where = _said_in(layer, "per-file-severity")
            for pattern, severities in layer.configuration.per_file_severity.items():
                yield Patterns((pattern,), layer.root), self._by_slug(severities, where)

    def _slugs(self, names: Iterable[str], said_in: str) -> frozenset[str]:
        return frozenset(rule.slug for name in names for rule in self._matching(name, said_in))

    def _by_slug(self, severities: dict[str, Severity], said_in: str) -> dict[str, Severity]:
        """For each rule spoken of, the severity its most exact name gives."""
        matching = [
            (self._matching(name, said_in), severity) for name, severity in severities.items()
        ]
        by_slug: dict[str, Severity] = {}
        for matched, severity in sorted(matching, key=lambda entry: -len(entry[0])):
            by_slug |= {rule.slug: severity for rule in matched}
        return by_slug

    def _matching(self, name: str, said_in: str) -> tuple[RuleCard, ...]:
        return rules_matching(name, said_in=said_in, catalogue=self.catalogue)


def _choice(layer: Layer) -> RuleChoice:
    said = layer.configuration
    return RuleChoice(
        select=said.select,
        extend_select=said.extend_select,
        ignore=(*said.ignore, *said.extend_ignore),
        said_in=layer.source,
    )


def _catalogue(layers: tuple[Layer, ...]) -> tuple[RuleCard, ...]:
    """The cards of every rule there is, and of those the configurations name by path."""
    if any(layer.configuration.rules for layer in layers):
        return cards_of(_rules(layers))
    return rule_cards()


def _rules(layers: tuple[Layer, ...]) -> tuple[Rule, ...]:
    """Every rule there is, and those the configurations name by path."""
    catalogue = rules.all_rules()
    for layer in layers:
        paths = layer.configuration.rules
        if paths:
            from convlint.custom_rules import joined, rules_in_files

            catalogue = joined(catalogue, rules_in_files(paths, layer.root, layer.source))
    return catalogue


def _rule_options(
    catalogue: tuple[RuleCard, ...], layers: tuple[Layer, ...]
) -> dict[str, dict[str, Any]]:
    """What ``rule-options`` says, by slug.

    Raises:
        UserError: a rule or an option is unknown, or a value does not fit.
    """
    tables: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for name, table in layer.configuration.rule_options.items():
            where = _said_in(layer, "rule-options")
            matching = rules_matching(name, said_in=where, catalogue=catalogue)
            if len(matching) != 1:
                raise UserError(f"{name!r} stands for {len(matching)} rules; name one", path=where)
            rule = matching[0].load()
            rule.configured(table, said_in=f"{where}.{rule.slug}")
            tables.setdefault(rule.slug, {}).update(table)
    return tables


def _said_in(layer: Layer, key: str) -> str:
    return f"{layer.source}, {key}" if layer.source else key


def _matcher(pattern: str, root: Path, said_in: str) -> Callable[[Path], bool]:
    """Whether a file matches; ``!pattern`` means every file that does not."""
    if pattern.startswith("!"):
        others = Patterns((pattern[1:],), root, said_in)
        return lambda path: not others.match(path, directory=False)
    patterns = Patterns((pattern,), root, said_in)
    return lambda path: patterns.match(path, directory=False)


def _joined(below: Setting, value: Any, origin: str, name: str) -> Setting:
    """Tables, and lists that hold beside those of other files, with what is said below; any other
    value replaces it."""
    if below.origin == "default" or name == "per_file_ignores":
        return Setting(value, origin)
    if isinstance(value, dict):
        return Setting({**below.value, **value}, f"{below.origin} and {origin}")
    if name.startswith("extend_") or name in ("ignore", "rules"):
        return Setting((*below.value, *value), f"{below.origin} and {origin}")
    return Setting(value, origin)
