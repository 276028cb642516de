"""The catalogue of rules, and the base class every rule derives from.

A rule is one class in one file. The registry walks this package; no rule is listed by hand.
Installed packages may add rules (``convlint.custom_rules``). Rules judge facts: they never parse
source and never import torch or ast.
"""

from __future__ import annotations

import copy
import importlib
from typing import TYPE_CHECKING, Any, ClassVar, Self

from convlint.findings import (
    Applicability,
    Confidence,
    Edit,
    Evidence,
    Finding,
    Fix,
    Location,
    Related,
    Severity,
)
from convlint.rule_options import Option, converted, options_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from convlint.curves.facts import Curves
    from convlint.gpu_probes.observations import Observations
    from convlint.predictions import Prediction
    from convlint.program.facts import TrainingProgram

Changes = tuple[Edit, ...] | None
"""Edits that belong together; None when they cannot be written exactly."""

__all__ = ["Changes", "Rule", "all_rules", "find_rule"]


class Rule:
    """One kind of fault and up to three ways to see it.

    Subclasses set ``code``, ``slug`` and ``severity``, write the docstring a user reads
    (sections *What it does*, *Why it hurts*, *Example*, *Use instead*, *When it is fine*,
    *Measured*, *References*), and override at least one of ``static``, ``measured`` and
    ``logged``.
    """

    code: ClassVar[str]
    """Stable short alias: three letters and three digits."""
    slug: ClassVar[str]
    """The name users write."""
    severity: ClassVar[Severity]
    confidence: ClassVar[Confidence] = Confidence.HIGH
    default: ClassVar[bool] = True
    """Whether the rule is on without being selected."""
    fix: ClassVar[Applicability | None] = None
    """Whether findings can be fixed, and how safely; some may still come without a fix, where the
    source is written in a way that no exact edit is known for."""
    confirmed_by: ClassVar[tuple[str, ...]] = ()
    """Slugs of measured rules whose finding confirms (and whose healthy reading refutes) a static
    finding of this rule, beside its own ``measured``."""
    twins: ClassVar[tuple[str, ...]] = ()
    """Slugs of rules that see the same fault in evidence of another kind: of a rule about logs, the
    one about a probed run. Declared by one of the two, shown by both."""
    silence_refutes: ClassVar[bool] = True
    """Whether a measurement that stays silent speaks against a static finding. False where the
    fault shows rarely, so that a short horizon may well not have met it."""
    measurements: ClassVar[tuple[str, ...]] = ()
    """Names of the probe's measurements that ``measured`` rests on, as ``Observations.skipped``
    gives them; ``audit`` looks them up there to say why a finding is unmeasured."""
    prediction: ClassVar[Prediction | None] = None
    """What ``measured`` sees where the fault is real. Every rule whose measurement can confirm a
    finding from source, its own or another rule's, declares it."""
    explained_by: ClassVar[tuple[str, ...]] = ()
    """Slugs, or letters of a code (``LOS`` for the whole category), of rules whose measured finding
    is the cause of this one's; beside one at least as severe, this one is reported as info."""
    unmeasured_because: ClassVar[str] = "the probe has no measurement for it"
    """Said by ``audit`` when nothing measured bears on a static finding."""

    def static(self, program: TrainingProgram) -> Iterable[Finding]:
        """Judge the facts extracted from source."""
        return ()

    def measured(self, seen: Observations) -> Iterable[Finding]:
        """Judge what the probe saw."""
        return ()

    def logged(self, curves: Curves) -> Iterable[Finding]:
        """Judge what a training log says."""
        return ()

    def reading(self, seen: Observations) -> str | None:
        """Say in one sentence what was measured, or None when the quantity was not measured.

        ``audit`` refutes a static finding with this sentence when ``measured`` stays silent.
        """
        return None

    @classmethod
    def has_static(cls) -> bool:
        """Whether the rule judges source."""
        return cls.static is not Rule.static

    @classmethod
    def has_measured(cls) -> bool:
        """Whether the rule judges the probe's observations."""
        return cls.measured is not Rule.measured

    @classmethod
    def has_logged(cls) -> bool:
        """Whether the rule judges training logs."""
        return cls.logged is not Rule.logged

    @classmethod
    def category(cls) -> str:
        """The name of the folder the rule's file lies in, such as ``optimizer``; ``custom`` for a
        rule that a configuration names by path."""
        module = cls.__module__.split(".")
        if module[0].startswith("convlint_rules_"):
            return "custom"
        return module[-2] if len(module) > 1 else module[0]

    @classmethod
    def options(cls) -> dict[str, Option[Any]]:
        """What a user may set in ``rule-options``, by name."""
        return options_of(cls)

    def configured(self, given: Mapping[str, Any], *, said_in: str = "") -> Self:
        """This rule with other values of its options.

        Raises:
            UserError: an option is unknown, or its value is of another type or out of bounds.
        """
        rule = copy.copy(self)
        vars(rule).update(converted(self.options(), given, said_in))
        return rule

    def finding(
        self,
        location: Location,
        message: str,
        *,
        help: str = "",
        severity: Severity | None = None,
        confidence: Confidence | None = None,
        evidence: tuple[Evidence, ...] = (),
        related: tuple[Related, ...] = (),
        fix: Fix | None = None,
    ) -> Finding:
        """Build a finding of this rule at ``location``."""
        return Finding(
            code=self.code,
            slug=self.slug,
            severity=severity or self.severity,
            confidence=confidence or self.confidence,
            message=message,
            location=location,
            evidence=evidence,
            related=related,
            help=help,
            fix=fix,
        )

    def repair(self, message: str, *changes: Changes) -> Fix | None:
        """A fix made of ``changes``, as safe as ``fix`` says.

        None, no fix at all, when one of the changes is None: it is not known how to write it.
        """
        edits: dict[Edit, None] = {}
        for change in changes:
            if change is None:
                return None
            edits.update(dict.fromkeys(change))
        if self.fix is None or not edits:
            return None
        return Fix(message, tuple(edits), self.fix)


_registry: tuple[Rule, ...] | None = None


def all_rules() -> tuple[Rule, ...]:
    """Every rule of this package and of installed ones, one instance each, in order of code.

    Raises:
        UserError: the rules of an installed package cannot be loaded.
    """
    global _registry
    if _registry is None:
        from convlint.custom_rules import installed_rules, joined

        _registry = joined(own_rules(), installed_rules())
    return _registry


def own_rules() -> tuple[Rule, ...]:
    """The rules of this package."""
    import pkgutil

    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    ours = [
        cls()
        for cls in Rule.__subclasses__()
        if "code" in vars(cls) and cls.__module__.startswith(f"{__name__}.")
    ]
    return tuple(sorted(ours, key=lambda rule: rule.code))


def find_rule(name: str) -> Rule | None:
    """The rule with this slug or code (case-insensitive), or None.

    Those a configuration names by path are known once its settings have been read.
    """
    from convlint.custom_rules import rules_of_projects

    wanted = name.strip().lower()
    for rule in (*all_rules(), *rules_of_projects()):
        if wanted in (rule.slug, rule.code.lower()):
            return rule
    return None
