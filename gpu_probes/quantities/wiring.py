"""Does the output depend on the input, and each sample's on its own alone? (PROBES.md M0)

Both are asked of a recorded forward pass, replayed with other inputs, the same parameters and the
same random draws. The answers are exact: a changed output is compared with the recorded one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from convlint.gpu_probes.observations import Measurement, SampleDependence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from convlint.gpu_probes.observations import Place
    from convlint.gpu_probes.tape.operations import Operation
    from convlint.gpu_probes.tape.tape import Tape

MOST_DIMENSIONS = 3
"""Dimensions tried for that of the samples; later ones are features."""

WIDENED = 1 << 22
"""Elements held in float64 at a time: the outputs of a language model are too many for all."""

ORDER_ALONE = 1e-4
"""Relative change below which an exchange of samples may have changed no more than the order in
which they are added up (single precision over a batch)."""


def input_response(tape: Tape, inputs: Mapping[str, int], outputs: tuple[int, ...]) -> Measurement:
    """How far the outputs move when the samples of every input are exchanged for each other.

    The largest relative change, rms(changed - recorded) / rms(recorded), over the outputs; 0 when
    no output follows any input. Where an exchange changes nothing, all samples are replaced by the
    first: a mean loss, or a pool over a set, follows its samples and not their order. Scalars count
    only where nothing else comes out, since a loss follows its targets too. ``inputs`` and
    ``outputs`` are values of the tape.

    Raises:
        TapeUnavailable: the tape cannot be replayed.
    """
    recorded = _outputs(tape, outputs, {})
    recorded = {n: value for n, value in recorded.items() if value.dim() > 0} or recorded
    exchanged = {number: _exchanged(tape, number) for number in inputs.values()}
    differs = [n for n, value in exchanged.items() if not torch.equal(value, tape.constant(n))]
    if not differs or not recorded:
        note = "all samples are alike" if recorded else "the loss does not depend on the output"
        return Measurement(None, unit="ratio", note=note)
    response = _largest_change(tape, recorded, exchanged)
    if response < ORDER_ALONE:
        alike = {n: tape.constant(n)[:1].expand_as(tape.constant(n)).clone() for n in exchanged}
        response = max(response, _largest_change(tape, recorded, alike))
    samples = max(tape.constant(n).shape[0] for n in exchanged)
    return Measurement(response, unit="ratio", n=samples)


def sample_dependence(
    tape: Tape,
    model: str,
    inputs: Mapping[str, int],
    outputs: tuple[int, ...],
    *,
    batch_size: int | None,
    batch_statistics: str,
    place: Place | None,
) -> SampleDependence | None:
    """Both invariants of one model, None where it has no input to exchange.

    ``batch_size`` is that of the script's loader; without it nothing tells which dimension holds
    the samples, and only the response to the input is measured. ``batch_statistics`` names a module
    that mixes the samples of a batch by design.

    Raises:
        TapeUnavailable: the tape cannot be replayed.
    """
    usable = {name: n for name, n in inputs.items() if tape.constant(n).dim() > 0}
    if not usable or not outputs:
        return None
    response = input_response(tape, usable, outputs)
    leak, dimension = None, None
    if batch_size is not None and batch_size > 1 and not batch_statistics:
        leak, dimension = _smallest_leak(tape, usable, outputs, batch_size)
    return SampleDependence(
        model=model,
        input_response=response,
        leak=leak,
        dimension=dimension,
        batch_size=batch_size,
        batch_statistics=batch_statistics,
        place=place,
    )


def _smallest_leak(
    tape: Tape, inputs: Mapping[str, int], outputs: tuple[int, ...], samples: int
) -> tuple[Measurement | None, int | None]:
    """Change of the other samples' output over that of the changed sample, along the dimension
    where it is smallest: a transposed batch is no leak."""
    recorded = _outputs(tape, outputs, {})
    best: tuple[float, int] | None = None
    for dimension in range(MOST_DIMENSIONS):
        with_samples = {
            n
            for n in inputs.values()
            if tape.constant(n).dim() > dimension and tape.constant(n).shape[dimension] == samples
        }
        answering = [
            n for n, v in recorded.items() if v.dim() > dimension and v.shape[dimension] == samples
        ]
        if not with_samples or not answering:
            continue
        exchanged = {n: _first_replaced(tape.constant(n), dimension) for n in with_samples}
        changed = _outputs(tape, outputs, exchanged)
        for n in answering:
            now, before = changed[n].movedim(dimension, 0), recorded[n].movedim(dimension, 0)
            own, others = _rms(now[0], before[0]), _rms(now[1:], before[1:])
            if own == 0.0 and others == 0.0:
                continue
            leak = others / own if own > 0.0 else float("inf")
            if best is None or leak < best[0]:
                best = leak, dimension
    if best is None:
        return None, None
    return Measurement(min(best[0], 1e12), unit="ratio", n=samples - 1), best[1]


def _largest_change(
    tape: Tape, recorded: Mapping[int, torch.Tensor], constants: Mapping[int, torch.Tensor]
) -> float:
    changed = _outputs(tape, tuple(recorded), constants)
    return max(_relative(changed[n], value) for n, value in recorded.items())


def _outputs(
    tape: Tape, outputs: tuple[int, ...], constants: Mapping[int, torch.Tensor]
) -> dict[int, torch.Tensor]:
    found: dict[int, torch.Tensor] = {}

    def observe(operation: Operation, result: Any) -> None:
        results = result if isinstance(result, (list, tuple)) else (result,)
        for number, tensor in zip(operation.outputs, results, strict=False):
            if number in outputs and isinstance(tensor, torch.Tensor) and number is not None:
                found[number] = tensor.detach().clone()

    with torch.no_grad():
        tape.loss(observe=observe, constants=constants)
    return found


def _exchanged(tape: Tape, number: int) -> torch.Tensor:
    return tape.constant(number).roll(1, 0)


def _first_replaced(value: torch.Tensor, dimension: int) -> torch.Tensor:
    """``value`` with its first sample replaced by the most different other one."""
    moved = value.movedim(dimension, 0)
    first = moved[0].double()
    distances = [float((other.double() - first).abs().sum()) for other in moved[1:]]
    replaced = moved.clone()
    replaced[0] = moved[1 + distances.index(max(distances))]
    return replaced.movedim(0, dimension).contiguous()


def _relative(changed: torch.Tensor, recorded: torch.Tensor) -> float:
    size = _rms(recorded)
    return _rms(changed, recorded) / size if size > 0.0 else 0.0


def _rms(values: torch.Tensor, others: torch.Tensor | None = None) -> float:
    """Root mean square of ``values``, or of how they differ from ``others``, added up in float64."""
    if not values.numel():
        return 0.0
    flat, flat_others = values.reshape(-1), None if others is None else others.reshape(-1)
    squares = torch.zeros((), dtype=torch.float64, device=values.device)
    for start in range(0, flat.numel(), WIDENED):
        part = flat[start : start + WIDENED].double()
        if flat_others is not None:
            part = part - flat_others[start : start + WIDENED].double()
        squares += part.square().sum()
    return float((squares / flat.numel()).sqrt())
