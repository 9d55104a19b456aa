"""Streams of one codec that go on together, as the rows of a batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from vocos.errors import InvalidInput
from vocos.kernels import stream
from vocos.voco.streams import Stream


def join_streams(streams: Iterable[Stream]) -> Stream:
    """One stream whose rows are those of several, which go on from where each is: many callers in one batch.

    Args:
        streams: of the same call, options and codec, each past its start and in the same phase: of decoders that is
            always so, of encoders where they have taken the same number of samples but for whole frames.

    Returns:
        A new stream; those given stay as they are.

    Raises:
        InvalidInput: if they cannot go on together.
    """
    given: Sequence[Stream] = list(streams)
    if not given or not all(isinstance(one, Stream) for one in given):
        raise InvalidInput("join_streams: expected a list of one or more streams")
    first = given[0]
    for number, other in enumerate(given):
        where = f"join_streams: stream {number}"
        if other._codec is not first._codec or other.call != first.call:
            raise InvalidInput(f"{where} is of another codec object or call; join streams that one object has made")
        if other._options.keys() != first._options.keys() or not all(
            _is_same(value, first._options[name]) for name, value in other._options.items()
        ):
            raise InvalidInput(f"{where} has other options")
        if other._is_finished:
            raise InvalidInput(f"{where} has ended")
        if (other._states is None) != (first._states is None) or (
            None not in {other._dtype, first._dtype} and (other._dtype != first._dtype)
        ):
            raise InvalidInput(f"{where} has begun with another dtype, or not begun; push() to each first")
    joined = first.copy()
    joined.batch = sum(one.batch for one in given)
    joined._taken = tuple(itertools.chain.from_iterable(one._taken for one in given))
    joined._given = tuple(itertools.chain.from_iterable(one._given for one in given))
    if first._states is not None:
        states = [one._states for one in given]
        if not stream.are_in_phase(states):
            raise InvalidInput(
                "join_streams: the streams are not in the same phase: push until each is past its start, and encoders "
                "to the same place in a frame"
            )
        joined._states = stream.joined(states)
    return joined


def _is_same(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor) or isinstance(other, Tensor):
        return value is other
    return bool(value == other)
