"""Steps spread over time: what each keeps from one piece of its input to the next, and nothing more.

A step that reads a span of its input keeps the tail of the input which outputs to come still read:

    input so far    |  gone  |=== tail ===|
    a piece more             |=== tail ===|+++ piece +++|
    outputs                        given  |~~~ now final ~~~| . . wait for inputs to come . .
    next                                       |=== tail ===|

So every output is computed once, from the same inputs as in the whole, and at the end of the signal `length` and the
padding on the right come into play. An LSTM keeps its state. States are values: a piece makes a new one, and the one
before stays good. They hold tensors `[B, ...]`, the same for every engine, and numbers that are equal for two signals
in the same phase, wherever they are: past its start a signal is counted from a start that moves on with it.

Pieces are None where there is nothing. Inside of this module time is axis 1, `[B, N, C]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from vocos.kernels import steps
from vocos.kernels.steps import ENDLESS, Local, Range, Recurrent, Residual

SETTLED = 1 << 20  # periods from the start, past which nothing of the start is left
Piece: TypeAlias = Tensor | None
# Makes of the inputs in one range, of a signal of n samples, the outputs in another.
Runner: TypeAlias = Callable[[Tensor, int, Range, Range], Tensor]


class Tail(NamedTuple):
    """What a step keeps that reads a span.

    Attributes:
        taken: inputs so far.
        given: outputs so far.
        kept: the last inputs, `[B, n, C]`.
    """

    taken: int = 0
    given: int = 0
    kept: Piece = None


class Sum(NamedTuple):
    """What a residual keeps.

    Attributes:
        inner: states of its steps.
        shortcut: state of the shortcut.
        waiting: what the shortcut gave and the steps have not yet.
    """

    inner: tuple[Any, ...]
    shortcut: Any = None
    waiting: Piece = None


class Memory(NamedTuple):
    """What an LSTM keeps: hidden and cell states of its layers, each `[B, layers, C]`, once it has begun."""

    layers: tuple[Tensor, ...] = ()


class Field(NamedTuple):
    """A chain as a single step, for an engine that runs whole signals: it keeps the receptive field, and computes the
    outputs within it again. Where it begins or ends in the signal, what the chain pads there is cut off.
    """

    chain: tuple[Any, ...]
    run: Callable[[Tensor], Tensor]  # [B, I, N] -> [B, O, length(N)]

    @property
    def period(self) -> Range:
        """Of the chain."""
        return steps.period(self.chain)

    def part(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        """Outputs of the inputs, from those on that have all of theirs."""
        inputs, outputs = self.period
        first = source[0] // inputs * outputs
        if source[1] < n:
            x = F.pad(x, (0, -x.shape[-1] % inputs))  # what it makes of that is cut off, too
        return self.run(x)[..., target[0] - first : target[1] - first]

    def length(self, n: int) -> int:
        """Of the chain."""
        return steps.length(self.chain, n)

    def final(self, n: int) -> int:
        """Of the chain."""
        return steps.final(self.chain, n)

    def span(self, start: int, stop: int) -> Range:
        """Of the chain, from a multiple of its period on."""
        low, high = steps.span(self.chain, start, stop)
        return low // self.period[0] * self.period[0], high


class Move(NamedTuple):
    """What a step does with a piece, as numbers.

    Attributes:
        n: length of the signal as far as it is known.
        source: inputs that the outputs are made of.
        target: the outputs.
        first: which input the tail and the piece begin with.
        keep: which input the tail begins with afterwards.
        taken, given: afterwards.
    """

    n: int
    source: Range
    target: Range
    first: int
    keep: int
    taken: int
    given: int


def start(step: Any) -> Any:
    """The state of a step before the first piece."""
    if isinstance(step, Residual):
        return Sum(starts(step.steps), None if step.shortcut is None else start(step.shortcut))
    if isinstance(step, Recurrent):
        return Memory()
    return step.start() if hasattr(step, "start") else Tail()


def starts(chain: Iterable[Any]) -> tuple[Any, ...]:
    """The states of steps in a row."""
    return tuple(map(start, chain))


def advance(step: Any, x: Piece, state: Any, is_last: bool) -> tuple[Piece, Any]:
    """A step on a piece more, by its definition: what is final now, and the state afterwards."""
    if isinstance(step, Residual):
        return add(step, x, state, is_last, advance)
    if isinstance(step, Recurrent):
        return recur(step, x, state)
    if hasattr(step, "advance"):
        found: tuple[Piece, Any] = step.advance(x, state, is_last)
        return found

    def part(values: Tensor, n: int, source: Range, target: Range) -> Tensor:
        y: Tensor = step.part(values.mT, n, source, target)
        return y.mT

    return proceed(part, move, step, x, state, is_last)


def along(
    chain: Sequence[Any], x: Piece, states: Sequence[Any], is_last: bool, each: Callable[..., tuple[Piece, Any]]
) -> tuple[Piece, tuple[Any, ...]]:
    """Steps in a row, by `each`, a function as `advance`."""
    after = []
    for step, before in zip(chain, states, strict=True):
        x, state = each(step, x, before, is_last)
        after.append(state)
    return x, tuple(after)


def move(step: Local, taken: int, given: int, more: int, is_last: bool) -> Move:
    """What a step does when so many inputs more come after those it has taken."""
    first = min(taken, max(0, step.span(given, given + 1)[0]))
    taken += more
    ready = max(given, step.length(taken) if is_last else step.final(taken))
    low, high = step.span(given, max(ready, given + 1))
    source, target = (max(low, 0), min(high, taken)), (given, ready)
    inputs, outputs = step.period
    low = step.span(ready, ready + 1)[0]
    back = max(0, low) // inputs  # periods that lie behind
    n = taken if is_last else ENDLESS
    return Move(n, source, target, first, min(taken, max(low, 0)), taken - back * inputs, ready - back * outputs)


def count(chain: Iterable[Any], states: Iterable[Any], more: int, is_last: bool) -> int:
    """Outputs of steps in a row when so many inputs more come."""
    for step, state in zip(chain, states, strict=True):
        if isinstance(step, Residual):
            more = count(step.steps, state.inner, more, is_last)
        elif not isinstance(step, Recurrent):
            start, stop = move(step, state.taken, state.given, more, is_last).target
            more = stop - start
    return more


def proceed(
    part: Runner, plan: Callable[..., Move], step: Any, x: Piece, tail: Tail, is_last: bool
) -> tuple[Piece, Tail]:
    """A step that reads a span, on a piece more.

    Args:
        part: computes a range of its outputs.
        plan: `move`, or one that remembers.
        step: the step.
        x: `[B, N, C]`.
        tail: so far.
        is_last: whether the signal ends here.
    """
    if x is None and not is_last:
        return None, tail
    do = plan(step, tail.taken, tail.given, 0 if x is None else x.shape[1], is_last)
    both = (
        tail.kept if x is None else x if tail.kept is None or not tail.kept.shape[1] else torch.cat([tail.kept, x], 1)
    )
    if both is None:
        return None, tail
    y: Piece = None
    if do.target[1] > do.target[0]:
        y = part(cut(both, do.source[0] - do.first, do.source[1] - do.first), do.n, do.source, do.target)
    return y, Tail(do.taken, do.given, None if is_last else _kept(both, do.keep - do.first, tail.kept))


def _kept(both: Tensor, start: int, before: Piece) -> Tensor:
    """The tail from there on; of none, an empty one, which zeros can be made like at the end of the signal."""
    if start < both.shape[1]:
        return own(both, start)
    return before if before is not None and not before.shape[1] else both.new_empty(both.shape[0], 0, both.shape[2])


def add(
    step: Residual, x: Piece, state: Sum, is_last: bool, each: Callable[..., tuple[Piece, Any]]
) -> tuple[Piece, Sum]:
    """A residual on a piece more, its steps and its shortcut by `each`, a function as `advance`."""
    y, inner = along(step.steps, x, state.inner, is_last, each)
    around, shortcut = (x, None) if step.shortcut is None else each(step.shortcut, x, state.shortcut, is_last)
    around, waiting = paired(y, around, state.waiting)
    return None if y is None or around is None else around + y, Sum(inner, shortcut, waiting)


def paired(y: Piece, around: Piece, waiting: Piece) -> tuple[Piece, Piece]:
    """Of what has waited and what came now: what belongs to y, and what waits on."""
    if around is None:
        around = waiting
    elif waiting is not None:
        around = torch.cat([waiting, around], 1)
    if around is None or y is None:
        return None, None if around is None else own(around, 0)
    n = y.shape[1]
    return cut(around, 0, n), own(around, n) if around.shape[1] > n else None


def recur(step: Recurrent, x: Piece, state: Memory) -> tuple[Piece, Memory]:
    """An LSTM on a piece more."""
    if x is None:
        return None, state
    if x.is_meta:  # where only sizes count, and each frame would take a while
        empty = x.new_empty(x.shape[0], len(step.weights) // 4, step.weights[1].shape[1])
        return x, Memory((empty, empty))
    y, layers = step.run(x, state.layers or None)  # type: ignore[arg-type]
    return y, Memory(tuple(layer.detach() for layer in layers))


def cut(x: Tensor, start: int, stop: int) -> Tensor:
    """The part of a signal, which may be all of it."""
    return x if start == 0 and stop == x.shape[1] else x[:, start:stop]


def own(x: Tensor, start: int) -> Tensor:
    """The end of a signal, in memory of its own: a view would hold on to all, and change when its owner changes it."""
    return x[:, start:].detach().clone(memory_format=torch.contiguous_format)


# States as values


def tensors(state: Any) -> list[Tensor]:
    """The tensors of a state."""
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state for tensor in tensors(part)] if isinstance(state, tuple) else []


def _mapped(states: Sequence[Any], function: Callable[[list[Tensor]], Tensor]) -> Any:
    """A state made of several of the same structure, tensors by a function."""
    first = states[0]
    if isinstance(first, Tensor):
        return function(list(states))
    if not isinstance(first, tuple):
        return first
    parts = [_mapped(parts, function) for parts in zip(*states, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)


def are_in_phase(states: Sequence[Any]) -> bool:
    """Whether states differ in the content of their tensors alone, and in the rows of these."""
    first = states[0]
    if isinstance(first, tuple):
        return all(isinstance(state, tuple) and len(state) == len(first) for state in states) and all(
            are_in_phase(parts) for parts in zip(*states, strict=True)
        )
    if isinstance(first, Tensor):
        return all(
            isinstance(state, Tensor)
            and (state.shape[1:], state.dtype, state.device) == (first.shape[1:], first.dtype, first.device)
            for state in states
        )
    return all(not isinstance(state, (Tensor, tuple)) and state == first for state in states)


def joined(states: Sequence[Any]) -> Any:
    """The state of the rows of several that are in phase."""
    return _mapped(states, torch.cat)


def row(state: Any, index: int, batch: int) -> Any:
    """The state of one row of a batch; a step that takes the channels of a row apart has several rows for each."""

    def of_row(parts: list[Tensor]) -> Tensor:
        each = parts[0].shape[0] // batch
        return parts[0][index * each : (index + 1) * each].clone()

    return _mapped([state], of_row)


def most(step: Any, state: Any) -> int:
    """The numbers that a state can come to hold, as far as one tells that is past its start."""
    if isinstance(state, Tail):
        if state.kept is None:
            return 0
        inputs, _ = step.period
        far = SETTLED * inputs
        rows = max(n - max(0, step.span(step.final(n), step.final(n) + 1)[0]) for n in range(far, far + inputs))
        return rows * state.kept.shape[2] * state.kept.shape[0]
    if isinstance(state, Sum):
        inner = sum(map(most, step.steps, state.inner))
        if state.waiting is None:
            return inner
        inputs, _ = step.period
        far = SETTLED * inputs
        shortcut = () if step.shortcut is None else (step.shortcut,)
        rows = max(steps.final(shortcut, n) - step.final(n) for n in range(far, far + inputs))
        own_state = 0 if step.shortcut is None else most(step.shortcut, state.shortcut)
        return inner + own_state + rows * state.waiting.shape[2] * state.waiting.shape[0]
    if hasattr(step, "most"):
        found: int = step.most(state)
        return found
    return sum(tensor.numel() for tensor in tensors(state))
