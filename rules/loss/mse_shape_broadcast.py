"""LOS014: a regression loss whose two arguments broadcast against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Related, Severity
from convlint.lazy_regex import lazy_regex
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.datasets import LOADED_TARGETS_1D, batch_source
from convlint.rules.patterns.figures import measured_evidence
from convlint.rules.patterns.flows import PLACEMENT_OPS, FlowGraph, objects_by_id
from convlint.rules.patterns.layers import ACTIVATION_OPS, DROPOUT_OPS, is_weight_layer
from convlint.rules.patterns.losses import trained_losses
from convlint.rules.patterns.places import place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from convlint.findings import Location
    from convlint.gpu_probes.observations import LossFunction, Observations
    from convlint.program.facts import Flow, Object, TrainingProgram
    from convlint.rules import Changes

REGRESSION_LOSSES = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"})

_ELEMENTWISE = frozenset({"sub", "add", "mul", "div", "log", "log1p", "sqrt", "train_test_split"})
"""Operations on a target that keep its shape when the other operand is one number."""
_REDUCTIONS = frozenset({"mean", "std", "max", "min", "var", "sum", "amax", "amin", "<constant>"})
_TABLES = frozenset({"numpy.loadtxt", "numpy.genfromtxt"})
"""Readers of two-dimensional arrays."""
_COLUMN = lazy_regex(r":,-?\d+")
_ROW_SELECTIONS = frozenset({"getitem", "train_test_split"})


class MseShapeBroadcast(Rule):
    """Prediction and target broadcast: every prediction is compared with every target.

    ## What it does
    Reports a regression loss between a prediction of shape (N, 1), the output of a linear layer
    with one unit, and a target of shape (N,).

    ## Why it hurts
    The two broadcast to (N, N). Each prediction is pulled toward *all* targets of the batch, so
    the best the model can do is to predict the mean. PyTorch only warns.

    ## Example
        import torch
        from sklearn.datasets import load_diabetes
        from torch import nn

        data = load_diabetes()
        x = torch.tensor(data.data, dtype=torch.float32)
        y = torch.tensor(data.target, dtype=torch.float32)
        model = nn.Linear(10, 1)
        criterion = nn.MSELoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for epoch in range(100):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from sklearn.datasets import load_diabetes
        from torch import nn

        data = load_diabetes()
        x = torch.tensor(data.data, dtype=torch.float32)
        y = torch.tensor(data.target, dtype=torch.float32)
        model = nn.Linear(10, 1)
        criterion = nn.MSELoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for epoch in range(100):
            optimizer.zero_grad()
            loss = criterion(model(x).squeeze(-1), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    A squeeze, view or unsqueeze on either side; a target built with two dimensions
    (`y[:, None]`, `view(-1, 1)`, `keepdim=True`, a slice `data[:, k:]`). A target whose shape
    cannot be told from the source is not judged.

    ## Measured
    `convlint probe` compares the shapes that really meet at the loss.

    ## References
    - PyTorch, `torch.nn.functional.mse_loss`: warns when target size differs from input size
    """

    code, slug, severity = "LOS014", "mse-shape-broadcast", Severity.WARNING
    prediction = Prediction("elements compared per prediction", "above", 1.0)
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    measurements = ("initial loss",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per regression loss between (N, 1) and (N,)."""
        graph, objects = FlowGraph(program), objects_by_id(program)
        for loss in trained_losses(program, REGRESSION_LOSSES):
            layer = _single_output(graph, objects, loss.input)
            if layer is None or not _one_dimensional(graph, objects, loss.target):
                continue
            yield self.finding(
                loss.location,
                "the prediction has shape (N, 1) and the target (N,): they broadcast to (N, N), "
                "so every prediction is compared with every target",
                help="make the shapes equal, for example `prediction.squeeze(-1)`",
                related=(Related(layer.location, "the prediction's last dimension is 1 here"),),
                fix=self.repair(
                    "drop the prediction's last dimension", _squeezed(program, loss.location)
                ),
                evidence=(
                    Evidence("static", "the model ends in a layer with one output unit"),
                    Evidence("static", "the target is a one-dimensional array"),
                ),
            )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per loss whose arguments broadcast to a shape larger than either."""
        for loss in _regressions(seen):
            if loss.broadcast is None:
                continue
            yield self.finding(
                place_to_location(loss.place, seen),
                f"prediction {_shape(loss.input_shape)} and target {_shape(loss.target_shape)} "
                f"broadcast to {_shape(loss.broadcast)}, so every prediction is compared with "
                "every target",
                help="make the shapes equal, for example `prediction.squeeze(-1)`",
                confidence=Confidence.HIGH,
                evidence=measured_evidence(
                    f"{loss.function} broadcast {_shape(loss.input_shape)} against "
                    f"{_shape(loss.target_shape)} to {_shape(loss.broadcast)}",
                    quantity="elements compared per prediction",
                    value=_elements(loss.broadcast) / max(1, _elements(loss.input_shape)),
                    expected="1",
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """The shapes that met at the loss."""
        for loss in _regressions(seen):
            return (
                f"prediction {_shape(loss.input_shape)} and target {_shape(loss.target_shape)} "
                "have the shapes the loss needs"
            )
        return None


def _regressions(seen: Observations) -> tuple[LossFunction, ...]:
    return tuple(
        loss for loss in seen.losses if loss.function in REGRESSION_LOSSES and loss.back_propagated
    )


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


def _single_output(
    graph: FlowGraph, objects: Mapping[int, Object], number: int | None
) -> Object | None:
    """The linear layer with one output unit that made ``number``, nothing but elementwise
    operations in between."""
    origins = graph.origins(number, PLACEMENT_OPS | ACTIVATION_OPS | DROPOUT_OPS)
    if len(origins) != 1 or not is_weight_layer(origins[0].op) or "conv" in origins[0].op:
        return None
    layer = objects.get(-1 if origins[0].layer is None else origins[0].layer)
    width = layer.args.get("out_features") if layer is not None else None
    return layer if width is not None and width.number == 1 else None


def _one_dimensional(graph: FlowGraph, objects: Mapping[int, Object], number: int | None) -> bool:
    """Whether ``number`` surely is a vector: a library's target array, rows of it, or a batch of
    a TensorDataset of one."""
    pending = [number]
    seen: set[int] = set()
    while pending:
        flow = graph.get(pending.pop())
        if flow is None or flow.id in seen:
            return False
        seen.add(flow.id)
        if flow.op == "<join>":
            pending.extend(flow.inputs)
        elif flow.op == "<batch>":
            source = batch_source(graph, objects, flow)
            if source is None:
                return False
            pending.append(source.id)
        elif flow.op == "<array>":
            if not _is_loaded_vector(flow):
                return False
        elif flow.op in PLACEMENT_OPS and flow.inputs:
            pending.append(flow.inputs[0])
        elif flow.op in _ROW_SELECTIONS and flow.inputs:
            index = flow.args.get("index")
            if _is_column(graph, flow):
                return True
            several = "axes" in flow.args or (index is not None and index.items is not None)
            if several or (index is not None and index.known):
                return False  # `y[:, None]`, `table[:, 3]`, `y[0]` change the dimensions
            pending.append(flow.inputs[0])
        elif flow.op in _ELEMENTWISE and flow.inputs:
            others = [graph.get(other) for other in flow.inputs[1:]]
            if any(other is None or other.op not in _REDUCTIONS for other in others):
                return False
            pending.append(flow.inputs[0])
        else:
            return False
    return True


def _is_column(graph: FlowGraph, flow: Flow) -> bool:
    """Whether ``flow`` is one column of a loaded table, as in ``table[:, 3]``."""
    axes = flow.args.get("axes")
    if axes is None or not _COLUMN.fullmatch(str(axes.constant)):
        return False
    tables = graph.origins(flow.inputs[0], PLACEMENT_OPS)
    return bool(tables) and all(table.name in _TABLES for table in tables)


def _is_loaded_vector(flow: Flow) -> bool:
    return flow.index == 1 and flow.name.rpartition(".")[2] in LOADED_TARGETS_1D


def _squeezed(program: TrainingProgram, place: Location) -> Changes:
    call = edits.call_at(program, place)
    prediction = None if call is None else call.argument("input", 0)
    if prediction is None:
        return None
    return edits.call_method(program, prediction.value, ".squeeze(-1)")
