"""SCH022: a resumed run whose gradient scaler starts over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Related, Severity
from convlint.program.facts import EventKind, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.handed import is_handed_on
from convlint.rules.patterns.ownership import name_of, object_of
from convlint.rules.patterns.paths import occurrences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class ResumeWithoutState(Rule):
    """A checkpoint restores the optimizer but not the gradient scaler.

    ## What it does
    Reports a script that calls `load_state_dict` of an optimizer and steps it through a
    `GradScaler` that is not restored.

    ## Why it hurts
    The scaler starts at 65536 again. Until it has halved itself to the scale the run had found,
    steps overflow and are skipped: the first of them after every resume.

    ## Example
        import torch
        from torch import nn

        model = nn.Linear(8, 2).cuda()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda")
        checkpoint = torch.load("last.pt")
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        x, y = torch.randn(64, 8).cuda(), torch.randint(0, 2, (64,)).cuda()
        for epoch in range(50):
            optimizer.zero_grad()
            with torch.autocast("cuda"):
                loss = criterion(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Linear(8, 2).cuda()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda")
        checkpoint = torch.load("last.pt")
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        scaler.load_state_dict(checkpoint["scaler"])
        x, y = torch.randn(64, 8).cuda(), torch.randint(0, 2, (64,)).cuda()
        for epoch in range(50):
            optimizer.zero_grad()
            with torch.autocast("cuda"):
                loss = criterion(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

    ## When it is fine
    A scaler that is disabled, or handed to other code.

    ## Measured
    Not measured.

    ## References
    - PyTorch, Automatic mixed precision examples, saving and resuming
    """

    code, slug, severity = "SCH022", "resume-without-state", Severity.WARNING
    confidence = Confidence.MEDIUM
    unmeasured_because = "the probe does not see the run that wrote the checkpoint"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report scalers a resumed run starts over."""
        if program.managed:
            return
        places: set[Location] = set()
        for entry in program.entries:
            for o in occurrences(entry.body):
                if o.kind is not EventKind.SCALER_STEP:
                    continue
                scaler = object_of(program, o.event.target)
                optimizer = object_of(program, o.event.optimizer)
                if scaler is None or scaler.kind is not ObjectKind.SCALER or scaler.symbolic:
                    continue
                if optimizer is None or "load_state_dict" not in optimizer.methods:
                    continue
                enabled = scaler.args.get("enabled")
                if enabled is not None and enabled.constant is not True:
                    continue
                if "load_state_dict" in scaler.methods or is_handed_on(program, scaler):
                    continue
                if one_per_place(places, scaler.location):
                    yield self.finding(
                        scaler.location,
                        f"`{name_of(optimizer, 'the optimizer')}` is restored from a checkpoint, "
                        f"`{name_of(scaler, 'the scaler')}` is not",
                        help="save and load the scaler's state_dict as well",
                        related=(Related(optimizer.location, "the optimizer"),),
                    )
