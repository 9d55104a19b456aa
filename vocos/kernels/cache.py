"""What an engine makes of weights, kept with the module whose weights they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class Cache:
    """Room for one thing made of tensors. Copies and pickles of it are empty.

    It is made anew when one of them has been replaced or changed in place; not when one has been changed behind
    autograd's back, through `.data`.
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
            with torch.inference_mode(False), torch.no_grad():
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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        for cache in self.caches:
            cache.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def tensors_of(source: Any) -> Iterator[Tensor]:
    """A tensor, or the tensors in a tuple of tuples."""
    if isinstance(source, Tensor):
        yield source
    elif isinstance(source, tuple):
        for item in source:
            yield from tensors_of(item)
