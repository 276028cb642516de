"""INI007: a parameter that starts from whatever memory held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.program.facts import UNKNOWN
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import (
    FlowGraph,
    one_per_place,
)
from convlint.rules.patterns.initialisations import unbuilt
from convlint.rules.patterns.parameters import bare_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Flow,
        Object,
        TrainingProgram,
    )
    from convlint.rules import Changes

UNFILLED = frozenset({"torch.empty", "torch.Tensor", "torch.FloatTensor"})


class UninitialisedParameter(Rule):
    """A parameter is created from uninitialised memory and never set.

    ## What it does
    Reports an attribute `nn.Parameter(torch.empty(...))` (also `torch.Tensor(...)` with sizes) in
    a module whose values nothing sets afterwards: no initialiser, no in-place method, no
    assignment to its data.

    ## Why it hurts
    `torch.empty` returns memory as it is: often zeros, sometimes huge numbers or NaN. Runs then
    differ by chance, and the fault shows on another machine than yours.

    ## Example
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.empty(20, 2))

            def forward(self, x):
                return x @ self.weight

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## Use instead
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.empty(20, 2))
                nn.init.xavier_uniform_(self.weight)

            def forward(self, x):
                return x @ self.weight

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## When it is fine
    Parameters set in `reset_parameters` or by an initialisation over `self.parameters()`; modules
    whose weights are loaded; frozen parameters, which wait for pretrained values; a file
    that only defines the class, which other code builds and may initialise; the meta device; base
    classes of a library.

    ## Measured
    `convlint probe` finds values that are not finite.

    ## References
    - PyTorch, `torch.empty`: filled with uninitialized data
    """

    code, slug, severity = "INI007", "uninitialised-parameter", Severity.ERROR
    fix = Applicability.UNSAFE
    confirmed_by = ("non-finite",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per parameter."""
        graph = FlowGraph(program)
        reported: set[Location] = set()
        elsewhere = unbuilt(program)
        for owner, name, parameter, made in bare_parameters(program, graph):
            place = parameter.location
            if place is None:
                continue
            if made.name not in UNFILLED or "device" in made.args or parameter.written:
                continue
            if owner.id in elsewhere or _is_frozen(program, parameter):
                continue
            if not _settled(program, owner):
                continue
            if not one_per_place(reported, place):
                continue
            yield self.finding(
                place,
                f"`self.{name}` is created from uninitialised memory and nothing sets it",
                help="initialise it (nn.init.*), or create it with torch.zeros or a scaled torch.randn",
                fix=self.repair("give it initial values", _filled(program, place)),
                evidence=(Evidence("static", f"{made.name} → nn.Parameter, never written"),),
            )


def _is_frozen(program: TrainingProgram, parameter: Flow) -> bool:
    """Whether it is not to be trained: then its values are to be loaded, as under an adapter."""
    return any(
        call.name == "torch.Tensor.requires_grad_"
        and "input" in call.args
        and call.args["input"].flow == parameter.id
        and call.args.get("requires_grad", UNKNOWN).constant is False
        for call in program.calls
    )


def _settled(program: TrainingProgram, owner: Object) -> bool:
    """Whether nothing else could set the owner's parameters."""
    if owner.escaped or not owner.complete or {"load_state_dict", "apply"} & set(owner.methods):
        return False
    if any(call.name == "torch.nn.Module.load_state_dict" for call in program.calls):
        return False
    return not any(
        owner.id in call.layers
        or owner.cls in call.classes
        or (not call.layers and not call.classes and not call.within)
        for call in program.initialisations
    )


def _filled(program: TrainingProgram, place: Location) -> Changes:
    """``torch.empty(n)`` to zeros, ``torch.empty(n, m)`` to normal values of variance 1 / m."""
    layout, outer = program.layout(place), edits.call_at(program, place)
    if layout is None or outer is None or not outer.arguments:
        return None
    made = layout.call(outer.arguments[0].value)
    if made is None or made.method != "empty" or any(a.name for a in made.arguments):
        return None
    if len(made.arguments) == 1:
        return edits.rename_last_part(program, made.place, "zeros")
    last = made.arguments[-1]
    if not (layout.literal(last.value) or layout.is_path_of_names(last.text)):
        return None
    renamed = edits.rename_last_part(program, made.place, "randn")
    return renamed and (*renamed, *(edits.append(made.place, f" * {last.text} ** -0.5") or ()))
