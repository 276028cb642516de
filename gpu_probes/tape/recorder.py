"""Records the operations between a forward pass and its loss."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from convlint.gpu_probes.attach.autograd_graph import walk_graph
from convlint.gpu_probes.tape.operations import (
    BROADCAST,
    COMMUNICATION,
    CUDNN_RECURRENT,
    STORAGE_CHANGES,
    Function,
    Operation,
    Reference,
    TapeUnavailable,
    Traits,
    traits,
)
from convlint.gpu_probes.tape.tape import Constant, Tape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONGEST = 60_000
"""Operations after which a recording is given up: the step of a large language model has some
thousand, a loop over every element of a batch is no tape."""

Layout = tuple[int, int, tuple[int, ...], tuple[int, ...], torch.dtype]

Noted = tuple[tuple[Any, ...], dict[str, Any], tuple[int, ...], tuple[int, ...]]
"""Arguments and keywords with references for tensors, the values read, the values written."""

_DETACH = torch.ops.aten.detach.default

_NO_KEYWORDS: dict[str, Any] = {}
"""Shared by all operations without."""

_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter, torch.nn.Buffer})
"""Classes of tensors that are nothing but their values."""

_WITHOUT_TENSORS = frozenset(
    {int, float, bool, type(None), str, torch.dtype, torch.device, torch.layout}
)
"""Types of arguments with no tensor inside, told at a glance."""


def _is_source(args: tuple[Any, ...]) -> bool:
    """Whether a broadcast sends this process's own tensors, which it leaves as they are.

    DistributedDataParallel sends the buffers of the first rank (running statistics) before every
    forward pass; on the others they come from outside and cannot be replayed.
    """
    try:
        group = torch.distributed.ProcessGroup.unbox(args[1])
        return bool(group.rank() == args[2])
    except (AttributeError, IndexError, RuntimeError, TypeError):
        return False


def _by_the_list_of_weights(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments of cuDNN's recurrent layers without the buffer behind the list of weights.

    A replay at other weights must not find the script's own there.
    """
    names = [argument.name for argument in torch.ops.aten._cudnn_rnn.default._schema.arguments]
    given = dict(zip(names, args, strict=False))
    if given.get("dropout") and given.get("train"):
        raise TapeUnavailable("dropout between cuDNN's recurrent layers cannot be drawn again")
    buffer = names.index("weight_buf")
    return (*args[:buffer], None, *args[buffer + 1 :])


class TapeRecorder(TorchDispatchMode):
    """Notes every aten operation while it is active, and what each tensor came from.

    A tensor is recognised by its identity and, since views are wrapped anew on their way to
    Python, else by where it lies in memory. Only weak references to what the step computes are
    held, so recording keeps no activation alive; constants (the batch, buffers) are held.

    ``ignore`` says when an operation is not the script's own; ``where`` is asked at every operation
    and its answer kept as ``Operation.source``. ``seconds`` is the processor time recording itself took.

    Raises:
        TapeUnavailable: from ``finish``, with what stood in the way.
    """

    def __init__(
        self,
        ignore: Callable[[], bool] | None = None,
        longest: int = LONGEST,
        where: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self.seconds = 0.0
        self._where = where
        self.problem = ""
        self.operations: list[Operation] = []
        self.constants: dict[int, Constant] = {}
        self._ignore = ignore
        self._longest = longest
        self._values = 0
        self._numbers: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        """Value of each tensor by its identity, which holds as long as the tensor is there."""
        self._references: list[Reference] = []
        self._storages: dict[int, StorageWeakRef] = {}
        self._storage_of: list[int] = []
        self._lying: dict[Layout, int] = {}
        """The newest value at each place in memory."""
        self._attached: dict[Layout, int] = {}
        """The newest through which gradients can flow."""
        self._moved: dict[int, str] = {}
        """Values whose tensor was given other memory, with the operation that did."""
        self._random_state = torch.get_rng_state()
        cuda = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
        self._cuda_states = torch.cuda.get_rng_state_all() if cuda else []

    def __torch_dispatch__(
        self,
        func: Function,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operation and note it."""
        keywords = kwargs or {}
        if self.problem or (self._ignore is not None and self._ignore()):
            return func(*args, **keywords)
        kinds = traits(func)
        if kinds.special:
            if kinds.name in STORAGE_CHANGES:
                return self._move(func, args, keywords)
            if kinds.name == BROADCAST and _is_source(args):
                return func(*args, **keywords)
        started = time.thread_time()
        try:
            noted = self._before(kinds, types, args, keywords)
        except TapeUnavailable as refused:
            self.give_up(refused.reason)
            return func(*args, **keywords)
        began = time.thread_time()
        result = func(*args, **keywords)
        ended = time.thread_time()
        self._after(func, kinds, noted, result)
        self.seconds += time.thread_time() - ended + began - started
        return result

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Whether torch is to wrap the method above in a guard against compilation.

        The guard costs more than the shortest operations; nothing is compiled while we look on.
        """
        return False

    def give_up(self, reason: str) -> None:
        """Stop recording and let go of everything noted so far."""
        self.problem = reason
        self.operations.clear()
        self.constants.clear()
        self._lying.clear()
        self._attached.clear()
        self._numbers.clear()
        self._storages.clear()

    def value_of(self, tensor: torch.Tensor) -> int | None:
        """The number of a tensor the recording knows, None of another."""
        return None if self.problem else self._known(tensor)

    def finish(self, loss: torch.Tensor) -> Tape:
        """The tape of everything ``loss`` (a scalar computed while recording) depends on.

        Raises:
            TapeUnavailable: something on the way to the loss cannot be replayed.
        """
        if self.problem:
            raise TapeUnavailable(self.problem)
        number = self._known(loss)
        if number is None:
            raise TapeUnavailable("the loss was not computed while the step was recorded")
        return Tape.of(
            number,
            _own_backward(loss),
            self.operations,
            self.constants,
            tuple(self._storage_of),
            self._moved,
            self._random_state,
            self._cuda_states,
        )

    def _move(self, func: Function, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Run an operation after which a tensor lies elsewhere; what it held there is unknown.

        Copies made for logging do so (``copy.deepcopy``): only a loss that needs one is refused.
        """
        moved = args[0] if args else keywords.get("self")
        name = traits(func).name[6:]
        try:
            if isinstance(moved, torch.Tensor) and self._known(moved) in self.constants:
                raise TapeUnavailable(f"the step gives a tensor other memory ({name})")
            result = func(*args, **keywords)
            if isinstance(moved, torch.Tensor):
                self._moved[self._register(moved, detached=not moved.requires_grad)] = name
        except TapeUnavailable as refused:
            self.give_up(refused.reason)
            result = func(*args, **keywords)
        return result

    def _before(
        self, kinds: Traits, types: Sequence[type], args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Noted:
        for cls in types:
            if cls not in _PLAIN:
                raise TapeUnavailable(f"the step works on tensors of class {cls.__name__}")
        if len(self.operations) >= self._longest:
            raise TapeUnavailable(f"the step has more than {self._longest:,} operations")
        if kinds.special:
            if kinds.name == CUDNN_RECURRENT:
                args = _by_the_list_of_weights(args)
            elif kinds.name.startswith(COMMUNICATION):
                raise TapeUnavailable("the step exchanges tensors with other processes")
        inputs: list[int] = []
        noted = tuple([self._noted(value, inputs) for value in args])
        noted_keywords = (
            {name: self._noted(value, inputs) for name, value in keywords.items()}
            if keywords
            else _NO_KEYWORDS
        )
        writes: tuple[int, ...] = ()
        if kinds.written_keywords or kinds.written_positions:
            writes = self._writes(kinds, noted, noted_keywords)
        return noted, noted_keywords, tuple(inputs), writes

    def _noted(self, value: Any, inputs: list[int]) -> Any:
        """An argument with every tensor in it replaced by its number, which ``inputs`` collects."""
        kind = type(value)
        if kind in _WITHOUT_TENSORS:
            return value
        if isinstance(value, torch.Tensor):
            number = self._known(value)
            if number is None:
                number = self._constant(value)
            inputs.append(number)
            return self._references[number]
        if isinstance(value, (list, tuple)):
            return kind([self._noted(item, inputs) for item in value])
        if isinstance(value, torch.Generator):
            raise TapeUnavailable("the step draws random numbers from a generator of its own")
        if isinstance(value, dict):
            return {key: self._noted(item, inputs) for key, item in value.items()}
        return value

    def _writes(
        self, kinds: Traits, noted: tuple[Any, ...], noted_keywords: dict[str, Any]
    ) -> tuple[int, ...]:
        """The values an operation is about to write, those of constants copied before."""
        written = [noted[p] for p in kinds.written_positions if p < len(noted)]
        written += [noted_keywords[k] for k in kinds.written_keywords if k in noted_keywords]
        writes = tuple(
            item.value
            for entry in written
            for item in (entry if isinstance(entry, (list, tuple)) else (entry,))
            if isinstance(item, Reference)
        )
        for number in writes:
            self._keep_before_write(number)
        return writes

    def _after(self, func: Function, kinds: Traits, noted: Noted, result: Any) -> None:
        args, keywords, inputs, writes = noted
        gradients = torch.is_grad_enabled()
        detached = not gradients or func is _DETACH
        outputs: list[int | None] = []
        first: torch.Tensor | None = None
        for item in result if isinstance(result, (list, tuple)) else (result,):
            for tensor in item if isinstance(item, (list, tuple)) else (item,):
                if isinstance(tensor, torch.Tensor):
                    first = tensor if first is None else first
                    outputs.append(self._register(tensor, detached=detached))
                else:
                    outputs.append(None)
        self.operations.append(
            Operation(
                func,
                args,
                keywords,
                inputs,
                tuple(outputs),
                gradients,
                writes,
                kinds.random,
                None if first is None else first.dtype,
                None if first is None else first.stride(),
                None if self._where is None else self._where(),
            )
        )

    def _known(self, tensor: torch.Tensor) -> int | None:
        known = self._numbers.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        lying = self._attached if tensor.requires_grad else self._lying
        number = lying.get(self._layout(tensor))
        if number is not None:
            self._numbers[id(tensor)] = weakref.ref(tensor), number
        return number

    def _register(self, tensor: torch.Tensor, *, detached: bool) -> int:
        number = self._values
        self._values += 1
        self._references.append(Reference(number))
        self._numbers[id(tensor)] = weakref.ref(tensor), number
        layout = self._layout(tensor)
        self._storage_of.append(layout[0])
        self._lying[layout] = number
        if not detached:
            self._attached[layout] = number
        return number

    def _constant(self, tensor: torch.Tensor) -> int:
        """The number of a tensor that was there before the recording began."""
        if tensor.requires_grad and not tensor.is_leaf:
            raise TapeUnavailable(
                "the step uses a tensor that was computed from parameters before its forward pass"
            )
        parameter = tensor.requires_grad
        number = self._register(tensor, detached=not parameter)
        self.constants[number] = Constant(tensor, parameter, tensor._version)
        return number

    def _keep_before_write(self, number: int) -> None:
        """Copy every constant that shares memory with a value about to be written."""
        storage = self._storage_of[number]
        for other, constant in self.constants.items():
            if self._storage_of[other] != storage or constant.kept:
                continue
            if constant.parameter:
                raise TapeUnavailable("the forward pass changes parameters in place")
            if self._shared(other, storage):
                raise TapeUnavailable("the forward pass writes through a view of its input")
            constant.keep()

    def _shared(self, number: int, storage: int) -> bool:
        """Whether two constants lie in the same memory: copies would no longer share it."""
        return any(
            self._storage_of[other] == storage for other in self.constants if other != number
        )

    def _layout(self, tensor: torch.Tensor) -> Layout:
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):
            raise TapeUnavailable(
                "the step works on sparse or other tensors without memory"
            ) from None
        key = storage._cdata
        if key not in self._storages:
            # While a weak reference is held, no other storage can get this address.
            self._storages[key] = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        return (
            key,
            int(tensor.storage_offset()),
            tensor.shape,
            tensor.stride(),
            tensor.dtype,
        )


_WITHOUT_ARITHMETIC = frozenset({"_NoopSaveInputs"})
"""Functions of torch's own that compute nothing (activation checkpointing's bookkeeping)."""


def _own_backward(loss: torch.Tensor) -> str:
    """The name of a custom autograd Function on the way to ``loss``, or nothing.

    Its forward pass is on the tape, its backward is not: a replay would differentiate what the
    Function computes instead of calling it.
    """
    for node in walk_graph([loss]).nodes:
        function = getattr(node, "_forward_cls", None)
        name = getattr(function, "__name__", "")
        if function is not None and name not in _WITHOUT_ARITHMETIC:
            return name or "a custom Function"
    return ""
