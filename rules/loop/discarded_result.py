"""LOP027: a tensor method's result is thrown away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.flows import JOIN, FlowGraph, one_per_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Flow, TrainingProgram
    from convlint.rules import Changes


class DiscardedResult(Rule):
    """The result of a tensor method, or of a function of tensors, is thrown away.

    ## What it does
    Reports a statement such as `x.to(device)`, `x.float()`, `x.detach()` or `x.clamp(0, 1)` on
    a tensor, or `F.dropout(x)` and `F.relu(x)` without `inplace=True`, whose result nothing uses.

    ## Why it hurts
    They return a new tensor and leave the old one as it was: the tensor is still on
    the other device, still in the graph, still out of range.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                logits = model(x)
                logits.clamp(-10.0, 10.0)
                loss = criterion(logits, y)
                loss.backward()
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                logits = model(x)
                logits = logits.clamp(-10.0, 10.0)
                loss = criterion(logits, y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    Methods of modules (`model.to(device)`) and in-place methods change their object; graph and
    text batches that move in place are not tensors: none is reported.

    ## Measured
    Not measured: the fault is in the text, whatever a short run shows.

    ## References
    - PyTorch documentation, `torch.Tensor.to`
    - Zhang et al., "An Empirical Study on TensorFlow Program Bugs", 2018
    """

    code = "LOP027"
    slug = "discarded-result"
    severity = Severity.WARNING
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report calls of methods without side effect as statements."""
        graph: FlowGraph | None = None
        places: set[Location] = set()
        for unused in program.unused:
            graph = graph or FlowGraph(program)
            flow = graph.get(unused.flow)
            function = flow is not None and _is_pure_function(flow)
            if not unused.called or not (function or unused.name in _PURE):
                continue
            source = graph.get(flow.inputs[0]) if flow is not None and flow.inputs else None
            if (
                flow is None
                or flow.op == JOIN
                or source is None
                or not (function or _is_tensor(source))
                or not one_per_place(places, unused.location)
            ):
                continue
            yield self.finding(
                unused.location,
                f"`{unused.name}` returns a new tensor, and nothing takes it: the line does nothing",
                help="assign the result",
                fix=None
                if function
                else self.repair("assign the result", _assigned(program, unused.location)),
            )


_PURE = frozenset(
    {
        "to", "cuda", "cpu", "half", "float", "double", "bfloat16", "long", "clamp", "clip",
        "detach", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "contiguous",
    }
)  # fmt: skip


_PURE_FUNCTIONS = frozenset(
    {
        "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "relu", "leaky_relu",
        "elu", "normalize", "pad",
    }
)  # fmt: skip
"""Of ``torch.nn.functional``; what is often called to be timed alone is left out."""


def _is_pure_function(flow: Flow) -> bool:
    """Whether this calls a function that surely leaves its argument as it was."""
    owner, _, name = flow.name.rpartition(".")
    if owner != "torch.nn.functional" or name not in _PURE_FUNCTIONS:
        return False
    inplace = flow.args.get("inplace")
    return inplace is None or inplace.constant is False


def _is_tensor(flow: Flow) -> bool:
    """Whether this is surely a tensor: an operation's result, not a batch that may be anything."""
    return flow.op == "<constant>" or not flow.op.startswith(("<", "getitem", "get_item"))


def _assigned(program: TrainingProgram, place: Location) -> Changes:
    """``x.to(device)`` to ``x = x.to(device)``."""
    name = edits.receiver_of(program, place)
    statement = statement_edits.lone_call(program, place)
    return None if name is None or statement is None else edits.insert_at(place, f"{name} = ")
