"""For tests: ``assert_trains`` fails where a model does not train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    import torch

    from convlint.findings import Finding
    from convlint.gpu_probes.observations import Observations

__all__ = ["assert_trains"]


def assert_trains(
    model: torch.nn.Module,
    loss_fn: Callable[[Any, Any], torch.Tensor],
    batches: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    *,
    steps: int = 60,
    budget: float = 30.0,
    fail_on: str = "warning",
    ignore: Collection[str] = (),
) -> Observations:
    """Probe the model as :func:`convlint.probe` does, and fail on what the rules find.

    ``fail_on`` is the lowest severity that fails (``info``, ``warning``, ``error``); ``ignore``
    names rules, by slug or code, whose findings are accepted.

    Returns what was measured.

    Raises:
        AssertionError: something was found, one line each; or no step was made in the budget.
        ValueError: ``fail_on`` is no severity, ``ignore`` names no rule, or as ``convlint.probe``.
    """
    __tracebackhide__ = True
    from convlint.audit import measure
    from convlint.findings import Confidence, Severity
    from convlint.gpu_probes.attach.in_process import probe
    from convlint.rules import find_rule

    least = Severity(fail_on)
    unknown = [name for name in ignore if find_rule(name) is None]
    if unknown:
        raise ValueError(f"ignore names no rule: {', '.join(unknown)}")
    seen = probe(model, loss_fn, batches, optimizer, steps=steps, budget=budget)
    if not seen.steps:
        raise AssertionError(f"no step was made in {budget:g} s")
    found = [
        finding
        for finding in measure(seen)
        if finding.severity.rank >= least.rank
        and finding.confidence is not Confidence.LOW
        and not {finding.slug, finding.code} & set(ignore)
    ]
    if found:
        raise AssertionError("\n".join(["the model does not train well:", *map(_line, found)]))
    return seen


def _line(finding: Finding) -> str:
    help_ = f" ({finding.help})" if finding.help else ""
    return f"{finding.code} {finding.slug}: {finding.message}{help_}"
