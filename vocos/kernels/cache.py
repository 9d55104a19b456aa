"""What is made once and kept: by an engine, of the weights of a module; and constants, for each device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

T = TypeVar("T")


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


class Cache:
    """A cache of one object that is derived from weights. Copies and pickles of the cache are empty.

    The object is made anew when one of the weights has been replaced, or changed in place as autograd counts it. A
    change through `.data` is not counted and goes unnoticed.
    """

    def __init__(self) -> None:
        self._kept: tuple[Any, list[Tensor], list[int], Any] | None = None  # replaced whole, for threads

    def ready(self, make: Callable[..., T], *arguments: Any) -> T:
        """What `make` makes of tensors, of tuples of them, and of other things, which do not change unless those do."""
        tensors = list(tensors_of(arguments))
        versions = [0 if tensor.is_inference() else tensor._version for tensor in tensors]
        kept = self._kept
        is_current = kept is not None and (make, versions) == (kept[0], kept[2])
        if kept is None or not is_current or any(a is not b for a, b in zip(tensors, kept[1], strict=True)):
            with apart():
                kept = self._kept = make, tensors, versions, make(*arguments)
        return kept[3]

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


def tensors_of(source: Any) -> Iterator[Any]:
    """A tensor, or the tensors in a tuple of tuples, and the modules that are to be called as they are."""
    if isinstance(source, (Tensor, nn.Module)):
        yield source
    elif isinstance(source, tuple):
        for item in source:
            yield from tensors_of(item)
