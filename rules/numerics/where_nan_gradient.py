"""NUM007: a `where` that hides a NaN from the result but not from the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import PLACEMENT_OPS, FlowGraph, one_per_place
from convlint.rules.patterns.gradients import Gradients
from convlint.rules.patterns.offsets import constant_operand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import Flow, TrainingProgram

UNSAFE = frozenset({"log", "log2", "log10", "sqrt", "rsqrt", "acos", "asin", "reciprocal"})


class WhereNanGradient(Rule):
    """`torch.where` discards the bad value but not its gradient.

    ## What it does
    Reports `torch.where(test on x, f(x), ...)` where f is a logarithm, a square root, a small power or a
    division by x, when a gradient passes through x and x itself is not guarded.

    ## Why it hurts
    Both branches are computed and both are differentiated: for the discarded elements the gradient is
    0 times infinity, which is NaN, and it reaches every weight.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            scores = model(x)
            loss = torch.where(scores > 0, torch.sqrt(scores), torch.zeros_like(scores)).sum()
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            scores = model(x)
            safe = torch.where(scores > 0, scores, torch.ones_like(scores))
            loss = torch.where(scores > 0, torch.sqrt(safe), torch.zeros_like(scores)).sum()
            loss.backward()
            optimizer.step()

    ## When it is fine
    The double `where` (guard the argument as well), a clamp or an added constant inside f, data without
    gradient.

    ## Measured
    `convlint probe` looks for NaN and infinities; they come late, so silence refutes nothing.

    ## References
    - JAX, frequently asked questions: gradients contain NaN where using where
    """

    code, slug, severity = "NUM007", "where-nan-gradient", Severity.WARNING
    confirmed_by = ("non-finite",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per `where` over an unsafe function of what its test looks at."""
        graph = FlowGraph(program)
        gradients = Gradients(program, graph)
        places: set[Location] = set()
        for flow in program.flows:
            if flow.op != "where" or flow.location is None or not gradients.passes(flow):
                continue
            test, *branches = (graph.get(number) for number in flow.inputs)
            if test is None:
                continue
            tested = {origin.id for n in test.inputs for origin in graph.origins(n, PLACEMENT_OPS)}
            for branch in branches:
                at = _unsafe_argument(graph, branch)
                if at is None or at.id not in tested or not gradients.carries(at.id):
                    continue
                if branch is not None and one_per_place(places, flow.location):
                    yield self.finding(
                        flow.location,
                        f"where() discards the bad values of {branch.op} but not their gradient, which is "
                        "NaN",
                        help=f"guard the argument of {branch.op} with a where() of its own",
                    )


def _unsafe_argument(graph: FlowGraph, branch: Flow | None) -> Flow | None:
    """The one tensor at whose bad values a branch has no finite gradient."""
    if branch is None or not branch.inputs:
        return None
    number: int | None = None
    if branch.op in UNSAFE:
        number = branch.inputs[0]
    elif branch.op == "div":
        number = branch.inputs[-1] if "right" not in branch.args else None
    elif branch.op == "pow":
        power = constant_operand(branch, "right")
        power = constant_operand(branch, "0") if power is None else power
        number = branch.inputs[0] if power is not None and power < 1 else None
    origins = graph.origins(number, PLACEMENT_OPS)
    return origins[0] if len(origins) == 1 else None
