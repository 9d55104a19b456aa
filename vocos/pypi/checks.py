"""Checks of the input of the classes of PyPI's `vocos`, and of the modules inside them."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vocos.errors import CheckpointError, InvalidInput


def untouched(kinds: tuple[type[nn.Module], ...], *modules: nn.Module) -> bool:
    """Whether calls of these modules do what their classes say, so that a faster way to the same numbers may be taken.

    Programs replace modules, hook them, parametrize them or set `forward` of one; then each must be called as it is.
    """
    return all(
        type(module) in kinds
        and "forward" not in vars(module)
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and not module._backward_hooks
        and not module._backward_pre_hooks
        for module in modules
    )


@contextmanager
def unfilled(source: object) -> Iterator[None]:
    """Make modules without values; sizes that no tensor can have are an error of their source."""
    try:
        with torch.device("meta"):
            yield
    except (RuntimeError, OverflowError, TypeError) as error:
        raise CheckpointError(f"{source}: no network can have this config: {error}") from error


def condition(bandwidth_id: Any, choices: int) -> int | Tensor:
    """The bandwidth of a batch: from an integer, or an integer tensor with one element; or one of each row, `[B, 1]`.

    Raises:
        InvalidInput: if it is none of the choices.
    """
    expected = (
        f"expected bandwidth_id as an integer from 0 to {choices - 1}, or a tensor with one, as torch.tensor([2])"
    )
    if bandwidth_id is None:
        raise InvalidInput(f"{expected}; this vocoder must be told the bandwidth")
    if isinstance(bandwidth_id, Tensor) and bandwidth_id.numel() > 1 and bandwidth_id.shape[1:] == (1,):
        if bandwidth_id.is_floating_point() or not 0 <= int(bandwidth_id.min()) <= int(bandwidth_id.max()) < choices:
            raise InvalidInput(f"{expected}; got {bandwidth_id.flatten().tolist()[:8]}")
        return bandwidth_id
    try:
        index = operator.index(bandwidth_id)
    except TypeError:
        shown = f"shape {list(bandwidth_id.shape)}" if isinstance(bandwidth_id, Tensor) else repr(bandwidth_id)[:80]
        raise InvalidInput(f"{expected}; got {shown}; [batch, 1] tells one of each row") from None
    if not 0 <= index < choices:
        raise InvalidInput(f"{expected}; got {index}")
    return index


def check_tensor(value: Any, expected: str, sizes: Sequence[int | None], hint: str) -> None:
    """Raise InvalidInput unless the value is a non-empty float tensor with these sizes, None for any."""
    check_floats(value, expected)
    fits = value.ndim == len(sizes) and all(want in (None, size) for want, size in zip(sizes, value.shape, strict=True))
    if not fits or not value.numel():
        raise InvalidInput(f"{expected}, got {list(value.shape)}; {hint}")


def check_floats(value: Any, expected: str) -> None:
    """Raise InvalidInput unless the value is a tensor of floats."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise InvalidInput(f"{expected} as a tensor of floats, got {kind}")
