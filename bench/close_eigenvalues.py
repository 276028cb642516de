"""How often a stopping rule settles on the second of two close eigenvalues, by random starts.

    python bench/close_eigenvalues.py

The rules are those of ``curvature.py``, convlint's at 1 % and PyHessian's at its default tolerance and
at a tenth of that, on diagonal matrices
whose largest eigenvalue is 2. A start that hardly overlaps with the top eigenvector sees the second
one converge first: no rule that looks at one start alone can tell. Printed are the mean number of
products and how often the answer is off by more than 1 %.
"""

from __future__ import annotations

import numpy as np
import torch

from convlint.gpu_probes.curvature.lanczos import TorchVectors, lanczos

ACCURACY = 1e-2

CLOSE = {
    "a pair 1.5 % apart": (0.1, (1.97, 2.0)),
    "a pair 5 % apart": (0.1, (1.9, 2.0)),
    "a pair 20 % apart": (0.1, (1.6, 2.0)),
    "six outliers": (0.05, (0.5, 0.8, 1.2, 1.9, 1.96, 2.0)),
}
"""Spread of a bulk of 400 normal eigenvalues around zero, and the eigenvalues far above it."""


def main(starts: int = 300) -> None:
    """How often each stopping rule is off by more than 1 % where eigenvalues lie close together."""
    print(f"{'spectrum':22} {'method':20} {'products':>8} {'off':>8}")
    for name, (spread, outliers) in CLOSE.items():
        spectrum = torch.from_numpy(
            np.append(spread * np.random.default_rng(0).normal(size=400), outliers)
        )
        space = TorchVectors(torch.float64)
        rules: dict[str, list[tuple[float, int]]] = {}
        for seed in range(starts):
            start = torch.randn(
                spectrum.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
            )
            seen = lanczos(
                lambda v, spectrum=spectrum: spectrum * v,
                start,
                space,
                iterations=100,
                tolerance=ACCURACY,
                lower_end=False,
            )
            assert seen is not None
            rules.setdefault("convlint", []).append((seen.largest, seen.steps))
            for tolerance in (1e-3, 1e-4):
                answer = _by_pyhessian_rule(spectrum, start, tolerance)
                rules.setdefault(f"PyHessian's, {tolerance:.0e}", []).append(answer)
        for rule, answers in rules.items():
            off = np.mean([abs(value / 2.0 - 1.0) > ACCURACY for value, _ in answers])
            products = np.mean([made for _, made in answers])
            print(f"{name:22} {rule:20} {products:>8.1f} {100 * off:>6.0f} %")


def _by_pyhessian_rule(
    spectrum: torch.Tensor, vector: torch.Tensor, tolerance: float
) -> tuple[float, int]:
    """Power iteration until two values in turn differ by less, at most 500 products."""
    before: float | None = None
    value, made = 0.0, 0
    while made < 500:
        vector = vector / vector.norm()
        product, made = spectrum * vector, made + 1
        value = float(product @ vector)
        if before is not None and abs(value - before) < tolerance * abs(before):
            break
        before, vector = value, product
    return value, made


if __name__ == "__main__":
    main()
