"""Follows one training script through its phases and gathers what the recorders saw.

``hold``: optimizer and scheduler steps are withheld and several batches seen at the same
parameters. ``run``: real steps. The *window* is the time in which the measurements of the initial
parameters are fed: the hold, or without one everything before the first real step.
"""

from __future__ import annotations

import functools
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from convlint.gpu_probes.attach.assemble import assemble_observations
from convlint.gpu_probes.attach.autograd_graph import LossGraph, tensors_in, walk_graph
from convlint.gpu_probes.attach.curvature_points import CurvaturePoints
from convlint.gpu_probes.attach.forward_watch import ForwardPass, ForwardWatch
from convlint.gpu_probes.attach.loss_watch import LossWatch
from convlint.gpu_probes.attach.measuring import Measuring, kept_random_state
from convlint.gpu_probes.attach.module_registry import CreationPlaces, ModelRegistry
from convlint.gpu_probes.attach.optimizer_watch import (
    OptimizerRecord,
    OptimizerWatch,
    evaluates_once,
    learning_rate,
)
from convlint.gpu_probes.attach.pacing import Pacing
from convlint.gpu_probes.attach.parameter_watch import ParameterWatch
from convlint.gpu_probes.attach.phases import Phases
from convlint.gpu_probes.attach.places import user_place
from convlint.gpu_probes.attach.ranks import RankWatch
from convlint.gpu_probes.attach.schedule_watch import ScheduleWatch
from convlint.gpu_probes.attach.step_series import StepSeries
from convlint.gpu_probes.attach.tape_watch import TapeWatch
from convlint.gpu_probes.attach.taped_checks import TapedChecks
from convlint.gpu_probes.attach.updates_by_hand import UpdatesByHand
from convlint.gpu_probes.quantities.gradient_history import GradientHistoryRecorder
from convlint.gpu_probes.quantities.graph_growth import GraphGrowthRecorder
from convlint.gpu_probes.quantities.non_finite import NonFiniteDetector
from convlint.gpu_probes.quantities.parameters import ParameterRecorder
from convlint.gpu_probes.quantities.updates import UpdateRecorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.gpu_probes.attach.run_script import Probe
    from convlint.gpu_probes.observations import Observations, Place

# Backward passes after the hold whose graph is still walked: enough for the order of events, the
# modes and the gradients found in .grad.
_WALKS_AFTER_WINDOW = 24
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
        self.reached = ParameterWatch(self)
        self.updates = UpdateRecorder(self.describe)
        self.non_finite = NonFiniteDetector()
        self.series = StepSeries(self.measuring)
        self.gradients = GradientHistoryRecorder(self.describe)
        self.curvature = CurvaturePoints(self)
        self.tapes = TapeWatch(self)
        self.ranks = RankWatch(
            probe.rank,
            self.settings.directory,
            self.reached.name,
            lambda: self.tapes.seconds,
        )
        self.measuring.own_time = self.ranks.own_time
        self.taped = TapedChecks(self)
        self.graphs = GraphGrowthRecorder()
        self.forward = ForwardWatch(self)
        self.phase = "hold" if self.settings.hold > 0 else "run"
        self.unseen = ""
        """How the script takes gradients where no backward pass is seen."""
        self._gradients_elsewhere = 0
        self._captured = ""
        """Where the script captured a backward pass in a CUDA graph."""
        self.handles: list[Any] = []
        """What removes hooks that are not attributes."""
        self.phases = Phases(self)
        self.window_open = True
        self.held = 0
        self.backwards = 0
        self.scaled = False
        self.device = torch.device("cpu")
        """Where the last back-propagated loss lives."""
        self.loader_used = False
        """Whether the script iterates over a ``DataLoader``."""
        self.loader_batch: int | None = None
        """Samples in a batch of the first loader iterated over."""
        self._walks_left = self.settings.hold + _WALKS_AFTER_WINDOW
        self._leaves_at: dict[Place | None, dict[int, torch.Tensor]] = {}
        self._several_at: set[Place | None] = set()
        """Lines that back-propagate through different parameters in turn: a loop over models."""
        self._scales: dict[int, tuple[weakref.ref[torch.Tensor], float]] = {}
        self._loss_scale = 1.0
        self.by_hand = UpdatesByHand()

    def steps_seen(self) -> int:
        """Steps the script asked for, real or withheld, of the busiest optimizer."""
        return max((record.steps_seen for record in self.optimizers.records), default=0)

    @property
    def steps(self) -> int:
        """Real steps of the busiest optimizer, or updates the script made by hand."""
        stepped = max((record.steps for record in self.optimizers.records), default=0)
        return stepped or self.by_hand.updates

    def describe(self, tensor: torch.Tensor) -> tuple[str, Place | None]:
        """Name and place of a parameter."""
        return self.reached.describe(tensor)

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
            self.unseen = (
                f"gradients are taken with {function}{_at()}, which the probe does not follow"
            )
        planned = self.settings.steps + self.settings.hold
        if self._gradients_elsewhere >= _GRADIENTS_PER_STEP * planned:
            self.probe.conclude("no-training")

    def gradient_in_thread(self) -> None:
        """The script back-propagates outside its main thread."""
        if not self.unseen:
            self.unseen = f"the script trains in a thread of its own{_at()}, which is not followed"

    def captured(self) -> None:
        """The script captures a backward pass as a part of a CUDA graph."""
        if not self._captured:
            self._captured = f"the training step is captured as a CUDA graph{_at()}; its replays are not followed"

    def before_replay(self) -> None:
        """The script is about to replay a CUDA graph: from here on it trains unseen, if in that."""
        if self._captured:
            self.measuring.skip("training", self._captured)
            self.probe.conclude("captured")

    def before_backward(self, tensors: list[torch.Tensor]) -> None:
        """The script is about to back-propagate ``tensors``."""
        self.ranks.back_propagating()
        self.taped.settle()
        if self.phases.hold_is_over:
            self.phase = "run"
        self.backwards += 1
        self.pace.back_propagated()
        self.phases.before_backward()
        loss = tensors[0]
        self.device = loss.device
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
            if not (self.optimizers.stepping or self.optimizers.in_step):
                held = self.optimizers.held_of(leaves)
                if self.by_hand.moved(held or leaves, self.backwards, optimized=bool(held)):
                    self._updated_by_hand()
        if graph is not None:
            self.losses.claim(graph)
        if self.window_open and graph is not None:
            self.reached.before_backward(forwards, leaves)
        with self.measuring.section("graph growth"):
            self.graphs.back_propagated(loss, None if graph is None else len(graph.nodes), place)
        self.taped.before_backward(loss)
        self.curvature.consider(loss, scale, leaves, self.tapes.current)

    def after_backward(self) -> None:
        """The gradients of the last back-propagated loss are in ``.grad``."""
        self.reached.after_backward(self._loss_scale)
        self.taped.after_backward()
        if self.phase == "hold":
            self.held += 1
            self.probe.channel.progress("hold", self.held, self.settings.hold)
        for record in self.optimizers.records:
            if record.in_step and record.uses_closure:
                self._note_norm(record)
                # The closure's next evaluation may be at other parameters.
                self.phases.close_window()
        self.phases.stop_without_optimizer()

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
        self.phases.end_hold("the optimizer evaluates the loss itself in a closure")
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
            self.taped.settle()
            with self.measuring.section("steps"):
                self.optimizers.withhold(record)
            return
        self.taped.before_update(record.parameters(), self._note_norm(record))
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
                self.phases.end_hold_when_due()
                self.phases.stop_at_budget()
                return
            record.steps += 1
            self.phases.close_window()
            if self._is_primary(record):
                uses_closure = record.uses_closure
                self.series.stepped(used[:1] if uses_closure else used, learning_rate(optimizer))
                self.gradients.stepped()
        with self.measuring.section("comparison of ranks"):
            self.ranks.after_update(record.parameters())
        with self.measuring.section("update ratio"):
            self.updates.after_step(optimizer)
        self.probe.channel.progress("run", self.steps, self.settings.steps)
        if self.curvature.awaited() == "end":
            self.follow_next_backward()
        if self.steps >= self.settings.steps:
            self.probe.conclude("steps")
        self.phases.stop_at_budget()
        self.ranks.stepped()

    def observations(
        self, stopped: str, error: str, place: Place | None, held_back: tuple[str, ...]
    ) -> Observations:
        """Everything seen so far, in the shape the parent reads."""
        self.taped.settle()
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
            self.ranks.leave(error, place)

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

    def _updated_by_hand(self) -> None:
        """The script moved its parameters itself since the last backward pass."""
        self.phases.close_window()
        self.phase, self.phases.hold_is_over = "run", True
        self.series.stepped(self.by_hand.take(self.backwards), None)
        self.probe.channel.progress("run", self.by_hand.updates, self.settings.steps)

    def _note_norm(self, record: OptimizerRecord) -> torch.Tensor | None:
        """Read the gradients of the optimizer the series follows; their norm."""
        norm = None
        if record in self.optimizers.stepping[:1] or not self.optimizers.stepping:
            with self.measuring.section("gradient norm"):
                norm = self.gradients.observe(record.parameters())
                self.series.gradient_norm(norm)
        return norm

    def follow_next_backward(self) -> None:
        """See the coming forward pass and its loss even where nothing else needs them."""
        self._walks_left = max(1, self._walks_left)
        self.forward.attach()
        self.losses.reopen()


def _at() -> str:
    """Where the script is, for a reason."""
    place = user_place()
    return "" if place is None else f" at line {place.line} of {Path(place.path).name}"
