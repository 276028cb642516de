"""LOG007: the loss jumps up again and again, or takes long to come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure
from convlint.rules.patterns.logs import at, logged_evidence, step, training_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.curves.facts import Curves, Spike

SHARE = 0.5
"""A spike that gives back half of what the loss had gained is one; smaller ones are noise."""
BEGINNING = 0.1
"""A rise above the start in this first part of the run gives little back: a queue of negatives that
fills, a warm-up."""
SEVERAL = 3
LONG = 0.02
"""Part of the run a single spike may take to heal before it is worth a word."""


class LossSpikes(Rule):
    """The training loss jumps up suddenly, several times or for long.

    ## What it does
    Reports a training loss with three or more spikes that gave back half of the progress made, or
    one that took more than 2 % of the run to heal. A spike stands ten deviations above the steps
    around it.

    ## Why it hurts
    A batch or an update threw the parameters off: time is lost until the loss is back, and a later
    spike may not heal.

    ## Example
        for step in range(300):
            spike = 3.0 if step in (120, 180, 240) else 0.0
            print(f"step {step} loss: {0.3 + 2.0 * 0.98**step + spike + 0.001 * (step % 7):.4f}")

    ## Use instead
        for step in range(300):
            print(f"step {step} loss: {0.3 + 2.0 * 0.98**step + 0.001 * (step % 7):.4f}")

    ## When it is fine
    One or two spikes that heal at once are common in large models; they are a note. A learning rate
    that is raised again lifts the loss on purpose.

    ## Measured
    `gradient-spikes` is what `convlint probe` measures of it.

    ## References
    - Chowdhery et al., PaLM: scaling language modeling with pathways, JMLR 2023, section 5.1
    - Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, ICML 2013
    """

    code, slug, severity = "LOG007", "loss-spikes", Severity.WARNING

    def logged(self, curves: Curves) -> Iterator[Finding]:
        """One finding for each training loss."""
        if curves.restarts:
            return
        for loss in training_losses(curves):
            if loss.kind in ("diverging", "oscillating") or loss.lost_from is not None:
                continue
            span = loss.last_step - loss.first_step
            begun = loss.first_step + BEGINNING * span
            spikes = [s for s in loss.spikes if _gives_back(s, begun)]
            if not spikes:
                continue
            worst = max(spikes, key=lambda spike: spike.height)
            serious = len(spikes) >= SEVERAL or any(_lasts(spike, span) for spike in spikes)
            times = "once" if len(spikes) == 1 else f"{len(spikes)} times"
            yield self.finding(
                at(curves, worst.line),
                f"{loss.name} jumps up {times}; the highest, by {figure(worst.height)} in step "
                f"{step(worst.step)}, {_healed(worst)}",
                help="clip gradients; look at the batches before the spikes; lower the learning rate "
                "or Adam's beta2",
                severity=None if serious else Severity.INFO,
                evidence=logged_evidence(
                    f"spikes of {loss.name}",
                    quantity="spikes",
                    value=float(len(spikes)),
                    expected="0",
                ),
            )


def _gives_back(spike: Spike, begun: float) -> bool:
    early = spike.step <= begun
    return (
        not early
        if spike.share is None
        else spike.share >= SHARE and not (early and spike.share > 1.0)
    )


def _lasts(spike: Spike, span: float) -> bool:
    return spike.recovery is None or spike.recovery > LONG * span


def _healed(spike: Spike) -> str:
    if spike.recovery is None:
        return "never healed"
    return f"healed in {step(spike.recovery)} steps"
