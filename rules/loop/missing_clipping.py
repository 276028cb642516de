"""LOP008: a recurrent model is trained without gradient clipping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Finding, Related, Severity
from convlint.program.facts import EventKind, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits, loop_edits, statement_edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.imported import uses_library
from convlint.rules.patterns.layers import canonical, is_attention, is_recurrent
from convlint.rules.patterns.loops import backward_before_step
from convlint.rules.patterns.ownership import (
    Match,
    acts_on,
    is_managed,
    name_of,
    object_of,
    sole_optimizer,
    submodules,
    unseen_hands,
    uses_closure,
)
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.sequences import longest_sequence
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from convlint.findings import Location
    from convlint.program.facts import Event, Object, TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.training_loops import TrainingLoop

SHORT = 10
"""So few Jacobians in a row do not explode: 1.5 to the tenth is 58, to the eightieth 10^14."""
_GRAPHS = ("torch_geometric", "dgl")
_GRADIENT_HOOKS = (
    "register_hook",
    "register_post_accumulate_grad_hook",
    "register_full_backward_hook",
)


class MissingClipping(Rule):
    """A recurrent model is trained without gradient clipping.

    ## What it does
    Reports a training loop over an LSTM, GRU or plain RNN in which nothing clips gradients before
    the step. Over a transformer that starts from random weights the same is an `info`.

    ## Why it hurts
    Back-propagation through time multiplies one Jacobian per step of the sequence. When the
    product grows, a single batch gives a gradient orders of magnitude above the usual, and one
    step undoes hours of training. Clipping the norm bounds that step and leaves the others alone.
    Attention trained from scratch spikes as well, though more rarely.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        class Tagger(nn.Module):
            def __init__(self):
                super().__init__()
                self.embedding = nn.Embedding(100, 32)
                self.lstm = nn.LSTM(32, 64, batch_first=True)
                self.head = nn.Linear(64, 5)

            def forward(self, tokens):
                states, _ = self.lstm(self.embedding(tokens))
                return self.head(states)

        data = TensorDataset(torch.randint(0, 100, (256, 80)), torch.randint(0, 5, (256, 80)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = Tagger()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for tokens, tags in loader:
                optimizer.zero_grad()
                loss = criterion(model(tokens).reshape(-1, 5), tags.reshape(-1))
                loss.backward()
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        class Tagger(nn.Module):
            def __init__(self):
                super().__init__()
                self.embedding = nn.Embedding(100, 32)
                self.lstm = nn.LSTM(32, 64, batch_first=True)
                self.head = nn.Linear(64, 5)

            def forward(self, tokens):
                states, _ = self.lstm(self.embedding(tokens))
                return self.head(states)

        data = TensorDataset(torch.randint(0, 100, (256, 80)), torch.randint(0, 5, (256, 80)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = Tagger()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for tokens, tags in loader:
                optimizer.zero_grad()
                loss = criterion(model(tokens).reshape(-1, 5), tags.reshape(-1))
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()

    ## When it is fine
    A frozen recurrent layer, clipping written by hand or in a hook, line-search optimizers
    (LBFGS), frameworks that clip by default, graph networks (their recurrent units run over a few rounds of
    messages), sequences of ten steps or fewer (where their length can be read from a shape or an
    argument such as `seq_len`): none is reported.

    ## Measured
    `convlint probe` measures the spread of gradient norms: gradient-spikes confirms it, gradient
    norms that stay together refute it for the observed steps.

    ## References
    - Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013
    - PyTorch documentation, `torch.nn.utils.clip_grad_norm_`
    """

    code = "LOP008"
    slug = "missing-clipping"
    severity = Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("gradient-spikes",)
    # Exploding gradients come in rare spikes: a hundred quiet steps do not exclude them.
    silence_refutes = False
    unmeasured_because = "the probe saw too few steps to tell the spread of gradient norms"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report loops that train a recurrent layer and clip nowhere."""
        if any(call.name.endswith(_GRADIENT_HOOKS) for call in program.calls):
            return
        if uses_library(program, *_GRAPHS):
            return
        places: set[Location] = set()
        for loop in training_loops(program):
            if is_managed(program, loop):
                continue
            for optimizer in loop.optimizers:
                if _may_clip(program, loop, optimizer):
                    continue
                layer = _recurrent_layer(program, loop, optimizer)
                attends = layer is None and not _loads_weights(program)
                if attends:
                    layer = _trained_layer(program, loop, optimizer, is_attention)
                if layer is None or uses_closure(loop, optimizer):
                    continue
                if unseen_hands(
                    program, loop.occurrences, optimizer, incomplete=loop.loop.incomplete
                ):
                    continue
                backward = backward_before_step(loop, optimizer)
                if not one_per_place(places, backward.location):
                    continue
                model = object_of(program, optimizer)
                kind = layer.cls.rsplit(".", 1)[-1]
                what = "a transformer" if attends else "a recurrent model"
                yield self.finding(
                    backward.location,
                    f"{what} ({kind}) is trained here and nothing clips its gradients "
                    f"before `{name_of(model, 'the optimizer')}` steps",
                    help="clip between backward and step, for example "
                    "`torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)`",
                    severity=Severity.INFO if attends else None,
                    related=(Related(layer.location, f"the {kind} layer"),),
                    fix=self.repair(
                        "clip the norm of the gradients at 1",
                        _clipped(program, loop, optimizer, backward),
                    ),
                )


def _may_clip(program: TrainingProgram, loop: TrainingLoop, optimizer: int) -> bool:
    """Whether something in the loop or around it writes gradients by hand, or clips.

    Beside other optimizers, a clip that surely concerns one of those does not count.
    """
    if loop.has(EventKind.GRAD_WRITE):
        return True
    around = (o for outer in loop.around for o in occurrences(outer.body))
    clips = [o for o in (*loop.occurrences, *around) if o.kind is EventKind.CLIP]
    if sole_optimizer(loop, optimizer):
        return bool(clips)
    return any(acts_on(program, o.event, optimizer) is not Match.NO for o in clips)


def _recurrent_layer(program: TrainingProgram, loop: TrainingLoop, optimizer: int) -> Object | None:
    """A recurrent layer over long sequences that this optimizer trains in this loop, or None."""
    return _trained_layer(
        program, loop, optimizer, is_recurrent, lambda layer: not _is_short(program, layer)
    )


def _loads_weights(program: TrainingProgram) -> bool:
    """Whether a model may start from weights that were trained before."""
    return any(call.name.endswith(("load_state_dict", "from_pretrained")) for call in program.calls)


def _trained_layer(
    program: TrainingProgram,
    loop: TrainingLoop,
    optimizer: int,
    is_kind: Callable[[str], bool],
    counts: Callable[[Object], bool] = lambda layer: True,
) -> Object | None:
    """A layer of a kind that this optimizer trains in this loop, or None.

    The model must run in the loop with gradient; a layer whose parameters were switched off does
    not count.
    """
    owner = object_of(program, optimizer)
    if owner is None:
        return None
    forwarded = submodules(
        program,
        (
            o.event.target
            for o in loop.of_kind(EventKind.FORWARD)
            if o.event.target is not None and "no_grad" not in o.event.context
        ),
    )
    trained = forwarded
    if owner.parameters_of is not None:
        trained = forwarded & submodules(program, owner.parameters_of)
    frozen = submodules(
        program,
        (
            call.receiver
            for call in program.calls
            if call.receiver is not None and call.name.endswith("requires_grad_")
        ),
    )
    for number in sorted(trained - frozen):
        layer = object_of(program, number)
        if (
            layer is not None
            and layer.kind is ObjectKind.LAYER
            and is_kind(canonical(layer.cls))
            and counts(layer)
        ):
            return layer
    return None


def _is_short(program: TrainingProgram, layer: Object) -> bool:
    length = longest_sequence(program, FlowGraph(program), layer)
    return length is not None and length <= SHORT


def _clipped(
    program: TrainingProgram, loop: TrainingLoop, optimizer: int, backward: Event
) -> Changes:
    """Clip before the step; scaled gradients would have to be unscaled first."""
    if "scaled" in backward.flags:
        return None
    model = loop_edits.model_name(program, loop, backward.location)
    clip = edits.name_for(program, backward.location, "torch.nn.utils.clip_grad_norm_")
    statement = statement_edits.lone_call(program, backward.location)
    if model is None or clip is None:
        return None
    code = f"{clip[0]}({model}.parameters(), 1.0)"
    step = loop_edits.step_of(loop, optimizer)
    if step is not None and statement_edits.same_function(
        program, step.location, backward.location
    ):
        # where several batches are accumulated, only their sum is to be clipped
        added = statement_edits.insert_before(
            statement_edits.own_statement(program, step.location), code
        )
    else:
        added = statement_edits.insert_after(program, statement, code)
    return None if added is None else (*added, *clip[1])
