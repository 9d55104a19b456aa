"""Steps spread over time give the whole, on every engine; what they say of themselves is true; states are values."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_chains import CHAINS, inputs, random
from torch import Tensor

from vocos import kernels
from vocos.kernels import engines, pieces, steps, stream, tiled
from vocos.kernels.steps import Chain, Convolution, Pad, Recurrent, Transposed

PARTITIONS = st.lists(st.sampled_from([0, 1, 1, 2, 3, 7, 13, 31, 97]), max_size=30)


def recurrent() -> Chain:
    lstm = torch.nn.LSTM(4, 4, 2).double()
    weights = tuple(weight.detach() for layer in lstm.all_weights for weight in layer)
    up = CHAINS["decoder"]()
    first = Convolution(random(4, 2, 7), random(4), 1, 1, 3)
    last = Convolution(random(3, 4, 3), None, 1, 1, 1)
    return first, Recurrent(weights), last, *up


EVERY = CHAINS | {"recurrent": recurrent}


def advancing(engine: str, chain: Chain, tile: int | None = None) -> Any:
    """`advance` of an engine, from the state before the first piece on."""
    if engine == "tiled":
        made = tiled.TiledChain(chain, torch.float64)
        return lambda x, state, is_last: made.advance(x, state or made.start, is_last, tile)
    if engine == "field":
        field = stream.Field(chain, lambda x: steps.run(chain, x))
        return lambda x, state, is_last: stream.advance(field, x, state or stream.Tail(), is_last)
    return lambda x, state, is_last: stream.along(chain, x, state or stream.starts(chain), is_last, stream.advance)


def pushed(advance: Any, x: Tensor, partition: list[int]) -> Tensor:
    """The outputs of pieces, put together."""
    state, start, found = None, 0, []
    for size in [*partition, x.shape[-1]]:
        piece = x[..., start : start + size].mT
        y, state = advance(piece if piece.shape[1] else None, state, False)
        found += [] if y is None else [y]
        start += piece.shape[1]
    y, _ = advance(None, state, True)
    return torch.cat([*found, *([] if y is None else [y])], 1).mT


@given(st.sampled_from(sorted(EVERY)), st.sampled_from(["reference", "tiled", "field"]), PARTITIONS, st.integers(2, 30))
@settings(max_examples=120, deadline=None)
@torch.no_grad()
def test_every_partition_gives_the_whole(name: str, engine: str, partition: list[int], n: int) -> None:
    if engine == "field" and name == "recurrent":
        return
    torch.manual_seed(0)
    chain = EVERY[name]()
    x = random(2, inputs(chain), 8 * n)
    given = pushed(advancing(engine, chain, 20), x, partition)
    torch.testing.assert_close(given, steps.run(chain, x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "constant"])
@torch.no_grad()
def test_signals_as_short_as_can_be_are_padded_as_by_the_definition(mode: str) -> None:
    torch.manual_seed(0)
    chain = Pad(6, 2, 4, mode), Convolution(random(3, 2, 8), random(3), 4)
    for n in range(1, 30):
        x = random(1, 2, n)
        for partition in ([], [1] * n, [n - 1]):
            given = pushed(advancing("reference", chain), x, partition)
            torch.testing.assert_close(given, steps.run(chain, x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [Convolution, Transposed])
@torch.no_grad()
def test_a_tail_that_is_one_too_short_is_found(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same comparison as above notices a planted error in what is kept."""
    torch.manual_seed(0)
    chain = EVERY["decoder"]()
    x = random(1, inputs(chain), 40)
    want, real = steps.run(chain, x), stream.move

    def short(step: Any, taken: int, given: int, more: int, is_last: bool) -> stream.Move:
        do = real(step, taken, given, more, is_last)
        return do._replace(first=do.first - 1) if isinstance(step, kind) and given > 0 else do

    monkeypatch.setattr(stream, "move", short)
    advance = advancing("reference", chain)
    with pytest.raises((AssertionError, RuntimeError)):
        torch.testing.assert_close(pushed(advance, x, [7] * 5), want, rtol=0, atol=1e-9)


@given(
    st.sampled_from(sorted(CHAINS)), st.integers(2, 60).map(lambda n: 8 * n), st.integers(0, 400), st.integers(1, 99)
)
@settings(max_examples=60, deadline=None)
@torch.no_grad()
def test_a_range_of_outputs_reads_its_span_and_nothing_else(name: str, n: int, start: int, size: int) -> None:
    torch.manual_seed(0)
    chain = CHAINS[name]()
    outputs = steps.length(chain, n)
    start = min(start, outputs - 1)
    stop = min(start + size, outputs)
    x = random(1, inputs(chain), n)
    want = steps.run(chain, x)
    assert want.shape[2] == outputs
    low, high = steps.span(chain, start, stop)
    other = torch.full_like(x, 1e9)
    other[:, :, max(low, 0) : high] = x[:, :, max(low, 0) : high]
    torch.testing.assert_close(steps.run(chain, other)[:, :, start:stop], want[:, :, start:stop], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_outputs_that_are_final_are_so_and_no_others(name: str) -> None:
    torch.manual_seed(0)
    chain = EVERY[name]()
    n = 64
    x = random(1, inputs(chain), 2 * n)
    other = torch.cat([x[..., :n], random(1, inputs(chain), n)], -1)
    one, two = steps.run(chain, x), steps.run(chain, other)
    final = steps.final(chain, n)
    torch.testing.assert_close(one[..., :final], two[..., :final], rtol=0, atol=1e-9)
    assert not torch.allclose(one[..., final : final + 1], two[..., final : final + 1], atol=1e-9)


def test_the_field_of_three_units_is_39_samples_to_each_side() -> None:
    stack = CHAINS["three units"]()
    assert steps.span(stack, 500, 600) == (461, 639)
    assert steps.final(stack, 1000) == 1000 - 39


@torch.no_grad()
def test_states_are_values() -> None:
    """A state from which a piece was pushed is good for another, and nobody's memory is held."""
    torch.manual_seed(0)
    for engine in ("reference", "tiled"):
        chain = EVERY["seanet"]()
        advance = advancing(engine, chain)
        x, other = random(1, 2, 64), random(1, 2, 64)
        first = x[..., :40].mT.clone()
        y, state = advance(first, None, False)
        before = copy.deepcopy(state)
        advance(other[..., 40:].mT, state, True)
        first.fill_(1e9)
        y.fill_(1e9)
        for kept, was in zip(stream.tensors(state), stream.tensors(before), strict=True):
            assert torch.equal(kept, was)
        assert sum(kept.untyped_storage().nbytes() for kept in stream.tensors(state)) == sum(
            kept.numel() * 8 for kept in stream.tensors(state)
        )


@torch.no_grad()
def test_a_state_does_not_tell_where_it_is() -> None:
    torch.manual_seed(0)
    chain = EVERY["encoder"]()
    advance = advancing("reference", chain)
    states = []
    for n in (800, 8000):
        _, state = advance(random(1, 2, n).mT, None, False)
        states.append(state)
    assert stream.are_in_phase(states)
    _, other = advance(random(1, 2, 801).mT, None, False)
    assert not stream.are_in_phase([states[0], other])


@torch.no_grad()
def test_engines_take_over_each_others_states() -> None:
    torch.manual_seed(0)
    chain = EVERY["decoder with odd strides"]()
    x = random(1, inputs(chain), 60)
    one, other = advancing("reference", chain), advancing("tiled", chain)
    first, state = one(x[..., :25].mT, None, False)
    second, state = other(x[..., 25:41].mT, state, False)
    third, _ = one(x[..., 41:].mT, state, True)
    torch.testing.assert_close(torch.cat([first, second, third], 1).mT, steps.run(chain, x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("piece", [40, 150, 1 << 20])
@torch.no_grad()
def test_long_signals_in_pieces_give_the_whole(name: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    chain = EVERY[name]()
    x = random(3, inputs(chain), 136)
    monkeypatch.setattr(pieces, "PIECE", piece)
    given = kernels.whole(chain, x, (), 4)
    torch.testing.assert_close(given, steps.run(chain, x), rtol=0, atol=1e-9)


def test_long_signals_are_whole_where_somebody_wants_to_see_the_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    chain = EVERY["encoder"]()
    monkeypatch.setattr(pieces, "PIECE", 10)
    x = random(1, 2, 64).requires_grad_()
    kernels.whole(chain, x, ()).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().min() > 0
    weight = torch.nn.Parameter(random(3, 2, 7))
    kernels.whole((Convolution(weight, None, padding=3),), x.detach(), (weight,)).sum().backward()
    assert weight.grad is not None
    seen: list[Tensor] = []
    hooked = steps.Called(lambda x: seen.append(x) or x)  # type: ignore[func-returns-value]
    with torch.no_grad():
        kernels.whole((hooked, *chain), x.detach(), ())
    assert seen[0].shape == x.shape


@torch.no_grad()
def test_an_engine_for_whole_signals_keeps_the_field_of_long_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    chain = EVERY["encoder"]()
    x = random(1, 2, 4000)
    calls: list[int] = []

    class Whole:
        def __init__(self, chain: Chain, dtype: torch.dtype) -> None:
            self.chain = chain

        def __call__(self, x: Tensor) -> Tensor:
            calls.append(x.shape[-1])
            return steps.run(self.chain, x)

    monkeypatch.setattr(engines, "_chosen", lambda x, weights: "triton")
    monkeypatch.setattr(engines, "_maker", lambda name: Whole)
    cache, state, found = kernels.Cache(), (), []
    for start in range(0, 4000, 2000):
        y, state = kernels.advance(chain, x[..., start : start + 2000].mT, state, start == 2000, cache)
        found.append(y)
    torch.testing.assert_close(torch.cat(found, 1).mT, steps.run(chain, x), rtol=0, atol=1e-9)
    assert len(calls) == 2
    assert calls[1] < 2200
    calls.clear()
    y, state = kernels.advance(chain, x[..., :20].mT, (), False, cache)  # a short first piece goes by the definition
    assert not calls
