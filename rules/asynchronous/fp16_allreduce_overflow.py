"""ASY004: large gradients sent in half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Related, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import (
    one_per_place,
)
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )
    from convlint.rules import Changes


class Fp16AllreduceOverflow(Rule):
    """Summed losses give gradients that overflow in half precision.

    ## What it does
    Reports `fp16_compress_hook` in a program that trains on a loss with `reduction="sum"`.

    ## Why it hurts
    float16 ends at 65504. Gradients of a loss summed over the batch are as many times larger as
    the batch has examples; one overflow makes infinities on all ranks.

    ## Example
        import torch
        from torch import nn
        from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
        from torch.nn.parallel import DistributedDataParallel

        model = DistributedDataParallel(nn.Linear(20, 2))
        model.register_comm_hook(None, default_hooks.fp16_compress_hook)
        criterion = nn.CrossEntropyLoss(reduction="sum")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
        from torch.nn.parallel import DistributedDataParallel

        model = DistributedDataParallel(nn.Linear(20, 2))
        model.register_comm_hook(None, default_hooks.fp16_compress_hook)
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Mean losses; `bf16_compress_hook`, which has the range of float32.

    ## Measured
    `convlint probe` finds gradients that are not finite.

    ## References
    - PyTorch, `fp16_compress_hook` and `bf16_compress_hook`
    """

    code, slug, severity = "ASY004", "fp16-allreduce-overflow", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("non-finite",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per hook."""
        summed = [
            loss
            for loss in trained_losses(program, None)
            if (reduction := loss.args.get("reduction")) is not None and reduction.constant == "sum"
        ]
        reported: set[Location] = set()
        for call in program.calls:
            hook = call.args.get("hook")
            if call.name != "torch.nn.Module.register_comm_hook" or hook is None or not summed:
                continue
            if (hook.name or "").endswith(".fp16_compress_hook") and one_per_place(
                reported, call.location
            ):
                yield self.finding(
                    call.location,
                    "the gradients of a summed loss may overflow when they are sent in half precision",
                    help="use bf16_compress_hook, or average the loss",
                    related=(Related(summed[0].location, "the summed loss"),),
                    fix=self.repair("send them in bfloat16", _in_bfloat16(program, call.location)),
                    evidence=(Evidence("static", 'fp16_compress_hook and reduction="sum"'),),
                )


def _in_bfloat16(program: TrainingProgram, place: Location) -> Changes:
    call = edits.call_at(program, place)
    hook = None if call is None else call.argument("hook", 1)
    if hook is None or not hook.text.endswith(".fp16_compress_hook"):
        return None
    return edits.replace(hook.value, hook.text.replace("fp16_compress", "bf16_compress"))
