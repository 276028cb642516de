"""NRM017: a recurrent layer that takes the batch for time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Related, Severity
from convlint.lazy_regex import lazy_regex
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import (
    FlowGraph,
    objects_by_id,
    one_per_place,
)
from convlint.rules.patterns.layers import (
    is_recurrent,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )

LAST_OF_SECOND = lazy_regex(r"^:,-1(,:|,\.\.\.)*$")
MOVING = frozenset(
    {"permute", "transpose", "swapaxes", "movedim", "t", "T", "rearrange", "stack", "cat",
     "pack_padded_sequence", "pad_sequence", "<unknown>", "view", "reshape", "unsqueeze", "einsum"}
)  # fmt: skip
"""Operations on the way to the layer after which the order of the axes is not known."""


class RnnBatchFirstMixup(Rule):
    """The recurrent layer runs along the batch instead of along time.

    ## What it does
    Reports a recurrent layer without `batch_first=True` whose output is cut at the last position
    of its second axis (`out[:, -1]`), the idiom for batch-first output.

    ## Why it hurts
    Without `batch_first` the first axis is time and the second the batch. `out[:, -1]` is then the
    last example of the batch at every step, and the state flows from one example to the next: the
    model runs without an error and learns almost nothing.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader, TensorDataset

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn = nn.LSTM(8, 32)
                self.head = nn.Linear(32, 3)

            def forward(self, x):
                out, _ = self.rnn(x)
                return self.head(out[:, -1])

        data = TensorDataset(torch.randn(512, 20, 8), torch.randint(0, 3, (512,)))
        loader = DataLoader(data, batch_size=64, shuffle=True)
        model = Net()
        optimizer = torch.optim.Adam(model.parameters())
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        from torch.utils.data import DataLoader, TensorDataset

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn = nn.LSTM(8, 32, batch_first=True)
                self.head = nn.Linear(32, 3)

            def forward(self, x):
                out, _ = self.rnn(x)
                return self.head(out[:, -1])

        data = TensorDataset(torch.randn(512, 20, 8), torch.randint(0, 3, (512,)))
        loader = DataLoader(data, batch_size=64, shuffle=True)
        model = Net()
        optimizer = torch.optim.Adam(model.parameters())
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    An explicit `transpose` or `permute` before or after the layer; packed sequences.

    ## Measured
    `samples-leak-into-each-other` sees samples that depend on each other; its silence refutes
    nothing.

    ## References
    - PyTorch, `torch.nn.LSTM`: batch_first is False by default
    """

    code, slug, severity = "NRM017", "rnn-batch-first-mixup", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("samples-leak-into-each-other",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per recurrent layer."""
        objects, graph = objects_by_id(program), FlowGraph(program)
        reported: set[Location] = set()
        for cut in program.flows:
            axes = cut.args.get("axes")
            if cut.op != "getitem" or axes is None or not isinstance(axes.constant, str):
                continue
            if not LAST_OF_SECOND.match(axes.constant.replace(" ", "")):
                continue
            before = graph.get(cut.inputs[0])
            if before is None or not is_recurrent(before.op) or before.op.endswith("_cell"):
                continue
            layer = objects.get(-1 if before.layer is None else before.layer)
            batch_first = layer.args.get("batch_first") if layer is not None else None
            if layer is None or batch_first is None or batch_first.constant is not False:
                continue
            moved = any(f.op in MOVING for number in before.inputs for f in graph.ancestors(number))
            if moved or not one_per_place(reported, cut.location or layer.location):
                continue
            yield self.finding(
                layer.location,
                f"this {layer.cls.rpartition('.')[2]} takes the first axis for time, but the code "
                "reads the last position of its second axis as the last step",
                help="pass `batch_first=True`, or read `out[-1]`",
                fix=self.repair(
                    "take the batch first",
                    edits.set_argument(program, layer.location, "batch_first", "True"),
                ),
                related=(Related(cut.location, "the last position is read here"),)
                if cut.location is not None
                else (),
                evidence=(Evidence("static", f"batch_first=False and out[{axes.constant}]"),),
            )
