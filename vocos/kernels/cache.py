"""What is made once and kept: by an engine, of the weights of a module; and constants, for each device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from operator import attrgetter, is_
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _disable_current_modes

T = TypeVar("T")
PLAIN = frozenset({Tensor, nn.Parameter})  # not their subclasses, which may mean anything


@contextmanager
def apart() -> Iterator[None]:
    """For tensors that stay: made outside of inference mode, gradients, torch.func's transforms and fake tensors.

    What is made inside of them is theirs, and of no use once they have ended.
    """
    with ExitStack() as stack:
        if torch._C._functorch.peek_interpreter_stack() is not None:
            from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

            stack.enter_context(temporarily_clear_interpreter_stack())
        for context in (torch.inference_mode(False), torch.no_grad(), _disable_current_modes()):
            stack.enter_context(context)
        yield


class Constant:
    """A tensor that is computed, once for each device that asks for it.

    It is no buffer of a module: nothing that initialises, loads, casts or moves modules can reach it. Copies and
    pickles hold the function alone.

    Args:
        make: gives the tensor on the CPU, whatever the caller's default device and dtype are; picklable.
    """

    def __init__(self, make: Callable[[], Tensor]) -> None:
        self._make = make
        self._kept: dict[torch.device, Tensor] = {}

    def on(self, device: torch.device) -> Tensor:
        """The tensor there."""
        kept = self._kept.get(device)
        if kept is None:
            with apart():
                kept = self._kept[device] = self._make().to(device)
        return kept

    # What a compiler is told of it: to take the tensor as it is, and not to look how it comes about.
    on._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def __reduce__(self) -> Any:
        return Constant, (self._make,)


def is_plain(tensors: Sequence[Any]) -> bool:
    """Whether they are torch's own tensors, and no transform of torch.func or mode that sees operations is at work."""
    return PLAIN.issuperset(map(type, tensors)) and not (
        torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0
    )


class State(NamedTuple):
    """Tensors, and what tells whether they have changed since.

    Attributes:
        tensors: themselves, for one may have been put in the place of another.
        counted: those of them that count their changes in place, which tensors of inference mode do not.
        versions: of `counted`.
        addresses: of the numbers of all, if they are plain: `.data` may have been given others.
        numbers: that memory, held so that no other tensor can come to lie there.
    """

    tensors: tuple[Any, ...]
    counted: tuple[Tensor, ...]
    versions: tuple[int, ...]
    addresses: tuple[int, ...]
    numbers: tuple[Tensor, ...]

    @classmethod
    def of(cls, tensors: tuple[Any, ...]) -> State:
        """Their present state."""
        counted = tuple(tensor for tensor in tensors if not tensor.is_inference())
        numbers = tuple(tensor.detach() for tensor in tensors) if is_plain(tensors) else ()
        return cls(tensors, counted, _versions(counted), _addresses(numbers), numbers)

    def is_of(self, tensors: tuple[Any, ...]) -> bool:
        """Whether it still is that of these."""
        return (
            len(tensors) == len(self.tensors)
            and all(map(is_, tensors, self.tensors))
            and _versions(self.counted) == self.versions
            and (not self.numbers or _addresses(tensors) == self.addresses)
        )


def _versions(tensors: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(map(attrgetter("_version"), tensors))


def _addresses(tensors: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(map(Tensor.data_ptr, tensors))


class Cache:
    """A cache of one object that is derived from weights. Copies and pickles of the cache are empty.

    The object is made anew when one of the weights has been replaced, given other memory (`.data = x`), or changed in
    place as autograd counts it. A change in place through `.data` is not counted and goes unnoticed.
    """

    def __init__(self) -> None:
        self._kept: tuple[Any, State, Any] | None = None  # replaced whole, for threads

    def ready(self, make: Callable[..., T], *arguments: Any) -> T:
        """What `make` makes of tensors, of tuples of them, and of other things, which do not change unless those do."""
        tensors = tensors_of(arguments)
        kept = self._kept
        if kept is None or kept[0] != make or not kept[1].is_of(tensors):
            state = State.of(tensors)  # before they are read: what another thread changes meanwhile is noticed
            with apart():
                kept = self._kept = make, state, make(*arguments)
        return kept[2]

    def clear(self) -> None:
        """Keep nothing."""
        self._kept = None

    def __reduce__(self) -> Any:
        return Cache, ()


class Engined(nn.Module):
    """A module that runs on an engine, with `caches` for what is made of its weights.

    Attributes:
        uses_engine: False for one that does not, after all.
    """

    n_caches: ClassVar[int] = 1
    uses_engine = True

    def __init__(self) -> None:
        super().__init__()
        self.caches = [Cache() for _ in range(self.n_caches)]

    def forget(self) -> None:
        """Drop what is kept, which is made anew when it is needed."""
        for cache in self.caches:
            cache.clear()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.forget()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class Listed(tuple[Any, ...]):
    """A tuple that stays, whose tensors have been found.

    Attributes:
        tensors: what `tensors_of` gives.
    """

    tensors: tuple[Any, ...]

    @classmethod
    def of(cls, source: tuple[Any, ...]) -> Self:
        """The same tuple, with its tensors."""
        listed = cls(source)
        listed.tensors = tensors_of(source)
        return listed


def tensors_of(source: Any) -> tuple[Any, ...]:
    """A tensor, or the tensors in a tuple of tuples, and the modules that are to be called as they are."""
    if isinstance(source, Listed):
        return source.tensors
    if isinstance(source, (Tensor, nn.Module)):
        return (source,)
    return tuple(tensor for item in source for tensor in tensors_of(item)) if isinstance(source, tuple) else ()
