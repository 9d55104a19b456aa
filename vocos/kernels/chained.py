"""Modules whose work is chains of steps, made once for a set of layers and parameters.

Nobody tells a module that a layer inside of it has been replaced or hooked. So each call compares what chains are made
of with what it was, in few passes that run in C: about a tenth of what it takes to make them.
"""

from __future__ import annotations

from itertools import chain, repeat
from operator import contains, is_
from typing import Any

import torch
from torch import Tensor, nn

from vocos.kernels.cache import Engined, Listed, is_plain, tensors_of
from vocos.kernels.steps import Chain

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
        self.parameters_before = (*chain.from_iterable(self.parameters), END)
        self.hooks = [getattr(module, name) for module in self.modules for name in HOOKS]

    def is_of(self, root: nn.Module) -> bool:
        """Whether it still is that of this module, and none of the modules does more than its class says."""
        return (
            self.modules[0] is root  # and not the original of a shallow copy
            and self.children == self.children_before
            and all(map(is_, chain(*self.parameters, (END,)), self.parameters_before))
            and all(map(is_, map(type, self.modules), self.classes))
            and not any(self.hooks)
            and not any(map(contains, self.attributes, repeat("forward")))
        )

    def has(self, tensors: tuple[Any, ...]) -> bool:
        """Whether all of them are parameters here, and so none was computed from some."""
        own = set(map(id, self.parameters_before))
        return all(id(tensor) in own for tensor in tensors if isinstance(tensor, Tensor))


class Chains:
    """A cache of the chains of one module. Copies and pickles of the cache are empty."""

    def __init__(self) -> None:
        self._kept: tuple[Structure, tuple[Chain, ...]] | None = None  # replaced whole, for threads

    def ready(self, module: Chained) -> tuple[Chain, ...]:
        """What `chains` of the module gives, made anew when its layers or parameters have been replaced."""
        kept = self._kept
        if kept is not None and kept[0].is_of(module):
            return kept[1]
        if kept is not None:
            module.forget()  # what was made of other layers would keep their memory, too
        structure = Structure(module)  # before they are read: what another thread changes meanwhile is noticed
        chains = tuple(map(Listed.of, module.chains()))
        tensors = tensors_of(chains)
        # Parameters of a transform end with it; what is called or computed may differ at the next call.
        is_kept = structure.is_of(module) and is_plain(tensors) and structure.has(tensors)
        self._kept = (structure, chains) if is_kept else None
        return chains

    def clear(self) -> None:
        """Keep nothing."""
        self._kept = None

    def __reduce__(self) -> Any:
        return Chains, ()


class Chained(Engined):
    """A module that runs chains of steps on an engine. A subclass gives `chains`, of which there are `n_caches`."""

    def __init__(self) -> None:
        super().__init__()
        self._chains = Chains()

    def chains(self) -> tuple[Chain, ...]:
        """What the module computes, as far as chains do: made of its layers, and of nothing that changes by itself."""
        raise NotImplementedError

    def ready_chains(self) -> tuple[Chain, ...]:
        """The same, made once; a compiler sees them made, and keeps no guard on what was."""
        return self.chains() if torch.compiler.is_compiling() else self._chains.ready(self)

    def forget(self) -> None:
        super().forget()
        self._chains.clear()
