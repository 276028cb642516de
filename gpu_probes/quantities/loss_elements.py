"""Per-element losses and the best constant prediction, recomputed from a loss function's arguments.

The script's own loss value has been reduced, weighted and divided by accumulation steps by the
time it is back-propagated; comparing it with ln C would be comparing different things. Here each
element's loss is recomputed in float64 from what entered the loss function.

Every family accumulates sums that pool exactly over batches:

* ``losses``: the (weighted) loss terms and the weights they are divided by;
* ``masses``: for each constant prediction that could be made, how much target weight it would
  serve, from which the uninformed loss follows in closed form (an entropy, a variance).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHUNK: Final = 1 << 22
"""Elements of the loss input widened to float64 at a time (32 MiB, whatever the vocabulary)."""

CLAMPED_LOG: Final = -100.0
"""Where torch clamps the logarithms of `binary_cross_entropy`."""


@dataclass
class LossSums:
    """Sums over elements, on the device: terms l, weights w, and what a ratio estimator needs."""

    terms: torch.Tensor
    weights: torch.Tensor
    terms_squared: torch.Tensor
    weights_squared: torch.Tensor
    products: torch.Tensor
    elements: torch.Tensor

    @classmethod
    def of(cls, terms: torch.Tensor, weights: torch.Tensor, counted: torch.Tensor) -> LossSums:
        """Sums of float64 ``terms`` and ``weights`` where ``counted`` is true."""
        terms = terms.masked_fill(~counted, 0.0)
        weights = weights.masked_fill(~counted, 0.0)
        return cls(
            terms.sum(),
            weights.sum(),
            terms.square().sum(),
            weights.square().sum(),
            (terms * weights).sum(),
            counted.sum(),
        )

    def __add__(self, other: LossSums) -> LossSums:
        return LossSums(
            self.terms + other.terms.to(self.terms.device),
            self.weights + other.weights.to(self.terms.device),
            self.terms_squared + other.terms_squared.to(self.terms.device),
            self.weights_squared + other.weights_squared.to(self.terms.device),
            self.products + other.products.to(self.terms.device),
            self.elements + other.elements.to(self.terms.device),
        )

    def mean(self) -> tuple[float, float, int]:
        """Weighted mean, its standard error (ratio estimator) and the number of elements."""
        terms, weights, squares, weights_squared, products, elements = torch.stack(
            [
                self.terms,
                self.weights,
                self.terms_squared,
                self.weights_squared,
                self.products,
                self.elements.double(),
            ]
        ).tolist()
        count = int(elements)
        if count == 0 or weights == 0:
            return math.nan, math.nan, count
        mean = terms / weights
        residual = squares - 2 * mean * products + mean * mean * weights_squared
        if count < 2 or not math.isfinite(residual):
            return mean, math.nan, count
        return mean, math.sqrt(max(residual, 0.0) * count / (count - 1)) / abs(weights), count


@dataclass
class Masses:
    """Target weight per outcome of each constant prediction, on the device.

    ``kind`` is ``categorical`` (one prediction, ``table`` of shape (C,)), ``binary`` (``table``
    (2, outputs): weight of the positive and of the negative outcome) or ``real`` (``table``
    (3, outputs): count, sum and sum of squares about ``shift``). ``denominator`` is what the loss
    divides by.
    """

    kind: str
    table: torch.Tensor
    denominator: torch.Tensor
    shift: torch.Tensor | None = None

    def __add__(self, other: Masses) -> Masses:
        table = other.table.to(self.table.device)
        held = self.table
        if held.shape != table.shape:
            # Outputs that vary in number (sequence lengths) cannot have a constant each.
            held, table = held.sum(-1, keepdim=True), table.sum(-1, keepdim=True)
        return Masses(
            self.kind,
            held + table,
            self.denominator + other.denominator.to(self.table.device),
            self.shift,
        )

    def uninformed(self) -> float:
        """Loss of the best constant prediction on these very targets."""
        table = self.table
        if self.kind == "real":
            count, total, squares = table
            variance = squares / count - (total / count) ** 2
            return float((variance.clamp(min=0) * count).sum() / count.sum())
        if bool((table < 0).any()):
            return math.nan
        predicted = table / (table.sum(dim=0) if self.kind == "binary" else table.sum())
        # x ln x -> 0 at x = 0: an outcome that never happens costs nothing.
        loss = -torch.xlogy(table, predicted).sum() / self.denominator
        return float(loss)

    def uniform(self) -> float | None:
        """Loss of the uniform prediction: ln C, ln 2 times the mean weight; None for real."""
        if self.kind == "real":
            return None
        outcomes = 2 if self.kind == "binary" else self.table.numel()
        return float(math.log(outcomes) * self.table.sum() / self.denominator)


def categorical(
    function: str, entered: torch.Tensor, target: torch.Tensor, arguments: Mapping[str, Any]
) -> tuple[LossSums, Masses] | None:
    """`cross_entropy` and `nll_loss`, with class indices or class probabilities as targets.

    Honours ``ignore_index``, ``weight`` and ``label_smoothing`` as torch defines them; a mean over
    index targets is divided by the weights of the targets, one over probabilities by the rows.
    None when the arguments do not fit together (torch will raise by itself).
    """
    axis = 0 if entered.dim() == 1 else 1
    classes = entered.shape[axis]
    rows = entered.movedim(axis, -1).reshape(-1, classes)
    smoothing = float(arguments.get("label_smoothing") or 0.0)
    weight = _class_weights(arguments.get("weight"), classes, entered.device)
    if weight is None:
        return None
    probabilities = target.shape == entered.shape and target.is_floating_point()
    if probabilities:
        wanted = target.movedim(axis, -1).reshape(-1, classes)
    elif target.numel() == rows.shape[0] and not target.is_floating_point():
        wanted = target.reshape(-1)
    else:
        return None
    ignored = int(arguments.get("ignore_index", -100))
    losses: LossSums | None = None
    mass = torch.zeros(classes, dtype=torch.float64, device=entered.device)
    for logits, labels in _row_chunks(rows, wanted, classes):
        log_likelihood = logits.double()
        if function == "cross_entropy":
            log_likelihood = log_likelihood.log_softmax(dim=-1)
        if probabilities:
            share = labels.double() * (1 - smoothing) + smoothing / classes
            served = share * weight
            counted = torch.ones(len(served), dtype=torch.bool, device=served.device)
            terms = -_products(served, log_likelihood)
            divisor = torch.ones_like(terms)
            mass += served.sum(dim=0)
        else:
            counted = labels != ignored
            # Labels outside the classes make torch raise; here they must not crash the gather.
            index = torch.where(counted, labels, 0).long().clamp(0, classes - 1)
            divisor = weight[index]
            picked = log_likelihood.gather(1, index[:, None]).squeeze(1)
            terms = -(1 - smoothing) * divisor * picked
            mass.index_add_(0, index, (1 - smoothing) * divisor * counted)
            if smoothing:
                even = weight * (smoothing / classes)
                terms = terms - (even * log_likelihood).sum(dim=-1)
                mass += even * counted.sum()
        part = LossSums.of(terms, divisor, counted)
        losses = part if losses is None else losses + part
    if losses is None:
        return None
    return losses, Masses("categorical", mass, losses.weights)


def binary(
    function: str, entered: torch.Tensor, target: torch.Tensor, arguments: Mapping[str, Any]
) -> tuple[LossSums, Masses] | None:
    """`binary_cross_entropy` and `binary_cross_entropy_with_logits`.

    Honours ``weight`` and ``pos_weight``; the mean is over elements, as torch's is. One constant
    prediction per output (dimension 1). None when the shapes differ (torch will raise).
    """
    if entered.shape != target.shape or not entered.numel():
        return None
    weight = _broadcast(arguments.get("weight"), entered)
    positive = _broadcast(arguments.get("pos_weight"), entered)
    losses: LossSums | None = None
    masses: Masses | None = None
    for x, t, w, p in _leading_chunks(entered, target, weight, positive):
        wide, wanted = x.double(), t.double()
        if function == "binary_cross_entropy":
            log_yes = wide.log().clamp(min=CLAMPED_LOG)
            log_no = torch.log1p(-wide).clamp(min=CLAMPED_LOG)
        else:
            log_yes = torch.nn.functional.logsigmoid(wide)
            log_no = torch.nn.functional.logsigmoid(-wide)
        yes, no = w.double() * p.double() * wanted, w.double() * (1 - wanted)
        terms = -(yes * log_yes + no * log_no)
        part = LossSums.of(terms, torch.ones_like(terms), torch.ones_like(terms, dtype=torch.bool))
        table = torch.stack([_per_output(yes), _per_output(no)])
        mass = Masses("binary", table, part.weights)
        losses = part if losses is None else losses + part
        masses = mass if masses is None else masses + mass
    return None if losses is None or masses is None else (losses, masses)


def real(
    function: str, entered: torch.Tensor, target: torch.Tensor, shift: torch.Tensor | None
) -> tuple[LossSums, Masses | None] | None:
    """`mse_loss` (with the variance of its targets per output) and `l1_loss`, which broadcast.

    The variance is accumulated about ``shift`` (a previous batch's mean, shape (outputs,)) so that
    an offset costs no digits. For absolute errors the best constant is a median, which does not
    pool over batches: no masses.
    """
    shape = np.broadcast_shapes(tuple(entered.shape), tuple(target.shape))
    if not math.prod(shape):
        return None
    losses: LossSums | None = None
    for x, t in _leading_chunks(entered.expand(shape), target.expand(shape)):
        error = x.double() - t.double()
        terms = error.square() if function == "mse_loss" else error.abs()
        part = LossSums.of(terms, torch.ones_like(terms), torch.ones_like(terms, dtype=torch.bool))
        losses = part if losses is None else losses + part
    if losses is None:
        return None
    if function != "mse_loss" or target.dim() == 0:
        return losses, None
    wide = target.double()
    ones = _per_output(torch.ones_like(wide))
    if shift is None or shift.shape != ones.shape:
        shift = _per_output(wide) / ones
    centred = wide - _along_outputs(shift, wide)
    table = torch.stack([ones, _per_output(centred), _per_output(centred.square())])
    return losses, Masses("real", table, ones.sum(), shift)


def _products(served: torch.Tensor, log_likelihood: torch.Tensor) -> torch.Tensor:
    """Row sums of p ln q with 0 x -infinity = 0, as a masked class must cost nothing."""
    return torch.where(served == 0, torch.zeros_like(served), served * log_likelihood).sum(dim=-1)


def _class_weights(weight: Any, classes: int, device: torch.device) -> torch.Tensor | None:
    if weight is None:
        return torch.ones(classes, dtype=torch.float64, device=device)
    if not isinstance(weight, torch.Tensor) or weight.numel() != classes:
        return None
    return weight.detach().to(device).double().reshape(-1)


def _broadcast(factor: Any, like: torch.Tensor) -> torch.Tensor:
    if isinstance(factor, torch.Tensor):
        return factor.detach().to(like.device).expand(like.shape)
    return torch.ones((), device=like.device).expand(like.shape)


def _per_output(values: torch.Tensor) -> torch.Tensor:
    """Sums per output: per entry of dimension 1, over everything when there is none."""
    if values.dim() < 2:
        return values.sum().reshape(1)
    return values.sum(dim=[d for d in range(values.dim()) if d != 1])


def _along_outputs(per_output: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if like.dim() < 2:
        return per_output
    return per_output.reshape([-1 if d == 1 else 1 for d in range(like.dim())])


def _row_chunks(
    rows: torch.Tensor, wanted: torch.Tensor, classes: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    step = max(1, CHUNK // max(1, classes))
    for start in range(0, rows.shape[0], step):
        yield rows[start : start + step], wanted[start : start + step]


def _leading_chunks(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Slices of equally shaped tensors along the first dimension."""
    first = tensors[0]
    if first.dim() == 0:
        yield tensors
        return
    step = max(1, CHUNK // max(1, first.numel() // first.shape[0]))
    for start in range(0, first.shape[0], step):
        yield tuple(tensor[start : start + step] for tensor in tensors)
