"""Largest Hessian eigenvalue: convlint's Lanczos against power iteration and scipy's eigsh.

Run ``python bench/curvature.py``. Every method gets the same operator (double backward on a small
convolutional network's loss, after 0 and 100 training steps) and is asked for 1 % accuracy. The
reference is eigsh at machine tolerance. Power iteration is the one of PyHessian (Yao et al. 2020):
its own package when importable, else its published stopping rule (relative change of the
Rayleigh quotient below the tolerance, at most 100 products). Power iteration is
also run with the reference at hand, until it really is as accurate as Lanczos was. Reported are
the mean number of Hessian-vector products, the worst relative error over seeds and the mean wall
time.
"""

from __future__ import annotations

import importlib.util
import time
from functools import partial

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.nn import functional as F

from convlint.gpu_probes.curvature.lanczos import TorchVectors, lanczos
from convlint.gpu_probes.curvature.operator import RetainedGraphHessian

ACCURACY = 1e-2
SEEDS = range(5)


def trained_model(steps):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    images = torch.randn(256, 1, 8, 8)
    labels = (images.flatten(1) @ torch.randn(64, 10)).argmax(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model, images, labels


def random_unit(like, seed):
    vector = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
    return vector / vector.norm()


def by_lanczos(hessian, seed):
    start = random_unit(hessian.gradient, seed)
    space = TorchVectors(start.dtype)
    seen = lanczos(hessian, start, space, iterations=100, tolerance=ACCURACY, lower_end=False)
    return seen.largest


def by_power_iteration(hessian, seed, most=100):
    vector, value = random_unit(hessian.gradient, seed), None
    for _ in range(most):
        product = hessian(vector)
        new = float(product @ vector)
        vector = product / product.norm()
        if value is not None and abs(value - new) / (abs(value) + 1e-6) < 1e-3:
            return new
        value = new
    return value


def by_power_iteration_told_when_to_stop(truth, hessian, seed):
    """Products until the Rayleigh quotient really is within ``truth['error']``: its best case."""
    vector = random_unit(hessian.gradient, seed)
    for _ in range(1000):
        product = hessian(vector)
        value = float(product @ vector)
        if abs(value - truth["value"]) <= truth["error"] * abs(truth["value"]):
            break
        vector = product / product.norm()
    return value


def by_eigsh(hessian, seed, tolerance=ACCURACY):
    def product(vector):
        return hessian(torch.from_numpy(np.asarray(vector, dtype=np.float32).ravel())).numpy()

    size = hessian.dimension
    operator = LinearOperator((size, size), matvec=product, dtype=np.float32)
    start = random_unit(hessian.gradient, seed).numpy()
    return float(eigsh(operator, k=1, which="LA", tol=tolerance, v0=start)[0][0])


def by_pyhessian(model, images, labels):
    from pyhessian import hessian as pyhessian

    model.eval()
    computed = pyhessian(model, F.cross_entropy, data=(images, labels), cuda=False)
    return computed.eigenvalues(maxIter=100, tol=1e-3)[0][0]


def main():
    torch.set_num_threads(1)
    print(f"{'steps':>5} {'method':<18} {'products':>8} {'error':>9} {'seconds':>8}")
    for steps in (0, 100):
        model, images, labels = trained_model(steps)
        loss = F.cross_entropy(model(images), labels)
        hessian = RetainedGraphHessian(loss, list(model.parameters()))
        reference = by_eigsh(hessian, 123, tolerance=0.0)
        truth = {"value": reference, "error": ACCURACY}
        methods = {
            "convlint Lanczos": by_lanczos,
            "power iteration": by_power_iteration,
            "power, same error": partial(by_power_iteration_told_when_to_stop, truth),
            "scipy eigsh": by_eigsh,
        }
        for name, method in methods.items():
            products, errors, seconds = [], [], []
            for seed in SEEDS:
                before, started = hessian.products, time.perf_counter()
                value = method(hessian, seed)
                seconds.append(time.perf_counter() - started)
                products.append(hessian.products - before)
                errors.append(abs(value - reference) / abs(reference))
            if method is by_lanczos:
                truth["error"] = max(errors)
            print(
                f"{steps:>5} {name:<18} {np.mean(products):>8.1f} {max(errors):>9.1e} "
                f"{np.mean(seconds):>8.3f}"
            )
        if importlib.util.find_spec("pyhessian") is not None:
            started = time.perf_counter()
            error = abs(by_pyhessian(model, images, labels) - reference) / abs(reference)
            print(
                f"{steps:>5} {'PyHessian':<18} {'':>8} {error:>9.1e} {time.perf_counter() - started:>8.3f}"
            )


if __name__ == "__main__":
    main()
