"""Hessian eigenvalue and spectral density: convlint, PyHessian and curvlinops with SciPy, in one run.

    PYTHONPATH=path/to/PyHessian python bench/curvature.py [--network NAME] [--seeds N] [--device cuda]

PyHessian (Yao et al. 2020) is imported from its checkout; curvlinops installs with
``pip install --no-deps curvlinops-for-pytorch backpack-for-pytorch einops einconv linear-operator
tqdm``. Either is left out when it cannot be imported.

Every method gets the same network (a ResNet-20 on 32 x 32 pixels, ``resnet20`` on eight smooth
random pictures and ``resnet20-digits`` on enlarged digits of scikit-learn's, and a small ``gpt``, at
the start and after 10 to 300 steps of training), the same batch and one thread, and builds its own
operator, which is part of its time. On the CPU, seconds are of the processor, so that what else runs
disturbs them less; on CUDA, where most of them are spent launching kernels, they are wall seconds
until the device is idle. The reference is SciPy's eigsh at 1e-6.

*Top eigenvalue*: convlint's Lanczos as a probe runs it, from a random vector sized like the gradient
with some of the gradient in it; PyHessian's power iteration at its default tolerance of 1e-3 and at
1e-4 and 1e-5; power iteration told to stop once it is as accurate as 1 %, its best case, which nobody
has who does not know the answer; eigsh at 1 % on curvlinops' operator, which computes the loss anew
for each product, on one seed. Reported are Hessian-vector products, the share of the seeds that come
out more than 1 % off, the worst relative error and seconds, all but the worst as means, and how many
times as many the others take as the first; at the end the same for all points of a network together.
Power iteration finds the eigenvalue largest in size, which at the start of training is often a
negative one; its error is held against that one, and how long it takes depends on the seed, from 24
to 80 products for the GPT at the start.

At their defaults the two are not equally right: power iteration stops when its value hardly moves,
which it does wherever the two largest eigenvalues are close, and is then off by their distance or
more; hence its two smaller tolerances. Where one eigenvalue stands far above the rest, as after 10 steps of the ResNet, power
iteration itself is done after five products, and Lanczos, which learns what the residual is only with
the second, cannot do with a third of that. ``close_eigenvalues.py`` says how often each rule stops on
the second of two close values.

*Density*: the first four moments of the spectrum, tr(Hᵏ)/n, from the quadrature nodes of each:
PyHessian at its default of 100 steps from one vector; convlint's, 20 steps that find the outlying
eigenvalues and 10 from each of two random vectors without them; and 10 steps from four plain
vectors. The reference averages vᵀHᵏv over many vectors without the outliers, which it counts one by
one. A quadrature of m steps has the moments of its own vector exactly up to degree 2m - 1, so that
what is left is the error of a sample of vectors, which steps beyond a few do not lessen. Errors of
odd moments are shares of what bounds them, (tr(Hᵏ⁻¹) tr(Hᵏ⁺¹))^½ / n, as they nearly vanish where
the spectrum is symmetric.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import math
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from curvature_networks import NETWORKS, train
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.nn import functional as F

from convlint.gpu_probes.curvature.density import STEPS, converged_pairs, spectral_density
from convlint.gpu_probes.curvature.lanczos import TorchVectors, lanczos
from convlint.gpu_probes.curvature.measure import mixed_start
from convlint.gpu_probes.curvature.operator import RetainedGraphHessian

if TYPE_CHECKING:
    from collections.abc import Callable

    from curvature_networks import Data

    from convlint.gpu_probes.curvature.density import Density, EigenPair

ACCURACY = 1e-2
FINDING_STEPS = 20
"""Lanczos steps that find the outlying eigenvalues, as a probe at tier standard makes them."""

TOLERANCES = (1e-3, 1e-4, 1e-5)
"""Of PyHessian's power iteration, relative to the eigenvalue; the first is its default."""

MOMENTS = (1, 2, 3, 4)

STEPS_OF_TRAINING = (0, 10, 30, 100, 300)

SEEDS = {"resnet20": 4, "resnet20-digits": 2, "gpt": 8}
"""As many as fit into some minutes; the products of power iteration scatter by a factor of three."""

DENSITY_SEEDS = {"resnet20": 4, "resnet20-digits": 1, "gpt": 6}


def own_operator(model: nn.Module, data: Data) -> RetainedGraphHessian:
    return RetainedGraphHessian(F.cross_entropy(model(data[0]), data[1]), list(model.parameters()))


def random_start(like: torch.Tensor, seed: int) -> torch.Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)).to(like.device)


def clock(data: Data) -> float:
    """Seconds of the processor, or of the wall once CUDA is idle."""
    if not data[0].is_cuda:
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


@dataclass
class Row:
    """One method at one point, or at all points of a network, over the seeds."""

    products: float
    seconds: float
    off: list[bool]
    worst: float

    def __add__(self, other: Row) -> Row:
        return Row(
            self.products + other.products,
            self.seconds + other.seconds,
            self.off + other.off,
            max(self.worst, other.worst),
        )


Rows = dict[str, Row]
"""By method, convlint's first."""

Answer = tuple[float, int]
"""An eigenvalue and the products it took."""


def by_lanczos(model: nn.Module, data: Data, seed: int) -> Answer:
    hessian = own_operator(model, data)
    start = mixed_start(hessian.gradient, hessian.parameters, seed)
    space = TorchVectors(start.dtype)
    seen = lanczos(hessian, start, space, iterations=100, tolerance=ACCURACY, lower_end=False)
    assert seen is not None
    return seen.largest, hessian.products


def by_pyhessian(model: nn.Module, data: Data, seed: int, *, tolerance: float) -> Answer:
    module = importlib.import_module("pyhessian.hessian")

    torch.manual_seed(seed)
    products = _counted(module)
    computed = module.hessian(model, F.cross_entropy, data=data, cuda=data[0].is_cuda)
    # 100 products by default, which the smaller tolerances may need more than.
    limit = 100 if tolerance == TOLERANCES[0] else 500
    value = float(computed.eigenvalues(maxIter=limit, tol=tolerance)[0][0])
    model.zero_grad(set_to_none=True)
    return value, len(products)


def _counted(module: object) -> list[None]:
    """A list that grows by one for each product PyHessian makes from now on."""
    from pyhessian.utils import hessian_vector_product

    products: list[None] = []

    def counted(*arguments: object) -> object:
        products.append(None)
        return hessian_vector_product(*arguments)

    module.hessian_vector_product = counted  # type: ignore[attr-defined]
    return products


def by_power_iteration_told_when_to_stop(
    reference: float,
) -> Callable[[nn.Module, Data, int], Answer]:
    """Power iteration until it really is within 1 %."""

    def iterate(model: nn.Module, data: Data, seed: int) -> Answer:
        hessian = own_operator(model, data)
        vector = random_start(hessian.gradient, seed)
        for _ in range(300):
            vector = vector / vector.norm()
            product = hessian(vector)
            value = float(product @ vector)
            if abs(value - reference) <= ACCURACY * abs(reference):
                break
            vector = product
        return value, hessian.products

    return iterate


def by_curvlinops(model: nn.Module, data: Data, seed: int) -> Answer:
    from curvlinops import HessianLinearOperator

    parameters = [p for p in model.parameters() if p.requires_grad]
    hessian = HessianLinearOperator(
        model, nn.CrossEntropyLoss(), parameters, [data], check_deterministic=False
    )
    scipy = hessian.to_scipy()
    products: list[None] = []

    def product(vector: np.ndarray) -> np.ndarray:
        products.append(None)
        return scipy @ vector.astype(np.float32)

    size = sum(p.numel() for p in parameters)
    start = random_start(torch.empty(size), seed).numpy()
    operator = LinearOperator((size, size), matvec=product, dtype=np.float32)
    value = float(eigsh(operator, k=1, which="LA", tol=ACCURACY, v0=start)[0][0])
    return value, len(products)


def reference_eigenvalues(model: nn.Module, data: Data) -> tuple[float, float]:
    """The largest eigenvalue, and the largest in size, which is what power iteration goes to."""
    hessian = own_operator(model, data)

    def product(vector: np.ndarray) -> np.ndarray:
        flat = torch.from_numpy(np.asarray(vector, dtype=np.float32).ravel())
        return hessian(flat.to(hessian.gradient.device)).cpu().numpy()

    operator = LinearOperator((hessian.dimension,) * 2, matvec=product, dtype=np.float32)
    start = random_start(hessian.gradient, 123).cpu().numpy()
    largest, dominant = (
        float(eigsh(operator, k=1, which=end, tol=1e-6, v0=start)[0][0]) for end in ("LA", "LM")
    )
    return largest, dominant


def eigenvalues(model: nn.Module, data: Data, at: str, seeds: range) -> Rows:
    largest, dominant = reference_eigenvalues(model, data)
    if dominant < 0.0:
        print(f"{at:24} the dominant eigenvalue is negative: {dominant:.4g} beside {largest:.4g}")
    methods: dict[str, Callable[[nn.Module, Data, int], Answer]] = {"convlint": by_lanczos}
    if importlib.util.find_spec("pyhessian") is not None:
        for tolerance in TOLERANCES:
            name = f"PyHessian, {tolerance:.0e}"
            methods[name] = partial(by_pyhessian, tolerance=tolerance)
    methods["power, told to stop"] = by_power_iteration_told_when_to_stop(dominant)
    if importlib.util.find_spec("curvlinops") is not None:
        methods["curvlinops + eigsh"] = by_curvlinops
    rows: Rows = {}
    for name, method in methods.items():
        products, errors, seconds = [], [], []
        reference = dominant if name.startswith(("PyHessian", "power")) else largest
        for seed in seeds[:1] if name.startswith("curvlinops") else seeds:
            started = clock(data)
            value, made = method(model, data, seed)
            seconds.append(clock(data) - started)
            products.append(made)
            errors.append(abs(value - reference) / abs(reference))
        rows[name] = Row(
            float(np.mean(products)),
            float(np.mean(seconds)),
            [error > ACCURACY for error in errors],
            max(errors),
        )
        _print_row(at, name, rows)
    return rows


def _print_row(at: str, name: str, rows: Rows) -> None:
    row, ours = rows[name], next(iter(rows.values()))
    print(
        f"{at:24} {name:20} {row.products:>8.1f} {100 * np.mean(row.off):>6.0f} % "
        f"{row.worst:>8.1e} {row.seconds:>8.2f} {row.products / ours.products:>9.1f} "
        f"{row.seconds / ours.seconds:>8.1f}",
        flush=True,
    )


def density(model: nn.Module, data: Data, at: str, seeds: range, vectors: int) -> None:
    hessian = own_operator(model, data)
    truth = _reference_moments(hessian, vectors)
    rows: dict[str, list[tuple[np.ndarray, int]]] = {}
    for seed in seeds:
        for name, estimate in (
            (f"convlint, {FINDING_STEPS} + 2 x {STEPS}", _moments_without_outliers),
            (f"convlint, 4 x {STEPS}", _plain_moments),
        ):
            before = hessian.products
            found = estimate(hessian, seed)
            rows.setdefault(name, []).append((found, hessian.products - before))
        if importlib.util.find_spec("pyhessian") is not None:
            rows.setdefault("PyHessian, 1 x 100", []).append(_pyhessian_moments(model, data, seed))
    # Odd moments may vanish; the mean of |λ|ᵏ, which bounds them, does not (Cauchy and Schwarz).
    scale = truth.copy()
    scale[0], scale[2] = math.sqrt(truth[1]), math.sqrt(truth[1] * truth[3])
    for name, answers in rows.items():
        products = np.mean([made for _, made in answers])
        off = [((found - truth) / scale) ** 2 for found, _ in answers]
        errors = np.sqrt(np.mean(off, axis=0))
        shown = " ".join(f"{error:>8.1e}" for error in errors)
        print(f"{at:24} {name:20} {products:>8.0f} {shown}", flush=True)


def _moments(density: Density | None) -> np.ndarray:
    assert density is not None
    return np.array([moment.value for moment in density.moments])


def _outliers(hessian: RetainedGraphHessian, seed: int, iterations: int) -> list[EigenPair]:
    start, basis = random_start(hessian.gradient, seed), []
    space = TorchVectors(start.dtype)
    seen = lanczos(hessian, start, space, iterations=iterations, tolerance=0.0, basis=basis)
    assert seen is not None
    return converged_pairs(seen, basis)


def _moments_without_outliers(hessian: RetainedGraphHessian, seed: int) -> np.ndarray:
    pairs = _outliers(hessian, 10 * seed, FINDING_STEPS)
    return _moments(spectral_density(hessian, pairs, vectors=2, seed=10 * seed + 1))


def _plain_moments(hessian: RetainedGraphHessian, seed: int) -> np.ndarray:
    return _moments(spectral_density(hessian, [], vectors=4, seed=10 * seed + 2))


def _reference_moments(hessian: RetainedGraphHessian, vectors: int) -> np.ndarray:
    """Outliers one by one, and vᵀHᵏv of ``vectors`` vectors without them, from two products each."""
    pairs = _outliers(hessian, 999, 2 * FINDING_STEPS)
    known = [pair.vector for pair in pairs]
    space, sample = TorchVectors(torch.float32), []
    for seed in range(vectors):
        v = space.project_out(known, random_start(hessian.gradient, 1000 + seed))
        v = v / v.norm()
        once = space.project_out(known, hessian(v))
        twice = space.project_out(known, hessian(once)).double()
        v, once = v.double(), once.double()
        sample.append([float(v @ once), float(once @ once), float(once @ twice)])
        sample[-1].append(float(twice @ twice))
    rest = np.mean(sample, axis=0) * (hessian.dimension - len(pairs))
    single = np.array([sum(pair.value**k for pair in pairs) for k in MOMENTS])
    return (single + rest) / hessian.dimension


def _pyhessian_moments(model: nn.Module, data: Data, seed: int) -> tuple[np.ndarray, int]:
    module = importlib.import_module("pyhessian.hessian")

    torch.manual_seed(seed)
    products = _counted(module)
    computed = module.hessian(model, F.cross_entropy, data=data, cuda=data[0].is_cuda)
    values, weights = computed.density()
    model.zero_grad(set_to_none=True)
    nodes, shares = np.real(np.array(values[0])), np.real(np.array(weights[0]))
    return np.array([float(shares @ nodes**k) for k in MOMENTS]), len(products)


def main() -> None:
    """Both tables, for each network at the start and after training."""
    parser = argparse.ArgumentParser(description="Curvature side by side with PyHessian and SciPy.")
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--seeds", type=int, help="of both tables; by default as many as are quick")
    parser.add_argument(
        "--steps", type=int, action="append", help="training steps before a point; may be repeated"
    )
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--no-density", action="store_true")
    parser.add_argument("--density-only", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for network in arguments.network or NETWORKS:
        model, data, rate = NETWORKS[network]()
        model, data = model.to(arguments.device), tuple(part.to(arguments.device) for part in data)
        together: Rows = {}
        done = 0
        for steps in arguments.steps or STEPS_OF_TRAINING:
            train(model, data, rate, steps - done)
            done = steps
            at = f"{network}, {steps} steps"
            if not arguments.density_only:
                print(
                    f"\n{'largest eigenvalue':24} {'method':20} {'products':>8} {'off':>8} "
                    f"{'worst':>8} {'seconds':>8} {'× products':>9} {'× time':>8}"
                )
                for name, row in eigenvalues(
                    model, data, at, range(arguments.seeds or SEEDS[network])
                ).items():
                    together[name] = together[name] + row if name in together else row
            if not arguments.no_density:
                degrees = " ".join(f"{f'k = {k}':>8}" for k in MOMENTS)
                print(f"\n{'moments, rms error':24} {'method':20} {'products':>8} {degrees}")
                seeds = range(arguments.seeds or DENSITY_SEEDS[network])
                density(model, data, at, seeds, vectors=32)
        print()
        for name in together:
            _print_row(f"{network}, all points", name, together)


if __name__ == "__main__":
    main()
