"""Records the operations between a forward pass and its loss."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from convlint.gpu_probes.attach.autograd_graph import walk_graph
from convlint.gpu_probes.tape.operations import (
    BROADCAST,
    COMMUNICATION,
    STORAGE_CHANGES,
    Function,
    Operation,
    Reference,
    TapeUnavailable,
    map_tensors,
    traits,
)
from convlint.gpu_probes.tape.tape import Constant, Tape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONGEST = 60_000
"""Operations after which a recording is given up: the step of a large language model has some
thousand, a loop over every element of a batch is no tape."""

Layout = tuple[int, int, tuple[int, ...], tuple[int, ...], torch.dtype]


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


@dataclass(slots=True)
class _Alias:
    """A value at some place in memory, and whether gradients can flow from it."""

    value: int
    detached: bool


class TapeRecorder(TorchDispatchMode):
    """Notes every aten operation while it is active, and what each tensor came from.

    A tensor is recognised by its identity and, since views are wrapped anew on their way to
    Python, else by where it lies in memory. Only weak references to what the step computes are
    held, so recording keeps no activation alive; constants (the batch, buffers) are held.

    ``ignore`` says when an operation is not the script's own; ``where`` is asked at every operation
    and its answer kept as ``Operation.source``. ``seconds`` is the time recording itself took.

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
        self._numbers: Any = WeakIdKeyDictionary()
        self._storages: dict[int, StorageWeakRef] = {}
        self._storage_of: list[int] = []
        self._aliases: dict[Layout, list[_Alias]] = {}
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
        if traits(func).name in STORAGE_CHANGES:
            return self._move(func, args, keywords)
        if traits(func).name == BROADCAST and _is_source(args):
            return func(*args, **keywords)
        started = time.perf_counter()
        try:
            noted = self._before(func, types, args, keywords)
        except TapeUnavailable as refused:
            self.give_up(refused.reason)
            return func(*args, **keywords)
        began = time.perf_counter()
        result = func(*args, **keywords)
        ended = time.perf_counter()
        self._after(func, noted, result)
        self.seconds += time.perf_counter() - ended + began - started
        return result

    def give_up(self, reason: str) -> None:
        """Stop recording and let go of everything noted so far."""
        self.problem = reason
        self.operations.clear()
        self.constants.clear()
        self._aliases.clear()
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
        self, func: Function, types: Sequence[type], args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], tuple[int, ...], tuple[int, ...]]:
        for cls in types:
            if cls not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
                raise TapeUnavailable(f"the step works on tensors of class {cls.__name__}")
        if len(self.operations) >= self._longest:
            raise TapeUnavailable(f"the step has more than {self._longest:,} operations")
        kinds = traits(func)
        if kinds.name.startswith(COMMUNICATION):
            raise TapeUnavailable("the step exchanges tensors with other processes")
        if any(isinstance(value, torch.Generator) for value in (*args, *keywords.values())):
            raise TapeUnavailable("the step draws random numbers from a generator of its own")
        inputs: list[int] = []

        def reference(tensor: torch.Tensor) -> Reference:
            number = self._known(tensor)
            if number is None:
                number = self._constant(tensor)
            inputs.append(number)
            return Reference(number)

        noted = map_tensors(args, reference)
        noted_keywords = map_tensors(keywords, reference)
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
        return noted, noted_keywords, tuple(inputs), writes

    def _after(
        self,
        func: Function,
        noted: tuple[tuple[Any, ...], dict[str, Any], tuple[int, ...], tuple[int, ...]],
        result: Any,
    ) -> None:
        args, keywords, inputs, writes = noted
        gradients = torch.is_grad_enabled()
        detached = not gradients or func is torch.ops.aten.detach.default
        results = result if isinstance(result, (list, tuple)) else (result,)
        outputs: list[int | None] = []
        first: torch.Tensor | None = None
        for item in results:
            for tensor in item if isinstance(item, (list, tuple)) else (item,):
                if isinstance(tensor, torch.Tensor):
                    first = tensor if first is None else first
                    outputs.append(self._register(tensor, detached=detached))
                else:
                    outputs.append(None)
        self.operations.append(
            Operation(
                function=func,
                args=args,
                keywords=keywords,
                inputs=inputs,
                outputs=tuple(outputs),
                gradients=gradients,
                writes=writes,
                random=traits(func).random,
                dtype=None if first is None else first.dtype,
                strides=None if first is None else tuple(first.stride()),
                source=None if self._where is None else self._where(),
            )
        )

    def _known(self, tensor: torch.Tensor) -> int | None:
        number: int | None = self._numbers.get(tensor)
        if number is not None:
            return number
        aliases = self._aliases.get(self._layout(tensor))
        if not aliases:
            return None
        fitting = [a for a in aliases if not a.detached] if tensor.requires_grad else aliases
        if not fitting:
            return None
        number = fitting[-1].value
        self._numbers[tensor] = number
        return number

    def _register(self, tensor: torch.Tensor, *, detached: bool) -> int:
        number = self._values
        self._values += 1
        self._numbers[tensor] = number
        layout = self._layout(tensor)
        self._storage_of.append(layout[0])
        self._aliases.setdefault(layout, []).append(_Alias(number, detached))
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
        known = self._storages.get(key)
        if known is None or known.expired():  # type: ignore[no-untyped-call]
            # While a weak reference is held, no other storage can get this address.
            self._storages[key] = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        return (
            key,
            int(tensor.storage_offset()),
            tuple(tensor.shape),
            tuple(tensor.stride()),
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
