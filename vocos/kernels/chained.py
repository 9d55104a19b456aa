"""Modules whose work is a chain of steps, made once for a set of layers and parameters.

Nobody tells a module that a layer inside of it has been replaced or hooked. So each call compares what the chain is
made of with what it was, in few passes that run in C: about a tenth of what it takes to make it.
"""

from __future__ import annotations

import itertools
from itertools import repeat
from operator import contains, is_
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vocos.kernels import engines, steps, stream
from vocos.kernels.cache import Cache, Engined, Listed, is_plain
from vocos.kernels.steps import Chain
from vocos.kernels.stream import Piece

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
END = object()  # of a list, so that one with more or fewer items is another


class Structure:
    """The modules in a module, their classes, children and parameters, as they were.

    What it holds on to are the dictionaries of the modules themselves, which PyTorch changes and does not replace; what
    it compares is their content. Parameters are compared by identity: whether their numbers are the same is the
    caches' business. Other attributes of a layer, such as its stride, are taken to stay.
    """

    def __init__(self, root: nn.Module) -> None:
        self.modules = tuple(root.modules())
        self.classes = tuple(map(type, self.modules))
        self.attributes = tuple(module.__dict__ for module in self.modules)
        self.children = [module._modules for module in self.modules]
        self.children_before = [dict(children) for children in self.children]
        self.parameters = [module._parameters.values() for module in self.modules]
        self.parameters_before = (*itertools.chain.from_iterable(self.parameters), END)
        self.hooks = [getattr(module, name) for module in self.modules for name in HOOKS]

    def is_of(self, root: nn.Module) -> bool:
        """Whether it still is that of this module, and none of the modules does more than its class says."""
        return (
            self.modules[0] is root  # and not the original of a shallow copy
            and self.children == self.children_before
            and all(map(is_, itertools.chain(*self.parameters, (END,)), self.parameters_before))
            and all(map(is_, map(type, self.modules), self.classes))
            and not any(self.hooks)
            and not any(map(contains, self.attributes, repeat("forward")))
        )

    def has(self, tensors: tuple[Any, ...]) -> bool:
        """Whether all of them are parameters here, and so none was computed from some."""
        own = set(map(id, self.parameters_before))
        return all(id(tensor) in own for tensor in tensors if isinstance(tensor, Tensor))


class Made:
    """A cache of the chain of one module. Copies and pickles of the cache are empty."""

    def __init__(self) -> None:
        self._kept: tuple[Structure, Chain] | None = None  # replaced whole, for threads

    def ready(self, module: Chained) -> Chain:
        """What `chain` of the module gives, made anew when its layers or parameters have been replaced."""
        kept = self._kept
        if kept is not None and kept[0].is_of(module):
            return kept[1]
        if kept is not None:
            module.forget()  # what was made of other layers would keep their memory, too
        structure = Structure(module)  # before they are read: what another thread changes meanwhile is noticed
        chain = Listed.of(module.chain())
        tensors = chain.tensors
        # Parameters of a transform end with it; what is called or computed may differ at the next call.
        is_kept = structure.is_of(module) and is_plain(tensors) and structure.has(tensors)
        self._kept = (structure, chain) if is_kept else None
        return chain

    def clear(self) -> None:
        """Keep nothing."""
        self._kept = None

    def __reduce__(self) -> Any:
        return Made, ()


class OnEngine(NamedTuple):
    """A chain as one step, on the engine that `kernels.run` chooses."""

    chain: Chain
    cache: Cache

    def __call__(self, x: Tensor) -> Tensor:
        """The chain on a whole signal: `[B, I, N]` -> `[B, O, M]`."""
        return engines.run(self.chain, x, self.cache)

    def start(self) -> Any:
        """The state before the first piece."""
        return ()

    def advance(self, x: Piece, state: Any, is_last: bool) -> tuple[Piece, Any]:
        """The chain on a piece more, as of `engines.advance`."""
        return engines.advance(self.chain, x, state, is_last, self.cache)

    def most(self, state: Any) -> int:
        """As of `stream.most`."""
        return sum(map(stream.most, self.chain, state))

    @property
    def period(self) -> steps.Range:
        """As of a step."""
        return steps.period(self.chain)

    def length(self, n: int) -> int:
        """As of a step."""
        return steps.length(self.chain, n)

    def final(self, n: int) -> int:
        """As of a step."""
        return steps.final(self.chain, n)

    def span(self, start: int, stop: int) -> steps.Range:
        """As of a step."""
        return steps.span(self.chain, start, stop)


class Chained(Engined):
    """A module that runs a chain of steps on an engine. A subclass gives `chain`."""

    def __init__(self) -> None:
        super().__init__()
        self._made = Made()

    def chain(self) -> Chain:
        """What the module computes: made of its layers, and of nothing that changes by itself."""
        raise NotImplementedError

    def ready_chain(self) -> Chain:
        """The same, made once; a compiler sees it made, and keeps no guard on what was."""
        return self.chain() if torch.compiler.is_compiling() else self._made.ready(self)

    def step(self) -> OnEngine:
        """The module as one step of a longer chain."""
        return OnEngine(self.ready_chain(), self.caches[0])

    def forward(self, x: Tensor) -> Tensor:
        """The chain on a whole signal: `[B, I, N]` -> `[B, O, M]`."""
        return self.step()(x)

    def forget(self) -> None:
        super().forget()
        self._made.clear()
