"""The loss functions, and the graphs behind the losses that were back-propagated."""

from __future__ import annotations

from dataclasses import dataclass

from convlint.gpu_probes.observations.values import Measurement, Place


@dataclass(frozen=True)
class LossFunction:
    """One loss function that took part in the training loss, at one call site.

    ``function`` is ``cross_entropy``, ``nll_loss``, ``binary_cross_entropy``,
    ``binary_cross_entropy_with_logits``, ``mse_loss`` ... ``initial`` is the mean per-element loss
    at the initial parameters; ``uninformed`` the loss of the best constant predictor on the same
    targets (entropy of the label marginal, variance); ``uniform`` ln C or ln 2. The ``rows_*`` and
    ``values_*`` fractions are over the observed input rows. ``broadcast`` is the shape the two
    arguments broadcast to when it is larger than either.
    """

    function: str
    calls: int
    initial: Measurement
    uninformed: Measurement
    uniform: Measurement | None
    classes: int | None
    reduction: str
    input_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    broadcast: tuple[int, ...] | None
    rows_sum_to_one: float | None
    values_in_unit_interval: float | None
    rows_log_probabilities: float | None
    label_smoothing: float = 0.0
    back_propagated: bool = True
    made_by: str = ""
    """The operation whose result entered, as autograd names it (``Sigmoid``, ``Addmm``), empty when
    not known; operations that only reshape or select are looked through."""
    place: Place | None = None


@dataclass(frozen=True)
class GraphGrowth:
    """The autograd graphs of the back-propagated losses, one entry per backward pass.

    ``alive`` counts the graphs of earlier losses the script can still reach; ``nodes`` the nodes of
    each loss's own graph, for the passes whose graph was walked; ``place`` is that of the last.
    """

    alive: tuple[int, ...]
    nodes: tuple[int, ...]
    place: Place | None = None
