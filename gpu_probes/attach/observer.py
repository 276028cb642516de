"""Follows one training script through its phases and gathers what the recorders saw.

``hold``: optimizer and scheduler steps are withheld and several batches seen at the same
parameters. ``run``: real steps. The *window* is the time in which the measurements of the initial
parameters are fed: the hold, or without one everything before the first real step.
"""

from __future__ import annotations

import functools
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from convlint.gpu_probes.attach.assemble import assemble_observations
from convlint.gpu_probes.attach.autograd_graph import LossGraph, tensors_in, walk_graph
from convlint.gpu_probes.attach.curvature_points import CurvaturePoints
from convlint.gpu_probes.attach.environment import machine_is_busy
from convlint.gpu_probes.attach.forward_watch import ForwardPass, ForwardWatch
from convlint.gpu_probes.attach.loss_watch import LossWatch
from convlint.gpu_probes.attach.measuring import Measuring, kept_random_state
from convlint.gpu_probes.attach.module_registry import CreationPlaces, Model, ModelRegistry
from convlint.gpu_probes.attach.optimizer_watch import (
    OptimizerRecord,
    OptimizerWatch,
    evaluates_once,
    is_sharded,
    learning_rate,
)
from convlint.gpu_probes.attach.pacing import Pacing
from convlint.gpu_probes.attach.places import user_place
from convlint.gpu_probes.attach.ranks import RankWatch
from convlint.gpu_probes.attach.schedule_watch import ScheduleWatch
from convlint.gpu_probes.attach.step_series import StepSeries
from convlint.gpu_probes.attach.tape_watch import TapeWatch
from convlint.gpu_probes.attach.taped_checks import TapedChecks
from convlint.gpu_probes.quantities.gradient_history import GradientHistoryRecorder
from convlint.gpu_probes.quantities.graph_growth import GraphGrowthRecorder
from convlint.gpu_probes.quantities.non_finite import NonFiniteDetector
from convlint.gpu_probes.quantities.parameters import ParameterRecorder, TrackedParameter
from convlint.gpu_probes.quantities.updates import UpdateRecorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.gpu_probes.attach.run_script import Probe
    from convlint.gpu_probes.observations import Observations, Place

# Backward passes after the hold whose graph is still walked: enough for the order of events, the
# modes and the gradients found in .grad.
_WALKS_AFTER_WINDOW = 24
# The hold may take this share of the budget, curvature aside, and must end at that share of it, whatever imports
# and loading took.
_HOLD_SHARE = 0.3
_HOLD_ENDS = 0.7
# Parameters of which one element each tells whether the script moves them itself.
_LEAVES_COMPARED = 16
# Gradients taken without a backward pass that one step may need (inner loops of meta-learning):
# after so many for each planned step no backward pass is expected any more.
_GRADIENTS_PER_STEP = 200


class Observer:
    """The state of one probe, fed by the framework hooks."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.settings = probe.settings
        self.measuring = Measuring()
        self.pace = Pacing(self.settings, self.measuring, probe.seconds)
        self.plan = self.pace.plan
        self.created = CreationPlaces()
        self.models = ModelRegistry(self.created)
        self.optimizers = OptimizerWatch(self.created)
        self.schedules = ScheduleWatch(self.created, self.measuring)
        self.losses = LossWatch(self.measuring)
        self.parameters = ParameterRecorder()
        self.updates = UpdateRecorder(self.describe)
        self.non_finite = NonFiniteDetector()
        self.series = StepSeries(self.measuring)
        self.gradients = GradientHistoryRecorder(self.describe)
        self.curvature = CurvaturePoints(self)
        self.tapes = TapeWatch(self)
        self.ranks = RankWatch(
            probe.rank, self.settings.directory, lambda tensor: self.describe(tensor)[0]
        )
        self.taped = TapedChecks(self)
        self.graphs = GraphGrowthRecorder()
        self.forward = ForwardWatch(self)
        self.phase = "hold" if self.settings.hold > 0 else "run"
        self.unseen = ""
        """How the script takes gradients where no backward pass is seen."""
        self._gradients_elsewhere = 0
        self.handles: list[Any] = []
        """What removes hooks that are not attributes."""
        self._hold_is_over = False
        self._training_since = 0.0
        self.window_open = True
        self.held = 0
        self.backwards = 0
        self.scaled = False
        self.loader_used = False
        """Whether the script iterates over a ``DataLoader``."""
        self.loader_batch: int | None = None
        """Samples in a batch of the first loader iterated over."""
        self._walks_left = self.settings.hold + _WALKS_AFTER_WINDOW
        self._leaves_at: dict[Place | None, dict[int, torch.Tensor]] = {}
        self._several_at: set[Place | None] = set()
        """Lines that back-propagate through different parameters in turn: a loop over models."""
        self._scales: dict[int, tuple[weakref.ref[torch.Tensor], float]] = {}
        self._described: dict[int, tuple[str, Place | None]] = {}
        self._loss_scale = 1.0
        self._fingerprint: list[float] | None = None
        self.updates_by_hand = 0
        """Backward passes that found the parameters moved, while no optimizer stepped."""
        self._unused_backwards: list[int] = []
        self._before_gradients: dict[int, torch.Tensor] = {}
        self._tracked: dict[int, TrackedParameter] = {}
        self._window_leaves: set[int] = set()

    def steps_seen(self) -> int:
        """Steps the script asked for, real or withheld, of the busiest optimizer."""
        return max((record.steps_seen for record in self.optimizers.records), default=0)

    @property
    def steps(self) -> int:
        """Real steps of the busiest optimizer, or updates the script made by hand."""
        stepped = max((record.steps for record in self.optimizers.records), default=0)
        return stepped or self.updates_by_hand

    def _clock(self) -> float:
        """Seconds, those of our own measurements not counted."""
        return time.perf_counter() - self.measuring.seconds

    def describe(self, tensor: torch.Tensor) -> tuple[str, Place | None]:
        """Name and place of a parameter."""
        return self._described.get(id(tensor), ("parameter", None))

    def check_finite(self, what: str, name: str, tensor: torch.Tensor, place: Place | None) -> None:
        """Queue a look for NaN and infinity."""
        self.non_finite.check(what, name, tensor, self.phase, self._step_number(), place)

    def loss_scaled(self, result: object, scale: float) -> None:
        """A GradScaler multiplied ``result`` by ``scale``."""
        self.scaled = True
        for tensor in tensors_in(result):
            self._scales[id(tensor)] = (weakref.ref(tensor), scale)

    def gradient_elsewhere(self, function: str) -> None:
        """The script takes gradients with ``function`` instead of a backward pass."""
        if self.backwards:
            return
        self._gradients_elsewhere += 1
        if not self.unseen:
            place = user_place()
            where = "" if place is None else f" at line {place.line} of {Path(place.path).name}"
            self.unseen = (
                f"gradients are taken with {function}{where}, which the probe does not follow"
            )
        planned = self.settings.steps + self.settings.hold
        if self._gradients_elsewhere >= _GRADIENTS_PER_STEP * planned:
            self.probe.conclude("no-training")

    def before_backward(self, tensors: list[torch.Tensor]) -> None:
        """The script is about to back-propagate ``tensors``."""
        if self._hold_is_over:
            self.phase = "run"
        self.backwards += 1
        self.pace.back_propagated()
        self.ranks.back_propagating(self._clock())
        if self.backwards == 1:
            self._training_since = self.probe.seconds()
        loss = tensors[0]
        place = user_place()
        self.tapes.back_propagating(loss, self._scale_known(loss))
        leaves: dict[int, torch.Tensor] = {}
        graph: LossGraph | None = None
        forwards: list[ForwardPass] = []
        scale = 1.0
        with self.measuring.section("backward"):
            leaves, graph, forwards = self._relate(tensors, place)
            scale = self._loss_scale = self._scale_of(loss)
            self.optimizers.before_backward(self.backwards, leaves)
            value = loss.detach() if loss.dim() == 0 else loss.detach().sum()
            self.series.back_propagated(self.backwards, value / scale, self.window_open)
            self.check_finite("loss", "loss", value, place)
            if not self.optimizers.stepping:
                self._look_for_updates_by_hand(leaves)
        if graph is not None:
            self.losses.claim(graph)
        if self.window_open and graph is not None:
            self._track_parameters(forwards, leaves)
            with self.measuring.section("parameters"):
                self._before_gradients = {
                    key: leaf.grad.detach().clone()
                    for key, leaf in leaves.items()
                    if leaf.grad is not None
                }
        with self.measuring.section("graph growth"):
            self.graphs.back_propagated(loss, None if graph is None else len(graph.nodes), place)
        self.taped.before_backward(loss)
        self.curvature.consider(loss, scale, leaves, self.tapes.current)

    def after_backward(self) -> None:
        """The gradients of the last back-propagated loss are in ``.grad``."""
        if self.window_open and self._tracked:
            with self.measuring.section("parameters"):
                optimized = {
                    id(p) for record in self.optimizers.records for p in record.parameters()
                }
                self.parameters.after_backward(
                    list(self._tracked.values()),
                    self._window_leaves,
                    optimized,
                    self._own_gradients(),
                )
                for tracked in self._tracked.values():
                    # Infinite scaled gradients are how a GradScaler finds its scale.
                    if tracked.tensor.grad is not None and self._loss_scale == 1.0:
                        self.check_finite(
                            "gradient", tracked.name, tracked.tensor.grad, tracked.place
                        )
        self._before_gradients = {}
        self.taped.after_backward()
        if self.phase == "hold":
            self.held += 1
            self.probe.channel.progress("hold", self.held, self.settings.hold)
        for record in self.optimizers.records:
            if record.in_step and record.uses_closure:
                self._note_norm(record)
                # The closure's next evaluation may be at other parameters.
                self._close_window()
        self._stop_without_optimizer()

    def before_step(
        self, optimizer: torch.optim.Optimizer, closure: Callable[..., Any] | None
    ) -> Callable[..., Any] | None:
        """The script calls ``optimizer.step``; the closure to call instead of its own, if any."""
        record = self.optimizers.record(optimizer)
        record.in_step = True
        if closure is None:
            self._before_update(record)
            return None
        if evaluates_once(optimizer):

            @functools.wraps(closure)
            def followed(*args: Any, **kwargs: Any) -> Any:
                loss = closure(*args, **kwargs)
                self._before_update(record)
                return loss

            return followed
        self._begin_step(record)
        record.uses_closure = True
        self._end_hold("the optimizer evaluates the loss itself in a closure")
        self.phase = "run"
        self.tapes.before_step(record, withheld=False, closure=True)
        with self.measuring.section("update ratio"):
            self.updates.before_step(optimizer, record.number)
        return None

    def _begin_step(self, record: OptimizerRecord) -> None:
        with self.measuring.section("steps"):
            self.optimizers.begin_step(record)
            if record.steps_seen == 0:
                self.schedules.keep_copies()
                self.schedules.read_plan()

    def _before_update(self, record: OptimizerRecord) -> None:
        """The gradients are there and the parameters about to change."""
        self._begin_step(record)
        withheld = self.phase == "hold"
        self.tapes.before_step(record, withheld=withheld, closure=False)
        if withheld:
            with self.measuring.section("steps"):
                self.optimizers.withhold(record)
            return
        self._note_norm(record)
        with self.measuring.section("comparison of ranks"):
            self.ranks.before_update(record.parameters())
        with self.measuring.section("update ratio"):
            self.updates.before_step(record.optimizer, record.number)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """``optimizer.step`` returned."""
        record = self.optimizers.record(optimizer)
        record.in_step = False
        with self.measuring.section("steps"):
            used = self.optimizers.consume(record)
            if record.stash is not None:
                self.optimizers.give_back(record)
                record.withheld += 1
                self._end_hold_when_due()
                self._stop_at_budget()
                return
            record.steps += 1
            self._close_window()
            if self._is_primary(record):
                uses_closure = record.uses_closure
                self.series.stepped(used[:1] if uses_closure else used, learning_rate(optimizer))
                self.gradients.stepped()
        with self.measuring.section("comparison of ranks"):
            self.ranks.after_update(record.parameters())
        self.ranks.stepped(self._clock())
        with self.measuring.section("update ratio"):
            self.updates.after_step(optimizer)
        self.probe.channel.progress("run", self.steps, self.settings.steps)
        if self.curvature.awaited() == "end":
            self._follow_next_backward()
        if self.steps >= self.settings.steps:
            self.probe.conclude("steps")
        self._stop_at_budget()

    def observations(
        self, stopped: str, error: str, place: Place | None, held_back: tuple[str, ...]
    ) -> Observations:
        """Everything seen so far, in the shape the parent reads."""
        if self.unseen and not self.backwards:
            self.measuring.skip("training", self.unseen)
        if self.probe.tree is not None and self.probe.tree.programs:
            names = ", ".join(self.probe.tree.programs)
            where = "" if self.probe.overlay is None else " outside the working directory"
            reason = (
                f"the script started {names}: what other programs write{where} is not held back"
            )
            self.measuring.skip("writes of other programs", reason)
        with kept_random_state():
            return assemble_observations(self, stopped, error, place, held_back)

    def leave_ranks(self, error: str, place: Place | None) -> None:
        """This is not the first rank: write down what it saw."""
        with self.measuring.section("comparison of ranks"):
            self.ranks.leave(self.series.results().seconds, error, place)

    def _is_primary(self, record: OptimizerRecord) -> bool:
        """Whether the per-step series follows this optimizer: the first that ever stepped."""
        return record is self.optimizers.stepping[0]

    def _step_number(self) -> int:
        return self.steps if self.phase == "run" else self.held

    def _relate(
        self, tensors: list[torch.Tensor], place: Place | None
    ) -> tuple[dict[int, torch.Tensor], LossGraph | None, list[ForwardPass]]:
        """Leaves of the loss, and while walks are left its graph and forward passes."""
        if self._walks_left <= 0 and place in self._leaves_at:
            self.forward.modes.back_propagated(place)
            self._leave_forward_when_seen()
            if place in self._several_at:
                return walk_graph(tensors).leaves, None, []
            return self._leaves_at[place], None, []
        self._walks_left -= 1
        graph = walk_graph(tensors)
        if self._leaves_at.setdefault(place, graph.leaves).keys() != graph.leaves.keys():
            self._several_at.add(place)
        self._leaves_at[place] = graph.leaves
        forwards = self.forward.claim(graph, place)
        self._leave_forward_when_seen()
        return graph.leaves, graph, forwards

    def _leave_forward_when_seen(self) -> None:
        if self._walks_left <= 0 and not self.tapes.wanted():
            self.forward.detach()

    def _scale_known(self, loss: torch.Tensor) -> float:
        known = self._scales.get(id(loss))
        return known[1] if known is not None and known[0]() is loss else 1.0

    def _scale_of(self, loss: torch.Tensor) -> float:
        known = self._scales.pop(id(loss), None)
        return known[1] if known is not None and known[0]() is loss else 1.0

    def _look_for_updates_by_hand(self, leaves: dict[int, torch.Tensor]) -> None:
        """Notice that parameters moved without an optimizer since the last backward pass."""
        whole = [leaf for leaf in leaves.values() if not is_sharded(leaf)]
        first = whole[:_LEAVES_COMPARED]
        fingerprint = [float(leaf.detach().reshape(-1)[0]) for leaf in first if leaf.numel()]
        before, self._fingerprint = self._fingerprint, fingerprint
        if before is None or fingerprint == before or len(fingerprint) != len(before):
            self._unused_backwards.append(self.backwards)
            return
        self._close_window()
        self.phase, self._hold_is_over = "run", True
        self.updates_by_hand += 1
        self.series.stepped(self._unused_backwards, None)
        self._unused_backwards = [self.backwards]
        self.probe.channel.progress("run", self.updates_by_hand, self.settings.steps)

    def _track_parameters(
        self, forwards: list[ForwardPass], leaves: dict[int, torch.Tensor]
    ) -> None:
        self._tracked, self._window_leaves = {}, set(leaves)
        with self.measuring.section("parameters"):
            for model in {id(f.model): f.model for f in forwards}.values():
                self._track_model(model)
            for key, leaf in leaves.items():
                if key not in self._tracked:
                    self._track_stranger(key, leaf)
            for key, tracked in self._tracked.items():
                self._described[key] = (tracked.name, tracked.place)

    def _track_model(self, model: Model) -> None:
        for name, parameter in model.root.named_parameters():
            module = model.root.get_submodule(name.rpartition(".")[0])
            self._tracked[id(parameter)] = TrackedParameter(
                name=f"{model.prefix}{name}",
                tensor=parameter,
                module=model.module_name(module),
                cls=type(module).__name__,
                depth=model.depths.get(id(module), -1),
                place=self.models.place(module, model),
            )

    def _track_stranger(self, key: int, leaf: torch.Tensor) -> None:
        """A leaf that no forward pass of this loss lists: worth a word when it is to learn."""
        for model in self.models.models:
            if any(leaf is parameter for parameter in model.root.parameters()):
                self._track_model(model)
                return
        owner = self.models.owner_of(leaf)
        if owner is None and not self.optimizers.holding([key]):
            return
        module, name = owner if owner is not None else (None, "parameter")
        cls = type(module).__name__ if module is not None else type(leaf).__name__
        self._tracked[key] = TrackedParameter(
            name=f"{cls}.{name}",
            tensor=leaf,
            module="" if module is None else cls,
            cls=cls,
            place=self.models.place(module) if module is not None else None,
            registered=module is None,
        )

    def _own_gradients(self) -> dict[int, torch.Tensor | None] | None:
        """This backward pass's own gradients where ``.grad`` holds earlier ones too, unscaled."""
        if not self._before_gradients and self._loss_scale == 1.0:
            return None
        gradients: dict[int, torch.Tensor | None] = {}
        for key, tracked in self._tracked.items():
            gradient, before = tracked.tensor.grad, self._before_gradients.get(key)
            if gradient is not None and before is not None and gradient.shape == before.shape:
                gradient = gradient - before
            if gradient is not None and self._loss_scale != 1.0:
                gradient = gradient / self._loss_scale
            gradients[key] = gradient
        return gradients

    def _note_norm(self, record: OptimizerRecord) -> None:
        if record in self.optimizers.stepping[:1] or not self.optimizers.stepping:
            with self.measuring.section("gradient norm"):
                self.series.gradient_norm(self.gradients.observe(record.parameters()))

    def _end_hold_when_due(self) -> None:
        now, budget = self.probe.seconds(), self.settings.budget
        training = now - self._training_since - self.curvature.seconds
        spent = training > _HOLD_SHARE * budget or now > _HOLD_ENDS * budget
        # Ranks that ended their holds at different batches would no longer be in step.
        spent = spent and not self.ranks.active
        if self.held >= self.settings.hold or spent:
            busy = ", on a machine busy with other work" if machine_is_busy() else ""
            reason = f"ended after {self.held} batches, {training:.0f} s of the budget{busy}"
            self._end_hold(reason)

    def _end_hold(self, reason: str) -> None:
        """Let the next batch be the first real one.

        The phase itself changes at the next backward pass, so that a scheduler called after the
        last withheld step is withheld too.
        """
        if self.phase == "run" or self._hold_is_over:
            return
        self._hold_is_over = True
        if self.held < self.settings.hold:
            self.measuring.skip("hold", reason)
        if self.held:
            self.optimizers.clear_gradients()
            self._close_window()
        if self.curvature.awaited() is not None:
            self._follow_next_backward()

    def _follow_next_backward(self) -> None:
        """See the coming forward pass and its loss even where nothing else needs them."""
        self._walks_left = max(1, self._walks_left)
        self.forward.attach()
        self.losses.reopen()

    def _close_window(self) -> None:
        self.window_open = False
        for flow in self.forward.flows.values():
            flow.active = False
        self.losses.close()

    def _stop_at_budget(self) -> None:
        if self.probe.seconds() >= self.settings.budget:
            self.probe.conclude("budget")

    def _stop_without_optimizer(self) -> None:
        """Scripts that update parameters by hand are stopped by their backward passes."""
        enough = (
            self.updates_by_hand >= self.settings.steps
            or self.backwards >= self.settings.steps + self.settings.hold
        )
        if self.steps_seen() == 0 and enough:
            self.measuring.skip("update ratio", "no optimizer of torch stepped")
            if not self.curvature.results:
                self.measuring.skip("curvature", "no optimizer of torch stepped")
            self.probe.conclude("steps")
        if self.steps_seen() == 0:
            self._stop_at_budget()
