"""Which parameters a loss reaches, and the gradient that this one backward pass gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.gpu_probes.quantities.parameters import TrackedParameter

if TYPE_CHECKING:
    import torch

    from convlint.gpu_probes.attach.forward_watch import ForwardPass
    from convlint.gpu_probes.attach.module_registry import Model
    from convlint.gpu_probes.attach.observer import Observer
    from convlint.gpu_probes.observations import Place


class ParameterWatch:
    """The parameters of the loss being back-propagated, while the initial ones are measured."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._described: dict[int, tuple[str, Place | None]] = {}
        self._before: dict[int, torch.Tensor] = {}
        self._tracked: dict[int, TrackedParameter] = {}
        self._leaves: set[int] = set()

    def describe(self, tensor: torch.Tensor) -> tuple[str, Place | None]:
        """Name and place of a parameter."""
        return self._described.get(id(tensor), ("parameter", None))

    def name(self, tensor: torch.Tensor) -> str | None:
        """Its name, when a loss was seen to reach it."""
        return self._described[id(tensor)][0] if id(tensor) in self._described else None

    def before_backward(self, forwards: list[ForwardPass], leaves: dict[int, torch.Tensor]) -> None:
        """A loss that reaches ``leaves`` is about to be back-propagated in the window."""
        measuring = self._observer.measuring
        self._tracked, self._leaves = {}, set(leaves)
        with measuring.section("parameters"):
            for model in {id(f.model): f.model for f in forwards}.values():
                self._track_model(model)
            for key, leaf in leaves.items():
                if key not in self._tracked:
                    self._track_stranger(key, leaf)
            for key, tracked in self._tracked.items():
                self._described[key] = (tracked.name, tracked.place)
        with measuring.section("parameters"):
            self._before = {
                key: leaf.grad.detach().clone()
                for key, leaf in leaves.items()
                if leaf.grad is not None
            }

    def after_backward(self, scale: float) -> None:
        """The gradients of the loss, multiplied by ``scale``, are in ``.grad``."""
        observer = self._observer
        if observer.window_open and self._tracked:
            with observer.measuring.section("parameters"):
                optimized = {
                    id(p) for record in observer.optimizers.records for p in record.parameters()
                }
                observer.parameters.after_backward(
                    list(self._tracked.values()),
                    self._leaves,
                    optimized,
                    self._own_gradients(scale),
                )
                for tracked in self._tracked.values():
                    # Infinite scaled gradients are how a GradScaler finds its scale.
                    if tracked.tensor.grad is not None and scale == 1.0:
                        observer.check_finite(
                            "gradient", tracked.name, tracked.tensor.grad, tracked.place
                        )
        self._before = {}

    def _track_model(self, model: Model) -> None:
        modules = dict(model.root.named_modules(remove_duplicate=False))
        for name, parameter in model.root.named_parameters():
            module = modules[name.rpartition(".")[0]]
            self._tracked[id(parameter)] = TrackedParameter(
                name=f"{model.prefix}{name}",
                tensor=parameter,
                module=model.module_name(module),
                cls=type(module).__name__,
                depth=model.depths.get(id(module), -1),
                place=self._observer.models.place(module, model),
            )

    def _track_stranger(self, key: int, leaf: torch.Tensor) -> None:
        """A leaf that no forward pass of this loss lists: worth a word when it is to learn."""
        for model in self._observer.models.models:
            if any(leaf is parameter for parameter in model.root.parameters()):
                self._track_model(model)
                return
        owner = self._observer.models.owner_of(leaf)
        if owner is None and not self._observer.optimizers.holding([key]):
            return
        module, name = owner if owner is not None else (None, "parameter")
        cls = type(module).__name__ if module is not None else type(leaf).__name__
        self._tracked[key] = TrackedParameter(
            name=f"{cls}.{name}",
            tensor=leaf,
            module="" if module is None else cls,
            cls=cls,
            place=self._observer.models.place(module) if module is not None else None,
            registered=module is None,
        )

    def _own_gradients(self, scale: float) -> dict[int, torch.Tensor | None] | None:
        """This backward pass's own gradients where ``.grad`` holds earlier ones too, unscaled."""
        if not self._before and scale == 1.0:
            return None
        gradients: dict[int, torch.Tensor | None] = {}
        for key, tracked in self._tracked.items():
            gradient, before = tracked.tensor.grad, self._before.get(key)
            if gradient is not None and before is not None and gradient.shape == before.shape:
                gradient = gradient - before
            if gradient is not None and scale != 1.0:
                gradient = gradient / scale
            gradients[key] = gradient
        return gradients
