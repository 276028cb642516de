"""NRM007: submodules that `parameters()` does not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.predictions import Prediction
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.figures import measured_evidence, names
from convlint.rules.patterns.flows import objects_by_id
from convlint.rules.patterns.layers import PARAMETERLESS_OPS, canonical
from convlint.rules.patterns.places import place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from convlint.findings import Location
    from convlint.gpu_probes.observations import Observations, Parameter, Place
    from convlint.program.facts import Model, Object, PlainList, TrainingProgram
    from convlint.rules import Changes

DELIBERATE = ("_hidden", "frozen", "teacher")
"""Parts of attribute names by which authors say that the optimizer must not see the modules."""


class ModulesInPlainList(Rule):
    """Layers are kept in a plain list, so the optimizer never sees them.

    ## What it does
    Reports an attribute of a `nn.Module` that holds modules (or parameters) in a plain list,
    tuple or dict and is not registered later.

    ## Why it hurts
    A module only knows what is assigned to an attribute directly or kept in a `ModuleList`,
    `ModuleDict` or `Sequential`. Layers in a plain list are missing from `parameters()`: they stay
    at their random initial values, stay on the CPU after `.to(device)`, and are not saved.

    ## Example
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = [nn.Linear(20, 20) for _ in range(3)]
                self.head = nn.Linear(20, 2)

            def forward(self, x):
                for layer in self.hidden:
                    x = torch.relu(layer(x))
                return self.head(x)

        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 2, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = nn.ModuleList([nn.Linear(20, 20) for _ in range(3)])
                self.head = nn.Linear(20, 2)

            def forward(self, x):
                for layer in self.hidden:
                    x = torch.relu(layer(x))
                return self.head(x)

        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 2, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Modules registered as well (`add_module`, `nn.Sequential(*layers)`, `setattr`), modules without
    parameters, layers an optimizer was given explicitly or that bring their own, and attributes
    named `teacher`, `frozen` or `_hidden`, where hiding is the purpose.

    ## Measured
    `convlint probe` follows autograd from the loss: parameters it reaches that the model does not
    list and no optimizer holds confirm it.

    ## References
    - PyTorch, `torch.nn.ModuleList`
    """

    code, slug, severity = "NRM007", "modules-in-plain-list", Severity.ERROR
    prediction = Prediction("unregistered parameters", "above", 0.0)
    fix = Applicability.UNSAFE
    measurements = ("parameters",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per attribute that hides trainable modules."""
        objects = objects_by_id(program)
        optimized = _optimized(program)
        bare = frozenset(flow.id for flow in program.flows if flow.op == "<parameter>")
        reported: set[Location] = set()
        for model in program.models:
            registered = _registered(objects, model)
            for hidden in model.plain_lists:
                if hidden.location in reported or not _hides(
                    hidden, objects, registered, optimized, bare
                ):
                    continue
                reported.add(hidden.location)
                container = "ParameterList" if hidden.holds == "parameters" else "ModuleList"
                if hidden.container == "dict":
                    container = container.replace("List", "Dict")
                yield self.finding(
                    hidden.location,
                    f"`self.{hidden.attribute}` keeps {hidden.holds} in a plain "
                    f"{hidden.container}: `parameters()` does not list them, so the optimizer "
                    "never updates them",
                    help=f"keep them in an `nn.{container}`",
                    fix=self.repair(
                        f"keep them in a {container}",
                        _registering(program, hidden.location, container),
                    ),
                    evidence=(
                        Evidence(
                            "static",
                            f"`{hidden.attribute}` of {model.cls} is never registered",
                        ),
                    ),
                )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per place that created parameters the model does not list."""
        groups: dict[Place | None, list[Parameter]] = {}
        for parameter in seen.parameters:
            if _unregistered(parameter):
                groups.setdefault(parameter.place, []).append(parameter)
        for place, parameters in groups.items():
            count = len(parameters)
            owners = list(dict.fromkeys(p.cls or p.name for p in parameters))
            yield self.finding(
                place_to_location(place, seen),
                f"the loss depends on {count} parameter{'s' * (count != 1)} of {names(owners)} "
                "that `parameters()` of the model does not list and no optimizer updates",
                help="keep modules in an `nn.ModuleList`, `nn.ModuleDict` or `nn.Sequential`",
                evidence=measured_evidence(
                    "parameters autograd reaches from the loss that the model does not list",
                    quantity="unregistered parameters",
                    value=float(count),
                    expected="0",
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """How many of the parameters the loss depends on the model lists."""
        reached = [p for p in seen.parameters if p.reached and p.requires_grad]
        if not reached:
            return None
        listed = sum(p.registered for p in reached)
        return f"the model lists {listed} of the {len(reached)} parameters the loss depends on"


def _unregistered(parameter: Parameter) -> bool:
    """Whether training leaves this parameter of a module behind."""
    return (
        not parameter.registered
        and not parameter.optimized
        and parameter.requires_grad
        and parameter.reached
        and not parameter.missing
        and bool(parameter.cls)
    )


def _hides(
    hidden: PlainList,
    objects: Mapping[int, Object],
    registered: frozenset[int],
    optimized: frozenset[int],
    bare: frozenset[int],
) -> bool:
    """Whether something trainable is in the container and nowhere else."""
    if hidden.registered_later or any(word in hidden.attribute for word in DELIBERATE):
        return False
    if not hidden.layers:
        return True
    invisible = [
        number for number in hidden.layers if number not in registered and number not in optimized
    ]
    return any(_trainable(objects.get(number), objects, bare) for number in invisible)


def _trainable(module: Object | None, objects: Mapping[int, Object], bare: frozenset[int]) -> bool:
    """Whether a module may have parameters, and no optimizer of its own.

    ``bare`` are the tensors that are parameters.
    """
    if module is None:
        return True
    if any(
        value.object is not None and name.startswith("opt")
        for name, value in module.attributes.items()
    ):
        return False
    if module.kind is ObjectKind.MODEL and module.bases == ("torch.nn.Module",):
        return (
            not module.complete
            or any(value.flow in bare for value in module.attributes.values())
            or any(
                _trainable(objects.get(child), objects, bare) for child in module.children.values()
            )
        )
    return canonical(module.cls) not in PARAMETERLESS_OPS


def _registered(objects: Mapping[int, Object], model: Model) -> frozenset[int]:
    """Every submodule reachable through registration."""
    found: set[int] = set()
    pending = [model.object]
    while pending:
        module = objects.get(pending.pop())
        if module is None:
            continue
        new = [child for child in module.children.values() if child not in found]
        found.update(new)
        pending.extend(new)
    return frozenset(found)


def _optimized(program: TrainingProgram) -> frozenset[int]:
    """Modules whose parameters some optimizer was given by name."""
    return frozenset(number for item in program.objects for number in (item.parameters_of or ()))


def _registering(program: TrainingProgram, place: Location, container: str) -> Changes:
    """Wrap the list where it is assigned; ``append`` and indexing go on as before."""
    statement = statement_edits.statement_at(program, place)
    name = edits.name_for(program, place, f"torch.nn.{container}")
    if statement is None or name is None or statement.value is None:
        return None
    starts = (statement.place.line, statement.place.column) == (place.line, place.column)
    if statement.kind not in ("Assign", "AnnAssign") or not starts:
        return None
    wrapped = edits.wrap(statement.value, f"{name[0]}(", ")")
    return None if wrapped is None else (*wrapped, *name[1])
