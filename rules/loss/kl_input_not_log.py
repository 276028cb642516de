"""LOS007: a Kullback-Leibler divergence of the wrong arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Fix, Severity
from convlint.rules import Rule
from convlint.rules.patterns import loss_edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import LossCall, TrainingProgram

PROBABILITIES = frozenset({"softmax", "softmax2d", "sigmoid"})
LOG_PROBABILITIES = frozenset({"log_softmax", "logsigmoid"})


class KlInputNotLog(Rule):
    """`kl_div` is given probabilities where it wants log-probabilities, or the reverse.

    ## What it does
    Follows both arguments of `kl_div` (`nn.KLDivLoss`) back to where they were made. Reports a first
    argument that is a softmax or sigmoid, a second argument that is a log-softmax without
    `log_target=True`, and a second argument that is a softmax with it.

    ## Why it hurts
    `kl_div` computes `target * (log(target) - input)`. With probabilities as the input it is linear in
    the prediction: it has no minimum at the target and can be negative.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        teacher = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            with torch.no_grad():
                wanted = F.softmax(teacher(x), dim=1)
            loss = F.kl_div(F.softmax(model(x), dim=1), wanted, reduction="batchmean")
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        teacher = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            with torch.no_grad():
                wanted = F.softmax(teacher(x), dim=1)
            loss = F.kl_div(F.log_softmax(model(x), dim=1), wanted, reduction="batchmean")
            loss.backward()
            optimizer.step()

    ## When it is fine
    `log_softmax` as the input and probabilities as the target, or `log_target=True` with two
    log-softmaxes.

    ## Measured
    Nothing is measured for it.

    ## References
    - PyTorch, `torch.nn.KLDivLoss`: the input is expected to be in log-space
    """

    code, slug, severity = "LOS007", "kl-input-not-log", Severity.ERROR
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per divergence one of whose arguments is in the wrong space."""
        graph = FlowGraph(program)
        places: set[Location] = set()
        for loss in trained_losses(program, frozenset({"kl_div"})):
            fault = _fault(graph, loss)
            if fault and one_per_place(places, loss.location):
                yield self.finding(
                    loss.location,
                    fault,
                    help="kl_div takes log-probabilities of the prediction first, then the target "
                    "probabilities",
                    fix=_fix(self, program, graph, loss),
                )


def _fault(graph: FlowGraph, loss: LossCall) -> str:
    """What is wrong with the arguments; empty when nothing surely is."""
    if graph.agreed_origin(loss.input, PROBABILITIES) is not None:
        return "kl_div expects log-probabilities first and receives probabilities"
    log_target = loss.args.get("log_target")
    if log_target is None or not log_target.known:
        return ""
    if log_target.constant and graph.agreed_origin(loss.target, PROBABILITIES) is not None:
        return "kl_div is told that the target is logarithmic and receives probabilities"
    if not log_target.constant and graph.agreed_origin(loss.target, LOG_PROBABILITIES) is not None:
        return "kl_div receives log-probabilities as its target without log_target=True"
    return ""


def _fix(
    rule: KlInputNotLog, program: TrainingProgram, graph: FlowGraph, loss: LossCall
) -> Fix | None:
    source = graph.agreed_origin(loss.input, PROBABILITIES)
    if source is not None:
        renamed = loss_edits.rename_operation(program, source, "log_softmax", "LogSoftmax")
        return rule.repair("use log_softmax", renamed)
    log_target = loss.args.get("log_target")
    told = log_target is not None and log_target.constant is True
    setting = loss_edits.set_loss_argument(program, loss, "log_target", str(not told))
    return rule.repair("say what the target is", setting)
