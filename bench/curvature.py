"""Hessian eigenvalue and spectral density: convlint, PyHessian and curvlinops with SciPy, in one run.

    PYTHONPATH=path/to/PyHessian python bench/curvature.py [--network resnet20|gpt] [--seeds 3]

PyHessian (Yao et al. 2020) is imported from its checkout; curvlinops installs with
``pip install --no-deps curvlinops-for-pytorch backpack-for-pytorch einops einconv linear-operator
tqdm``. Either is left out when it cannot be imported.

Every method gets the same network (a ResNet-20 on 32 x 32 pixels and a small GPT, at the start and
after a few steps of training), the same batch and one thread, and builds its own operator, which is
part of its time. The reference is SciPy's eigsh at 1e-6.

*Top eigenvalue*: convlint's Lanczos, which starts half from the gradient, half at random, and stops
once residual and gap put its error at 1 %, and as a probe runs it, certified to 1 % by the residual
alone, which makes it far more accurate than that;
PyHessian's power iteration at its defaults; power iteration told to stop once it is as
accurate as 1 %, its best case; eigsh at 1 % on curvlinops' operator, which computes the loss anew
for each product. Reported are Hessian-vector products, the worst relative error over the seeds and
seconds, both as means. Power iteration finds the eigenvalue largest in size, which at the start of
training is often a negative one; its error is held against that one.

*Density*: the first four moments of the spectrum, tr(Hᵏ)/n, from the quadrature nodes of each:
PyHessian at its default of 100 steps from one vector, and convlint's of 10 steps from one and from
four vectors. The reference averages vᵀHᵏv over many vectors. A quadrature of m steps has the
moments of its own vector exactly up to degree 2m - 1, so that what is left is the error of a sample
of vectors, which steps beyond a few do not lessen.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import itertools
import math
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.nn import functional as F

from convlint.gpu_probes.curvature.lanczos import TorchVectors, lanczos
from convlint.gpu_probes.curvature.measure import mixed_start
from convlint.gpu_probes.curvature.operator import RetainedGraphHessian

if TYPE_CHECKING:
    from collections.abc import Callable

ACCURACY = 1e-2
DENSITY_STEPS = 10
MOMENTS = (1, 2, 3, 4)


class Block(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, for CIFAR: padded identity)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.stride, self.added = stride, outputs - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x of shape (N, C, H, W)."""
        y = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return F.relu(y + shortcut)


class ResNet20(nn.Module):
    """ResNet-20: three stages of three blocks, 16, 32 and 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        self.stem, self.stem_norm = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(
            *(Block(a, b, 1 if a == b else 2) for a, b in itertools.pairwise(widths))
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of ten classes."""
        return self.head(self.blocks(F.relu(self.stem_norm(self.stem(x)))).mean((2, 3)))


class SmallGPT(nn.Module):
    """Two causal blocks over characters, width 64; attention written out, as fused attention has no
    second derivative on the CPU."""

    def __init__(self, characters: int, width: int = 64, length: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width),
                    "qkv": nn.Linear(width, 3 * width),
                    "out": nn.Linear(width, width),
                    "norm2": nn.LayerNorm(width),
                    "wide": nn.Linear(width, 4 * width),
                    "narrow": nn.Linear(4 * width, width),
                }
            )
            for _ in range(2)
        )
        self.norm, self.readout = nn.LayerNorm(width), nn.Linear(width, characters)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Logits of the next character, (batch, characters, length) as cross entropy wants them."""
        batch, length = codes.shape
        x = self.embedding(codes) + self.position[:length]
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
        for block in self.blocks:
            q, k, v = (
                part.view(batch, length, 4, -1).transpose(1, 2)
                for part in block["qkv"](block["norm1"](x)).chunk(3, dim=-1)
            )
            scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(
                hidden, -math.inf
            )
            mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, -1)
            x = x + block["out"](mixed)
            x = x + block["narrow"](F.gelu(block["wide"](block["norm2"](x))))
        return self.readout(self.norm(x)).transpose(1, 2)


Data = tuple[torch.Tensor, torch.Tensor]


def resnet20() -> tuple[nn.Module, Data, float]:
    """The network, a batch of smooth random pictures with ten classes, and a learning rate."""
    torch.manual_seed(0)
    coarse = torch.randn(8, 3, 8, 8)
    pictures = F.interpolate(coarse, size=32, mode="bilinear") + 0.1 * torch.randn(8, 3, 32, 32)
    return ResNet20(), (pictures, torch.arange(8)), 0.05


def gpt() -> tuple[nn.Module, Data, float]:
    """The network on the source text of Python's argparse."""
    torch.manual_seed(1)
    text = inspect.getsource(argparse)[:8000]
    letters = sorted(set(text))
    codes = torch.tensor([letters.index(letter) for letter in text])[: 8 * 33].view(8, 33)
    return SmallGPT(len(letters)), (codes[:, :-1], codes[:, 1:]), 0.1


NETWORKS = {"resnet20": resnet20, "gpt": gpt}


def train(model: nn.Module, data: Data, rate: float, steps: int) -> None:
    """A few full-batch steps, then evaluation mode, in which PyHessian measures."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(data[0]), data[1]).backward()
        optimizer.step()
    model.eval()


def own_operator(model: nn.Module, data: Data) -> RetainedGraphHessian:
    return RetainedGraphHessian(F.cross_entropy(model(data[0]), data[1]), list(model.parameters()))


def random_start(like: torch.Tensor, seed: int) -> torch.Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


Answer = tuple[float, int]
"""An eigenvalue and the products it took."""


def by_lanczos(model: nn.Module, data: Data, seed: int, *, by_gap: bool = True) -> Answer:
    hessian = own_operator(model, data)
    start = mixed_start(hessian.gradient, seed)
    seen = lanczos(
        hessian,
        start,
        TorchVectors(start.dtype),
        iterations=100,
        tolerance=ACCURACY,
        lower_end=False,
        by_gap=by_gap,
    )
    assert seen is not None
    return seen.largest, hessian.products


def by_pyhessian(model: nn.Module, data: Data, seed: int) -> Answer:
    module = importlib.import_module("pyhessian.hessian")

    torch.manual_seed(seed)
    products = _counted(module)
    computed = module.hessian(model, F.cross_entropy, data=data, cuda=False)
    value = float(computed.eigenvalues()[0][0])
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
        return hessian(torch.from_numpy(np.asarray(vector, dtype=np.float32).ravel())).numpy()

    operator = LinearOperator((hessian.dimension,) * 2, matvec=product, dtype=np.float32)
    start = random_start(hessian.gradient, 123).numpy()
    largest, dominant = (
        float(eigsh(operator, k=1, which=end, tol=1e-6, v0=start)[0][0]) for end in ("LA", "LM")
    )
    return largest, dominant


def eigenvalues(model: nn.Module, data: Data, at: str, seeds: range) -> None:
    largest, dominant = reference_eigenvalues(model, data)
    if dominant < 0.0:
        print(f"{at:22} the dominant eigenvalue is negative: {dominant:.4g} beside {largest:.4g}")
    methods: dict[str, Callable[[nn.Module, Data, int], Answer]] = {
        "convlint Lanczos": by_lanczos,
        "the same, certified": partial(by_lanczos, by_gap=False),
    }
    if importlib.util.find_spec("pyhessian") is not None:
        methods["PyHessian"] = by_pyhessian
    methods["power, told to stop"] = by_power_iteration_told_when_to_stop(dominant)
    if importlib.util.find_spec("curvlinops") is not None:
        methods["curvlinops + eigsh"] = by_curvlinops
    ours: tuple[float, float] | None = None
    for name, method in methods.items():
        products, errors, seconds = [], [], []
        reference = dominant if name in ("PyHessian", "power, told to stop") else largest
        for seed in seeds:
            started = time.process_time()
            value, made = method(model, data, seed)
            seconds.append(time.process_time() - started)
            products.append(made)
            errors.append(abs(value - reference) / abs(reference))
        mean, taken = float(np.mean(products)), float(np.mean(seconds))
        ours = ours or (mean, taken)
        print(
            f"{at:22} {name:20} {mean:>8.1f} {max(errors):>8.1e} {taken:>8.2f} "
            f"{mean / ours[0]:>9.1f} {taken / ours[1]:>8.1f}",
            flush=True,
        )


def density(model: nn.Module, data: Data, at: str, seeds: range, vectors: int) -> None:
    hessian = own_operator(model, data)
    truth = np.mean([_moments_of(hessian, 1000 + seed) for seed in range(vectors)], axis=0)
    rows: dict[str, list[tuple[np.ndarray, int]]] = {}
    for seed in seeds:
        for count in (1, 4):
            before = hessian.products
            found = [_own_moments(hessian, 10 * seed + i) for i in range(count)]
            answer = np.mean(found, axis=0), hessian.products - before
            rows.setdefault(f"convlint, {count} x {DENSITY_STEPS}", []).append(answer)
        if importlib.util.find_spec("pyhessian") is not None:
            rows.setdefault("PyHessian, 1 x 100", []).append(_pyhessian_moments(model, data, seed))
    for name, answers in rows.items():
        products = np.mean([made for _, made in answers])
        errors = np.sqrt(np.mean([(found / truth - 1.0) ** 2 for found, _ in answers], axis=0))
        shown = " ".join(f"{error:>8.1e}" for error in errors)
        print(f"{at:22} {name:20} {products:>8.0f} {shown}", flush=True)


def _moments_of(hessian: RetainedGraphHessian, seed: int) -> list[float]:
    """vᵀHᵏv / vᵀv for k = 1 … 4, from two products."""
    v = random_start(hessian.gradient, seed)
    v = (v / v.norm()).double()
    once = hessian(v.float()).double()
    twice = hessian(once.float()).double()
    return [float(v @ once), float(once @ once), float(once @ twice), float(twice @ twice)]


def _own_moments(hessian: RetainedGraphHessian, seed: int) -> list[float]:
    start = random_start(hessian.gradient, seed)
    space = TorchVectors(start.dtype)
    seen = lanczos(hessian, start, space, iterations=DENSITY_STEPS, tolerance=0.0)
    assert seen is not None
    return [float(seen.weights @ seen.values**k) for k in MOMENTS]


def _pyhessian_moments(model: nn.Module, data: Data, seed: int) -> tuple[np.ndarray, int]:
    module = importlib.import_module("pyhessian.hessian")

    torch.manual_seed(seed)
    products = _counted(module)
    computed = module.hessian(model, F.cross_entropy, data=data, cuda=False)
    values, weights = computed.density()
    model.zero_grad(set_to_none=True)
    nodes, shares = np.real(np.array(values[0])), np.real(np.array(weights[0]))
    return np.array([float(shares @ nodes**k) for k in MOMENTS]), len(products)


def main() -> None:
    """Both tables, for each network at the start and after training."""
    parser = argparse.ArgumentParser(description="Curvature side by side with PyHessian and SciPy.")
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="training steps of the second point")
    parser.add_argument("--no-density", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(arguments.seeds)
    for network in arguments.network or NETWORKS:
        model, data, rate = NETWORKS[network]()
        for steps in (0, arguments.steps):
            train(model, data, rate, steps)
            at = f"{network}, {steps} steps"
            print(
                f"\n{'largest eigenvalue':22} {'method':20} {'products':>8} {'error':>8} "
                f"{'CPU s':>8} {'× products':>9} {'× time':>8}"
            )
            eigenvalues(model, data, at, seeds)
            if not arguments.no_density:
                degrees = " ".join(f"{f'k = {k}':>8}" for k in MOMENTS)
                print(f"\n{'moments, rms error':22} {'method':20} {'products':>8} {degrees}")
                density(model, data, at, seeds, vectors=32)


if __name__ == "__main__":
    main()
