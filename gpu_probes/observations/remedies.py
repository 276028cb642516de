"""What changes to the run were tried on recorded steps, and what each brought."""

from __future__ import annotations

from dataclasses import dataclass

from convlint.gpu_probes.observations.values import Measurement, Place

KEEP = "keep"
"""``Remedy.kind`` of the run as it is."""

BETTER, WORSE, SAME = "better", "worse", "not distinguishable"
SLIGHT = "hardly better"
DROPPED = "given up early"
"""``Remedy.outcome``; that of ``KEEP`` is empty."""


@dataclass(frozen=True)
class Remedy:
    """One change of the run, and how the recorded steps went with it (PROBES.md R2).

    ``change`` names it, ``code`` is what to write, ``predicted`` what theory or another
    measurement expects of it. ``effect`` is by how much the change lowers the mean loss on
    held-out batches at the last checkpoint, paired over ``orders`` orders of the training
    batches; ``share`` is that effect as a share of the way from an untrained model to the lowest
    loss that any change reached. ``p`` is the one-sided probability of such an effect by chance,
    corrected for the number of changes tried. ``course`` is the mean held-out loss at each
    checkpoint, None where it is not finite.

    ``outcome`` is ``better``, ``hardly better`` (certainly, but by little or not for long),
    ``worse``, ``not distinguishable`` or ``given up early`` (other changes did better in the first
    orders). ``answers`` are the rules whose finding the change
    answers; one that answers none can be tried on any run.
    """

    kind: str
    change: str
    code: str
    predicted: str
    outcome: str
    effect: Measurement | None
    share: float | None
    p: float | None
    loss: float | None
    course: tuple[float | None, ...]
    orders: int
    answers: tuple[str, ...] = ()
    place: Place | None = None
    value: float | None = None
    """The change as a number: the factor of learning rates and of initial weights, else the new
    threshold, momentum, beta, decay or rate; None where it has none."""


@dataclass(frozen=True)
class Remedies:
    """Changes of the run, ranked: first what is better, then the run as it is, then the rest.

    Every change took the same ``horizon`` of steps from the same start on the same ``batches``
    recorded batches, gone through again and again in the same ``orders`` orders, and was judged at
    ``checkpoints`` by the mean loss on the same ``held_out`` batches. ``initial`` is that loss
    before the first step, ``untrained`` the loss of a model that has learnt nothing: the smaller
    of ``initial`` and of the best constant prediction. ``measure`` says how the judging loss
    differs from the script's, where a change corrects the loss itself. Losses above ``limit``, and
    those that are not finite, count as that.
    """

    tried: tuple[Remedy, ...]
    initial: float
    untrained: float
    horizon: int
    checkpoints: tuple[int, ...]
    batches: int
    held_out: int
    orders: int
    measure: str = ""
    limit: float | None = None
    seconds: float = 0.0
