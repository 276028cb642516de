"""INI009: loaded weights that are drawn anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import loop_edits, statement_edits
from convlint.rules.patterns.flows import (
    objects_by_id,
    one_per_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Call,
        Object,
        TrainingProgram,
    )


class ReinitAfterLoad(Rule):
    """The weights are initialised after they were loaded.

    ## What it does
    Reports `model.apply(init)` on a model that earlier received a state dict or came pretrained,
    where `init` sets weights.

    ## Why it hurts
    The initialisation overwrites everything that was loaded. Training starts from scratch,
    silently, with the learning rate meant for fine-tuning.

    ## Example
        import torch
        from torch import nn

        def init_weights(module):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)

        model = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 2))
        model.load_state_dict(torch.load("pretrained.pt"))
        model.apply(init_weights)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        def init_weights(module):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)

        model = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 2))
        model.apply(init_weights)
        model.load_state_dict(torch.load("pretrained.pt"))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Initialising a new head only; loading after the initialisation; the two in different branches.

    ## Measured
    Not measured.

    ## References
    - Humbatova et al., Taxonomy of real faults in deep learning systems, ICSE 2020
    """

    code, slug, severity = "INI009", "reinit-after-load", Severity.ERROR
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe does not know what the weights were meant to be"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per call that overwrites."""
        objects = objects_by_id(program)
        setting = {
            call.within[-1].rpartition(".")[2]
            for call in program.initialisations
            if call.within and call.parameter.startswith("weight")
        }
        loaded: dict[int, Call] = {}
        reported: set[Location] = set()
        for call in program.calls:
            receiver = call.receiver
            if receiver is None:
                continue
            if call.name == "torch.nn.Module.load_state_dict":
                loaded[receiver] = call
            elif call.name == "torch.nn.Module.apply":
                function = call.args.get("fn")
                name = (function.name or "").rpartition(".")[2] if function is not None else ""
                if name not in setting or not one_per_place(reported, call.location):
                    continue
                earlier = loaded.get(receiver)
                if (
                    earlier is not None
                    and earlier.conditions != call.conditions[: len(earlier.conditions)]
                ):
                    earlier = None
                if earlier is not None and earlier.within == call.within:
                    where, how = earlier.location, "the state dict is loaded here"
                elif _pretrained(objects.get(receiver)):
                    where, how = objects[receiver].location, "pretrained weights are loaded here"
                else:
                    continue
                yield self.finding(
                    call.location,
                    f"{name} draws the weights anew that were loaded before",
                    help="initialise before loading, or apply it to the new head only",
                    related=(Related(where, how),),
                    fix=self.repair(
                        "initialise before the weights are loaded",
                        loop_edits.move_before(program, call.location, where),
                    )
                    if earlier is not None and where == earlier.location
                    else self.repair(
                        "keep the loaded weights",
                        statement_edits.remove_statement(
                            program, statement_edits.lone_call(program, call.location)
                        ),
                    ),
                    evidence=(Evidence("static", "weights loaded, then initialised"),),
                )


def _pretrained(model: Object | None) -> bool:
    """Whether a library model was surely made with pretrained weights."""
    if model is None or model.kind is not ObjectKind.LAYER:
        return False
    if model.cls.endswith(".from_pretrained"):
        return True
    pretrained, weights = model.args.get("pretrained"), model.args.get("weights")
    if pretrained is not None and pretrained.constant is True:
        return True
    return weights is not None and (
        isinstance(weights.constant, str) or (weights.name or "").startswith("torchvision.models.")
    )
