"""Hessian-vector products of a training loss at the script's own parameters.

``RetainedGraphHessian`` differentiates the gradient of a loss whose graph is at hand (reverse over
reverse, Pearlmutter 1994, "Fast Exact Multiplication by the Hessian"): exact, and deterministic
because the dropout masks are those of the graph. It does not write ``.grad`` or draw a random
number of the script's.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DOUBLE_BACKWARD = "double backward on the loss"
"""How products are made where nothing stands in the way."""


class CurvatureUnavailable(Exception):
    """The curvature cannot be measured here; ``reason`` is one line for the user."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class HessianOperator(Protocol):
    """A symmetric linear map over flat vectors, with the gradient at the same parameters."""

    parameters: tuple[torch.Tensor, ...]
    gradient: torch.Tensor
    products: int
    method: str

    @property
    def dimension(self) -> int:
        """Length of the flat vectors."""
        ...

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        """H @ vector; ``vector`` and result have shape (dimension,)."""
        ...


class RetainedGraphHessian:
    """H v = d(gᵀv)/dθ on the graph of ``loss``, which stays usable for the script's own backward.

    ``loss`` is a scalar with a graph; ``parameters`` are leaves, of which those the loss does not
    reach are left out. Vectors are float32, or float64 when a parameter is. Raises
    ``CurvatureUnavailable`` when the loss or its gradient is unusable.
    """

    def __init__(
        self,
        loss: torch.Tensor,
        parameters: Sequence[torch.Tensor],
        *,
        loss_scale: float = 1.0,
        method: str = DOUBLE_BACKWARD,
    ) -> None:
        require_usable(loss)
        _require_twice_differentiable_functions(loss)
        candidates = trainable(parameters)
        with torch.enable_grad(), unavailable_on_failure():
            gradients = torch.autograd.grad(
                loss, candidates, create_graph=True, retain_graph=True, allow_unused=True
            )
        reached = [(p, g) for p, g in zip(candidates, gradients, strict=True) if g is not None]
        if not reached:
            raise CurvatureUnavailable("the loss reaches no trainable parameter")
        self.parameters = tuple(p for p, _ in reached)
        self._gradients = tuple(g for _, g in reached)
        self._loss_scale = loss_scale
        self.method = method
        self.products = 0
        self._dtype, self._device = vector_type(self.parameters)
        self.gradient = self._flatten(self._gradients) / loss_scale
        if not bool(torch.isfinite(self.gradient).all()):
            raise CurvatureUnavailable("the gradient is not finite")
        if not any(g.requires_grad for g in self._gradients):
            raise CurvatureUnavailable(
                "the gradient has no graph of its own: the loss is piecewise linear, or an "
                "operation on the way has no second derivative"
            )

    @property
    def dimension(self) -> int:
        """Number of elements of the reached parameters."""
        return self.gradient.numel()

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        """One double backward."""
        self.products += 1
        outputs, weights = [], []
        for gradient, block in zip(self._gradients, blocks(vector, self.parameters), strict=True):
            if gradient.requires_grad:
                outputs.append(gradient)
                weights.append(block.to(device=gradient.device, dtype=gradient.dtype))
        with unavailable_on_failure():
            product = torch.autograd.grad(
                outputs, self.parameters, weights, retain_graph=True, allow_unused=True
            )
        return self._flatten(product) / self._loss_scale

    def _flatten(self, tensors: Sequence[torch.Tensor | None]) -> torch.Tensor:
        return flat(tensors, self.parameters, self._dtype, self._device)


class RescaledHessian:
    """± D^{1/2} H D^{1/2} + S for diagonal D >= 0 and S: the Hessian in an optimizer's own units."""

    def __init__(
        self,
        hessian: HessianOperator,
        scale: torch.Tensor,
        shift: torch.Tensor,
        sign: float = 1.0,
    ) -> None:
        self._hessian = hessian
        self._sign = sign
        self._root = scale.to(hessian.gradient).sqrt()
        self._shift = shift.to(hessian.gradient)
        self.parameters = hessian.parameters
        self.gradient = self._root * hessian.gradient
        self.method = hessian.method

    @property
    def products(self) -> int:
        """Products of the underlying Hessian."""
        return self._hessian.products

    @property
    def dimension(self) -> int:
        """Dimension of the underlying Hessian."""
        return self._hessian.dimension

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        """One product with the underlying Hessian."""
        product = self._root * self._hessian(self._root * vector)
        return self._sign * product + self._shift * vector


@contextlib.contextmanager
def preserved_random_state() -> Iterator[None]:
    """Put the CPU and CUDA generators of torch back where they were."""
    cpu = torch.get_rng_state()
    # Asking an idle CUDA for its state would start it, which takes memory and seconds.
    started = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if started else []
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


@contextlib.contextmanager
def restored(tensors: Sequence[torch.Tensor]) -> Iterator[None]:
    """Copy ``tensors`` back bit by bit afterwards, without moving their version counters."""
    kept = [t.detach().clone() for t in tensors]
    try:
        yield
    finally:
        for tensor, value in zip(tensors, kept, strict=True):
            tensor.data.copy_(value)


@contextlib.contextmanager
def unavailable_on_failure() -> Iterator[None]:
    """Turn whatever the script's autograd graph raises into ``CurvatureUnavailable``."""
    try:
        yield
    except CurvatureUnavailable:
        raise
    # Custom Functions, hooks and models of the script run in here and may raise anything.
    except Exception as error:
        raise CurvatureUnavailable(_reason(error)) from error


def _reason(error: Exception) -> str:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return "not enough memory for second derivatives"
    lowered = first_line.lower()
    if "not implemented" in lowered or "double backward" in lowered or "once_diff" in lowered:
        return f"an operation of the loss has no second derivative: {first_line}"
    return f"differentiating the gradient failed: {first_line}"


def require_usable(loss: torch.Tensor) -> None:
    if loss.numel() != 1:
        raise CurvatureUnavailable(f"the loss is not a scalar but of shape {tuple(loss.shape)}")
    if not loss.requires_grad:
        raise CurvatureUnavailable("the loss does not require grad")
    if not bool(torch.isfinite(loss.detach()).all()):
        raise CurvatureUnavailable("the loss is not finite")


def _require_twice_differentiable_functions(loss: torch.Tensor) -> None:
    """Refuse custom Functions marked ``once_differentiable``.

    The mark raises only when the incoming gradient carries a graph; at the end of a loss it does
    not, and the curvature of the Function would silently be missing.
    """
    pending, seen = [loss.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        pending.extend(following for following, _ in node.next_functions)
        function = getattr(node, "_forward_cls", None)
        code = getattr(getattr(function, "backward", None), "__code__", None)
        if code is _ONCE_DIFFERENTIABLE_CODE:
            name = getattr(function, "__name__", "a custom Function")
            raise CurvatureUnavailable(f"an operation of the loss has no second derivative: {name}")


_ONCE_DIFFERENTIABLE_CODE = torch.autograd.function.once_differentiable(lambda ctx: ctx).__code__


def trainable(parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    unique = {id(p): p for p in parameters if p.requires_grad and p.is_floating_point()}
    if not unique:
        raise CurvatureUnavailable("no trainable floating-point parameter")
    for parameter in unique.values():
        if type(parameter).__name__ == "DTensor" or hasattr(parameter, "_local_tensor"):
            raise CurvatureUnavailable("parameters are sharded over several processes")
    return list(unique.values())


def vector_type(parameters: Sequence[torch.Tensor]) -> tuple[torch.dtype, torch.device]:
    double = any(p.dtype == torch.float64 for p in parameters)
    return (torch.float64 if double else torch.float32), parameters[0].device


def flat(
    tensors: Sequence[torch.Tensor | None],
    parameters: Sequence[torch.Tensor],
    dtype: torch.dtype,
    device: torch.device,
) -> torch.Tensor:
    pieces = []
    for tensor, parameter in zip(tensors, parameters, strict=True):
        if tensor is None:
            pieces.append(torch.zeros(parameter.numel(), dtype=dtype, device=device))
        elif tensor.layout != torch.strided:
            raise CurvatureUnavailable("a gradient is sparse")
        else:
            pieces.append(tensor.detach().to(device=device, dtype=dtype).reshape(-1))
    return torch.cat(pieces)


def blocks(vector: torch.Tensor, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    pieces = torch.split(vector, [p.numel() for p in parameters])
    return [piece.view(p.shape) for piece, p in zip(pieces, parameters, strict=True)]
