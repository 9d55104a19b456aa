"""Checks of a user's input. Bad input raises InvalidInput, which says what was given, expected, and what to do."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vocos.errors import InvalidInput
from vocos.nn.length import Length

WIDE_OF = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}


def audio(value: Any, channel: int, minimum: int, call: str = "encode") -> None:
    """Raise InvalidInput unless the value is float audio `[batch, samples, channel]` of a legal length."""
    expected = f"{call}: expected audio [batch, samples, {channel}]"
    shape = _floating(value, expected, "audio.float() / 32768 turns int16 into floats in [-1, 1]")
    if len(shape) != 3:
        hint = "add the missing axes, as in audio[None, :, None] for one mono clip [samples]"
        raise InvalidInput(f"{expected}, got {shape}; {hint}")
    if shape[2] != channel:
        if shape[1] == channel:
            hint = "channels go last: audio.transpose(1, 2)"
        elif channel == 1:
            hint = "mix it down: audio.mean(-1, keepdim=True)"
        else:
            hint = f"repeat a mono signal: audio.expand(-1, -1, {channel})"
        raise InvalidInput(f"{expected}, got {shape}; {hint}")
    if shape[0] == 0 or shape[1] == 0:
        raise InvalidInput(f"{expected}, got {shape}, which is empty")
    if shape[1] < minimum:
        raise InvalidInput(
            f"{expected} with at least {minimum} samples, got {shape}; the codec cannot take a shorter clip, "
            "complete it with zeros"
        )


def latents(value: Any, latent_dim: int, minimum: int, call: str = "decode") -> None:
    """Raise InvalidInput unless the value is float latents `[batch, frames, latent_dim]` of a legal length."""
    expected = f"{call}: expected latents [batch, frames, {latent_dim}]"
    shape = _floating(value, expected, "for integer codes there is decode_codes")
    if len(shape) != 3:
        raise InvalidInput(f"{expected}, got {shape}; add the missing axes, as in latents[None] for one clip")
    if shape[2] != latent_dim:
        hint = "; the latent axis goes last: latents.transpose(1, 2)" if shape[1] == latent_dim else ""
        raise InvalidInput(f"{expected}, got {shape}{hint}")
    if shape[0] == 0 or shape[1] == 0:
        raise InvalidInput(f"{expected}, got {shape}, which is empty")
    frames(value, minimum, expected)


def frames(value: Tensor, minimum: int, expected: str) -> None:
    """Raise InvalidInput unless latents or codes `[batch, frames, ...]` have enough frames."""
    if value.shape[1] < minimum:
        raise InvalidInput(
            f"{expected} with at least {minimum} frames, got {list(value.shape)}; fewer frames cannot be decoded"
        )


def multiple(latents: Tensor, frames: int, call: str) -> None:
    """Raise InvalidInput unless latents `[batch, frames, ...]` are of whole frames of codes."""
    if latents.shape[1] % frames:
        raise InvalidInput(
            f"{call}: expected a multiple of {frames} latent frames, which make a frame of codes, got "
            f"{list(latents.shape)}"
        )


def piece(value: Any, size: int, call: str, what: str) -> None:
    """Raise InvalidInput unless the value is a piece of float audio or latents, `[batch, 0 or more, size]`."""
    expected = f"{call}: expected {what} [batch, any, {size}]"
    shape = _floating(value, expected, "codes and int16 samples are not what this stream takes")
    if len(shape) != 3 or shape[2] != size:
        raise InvalidInput(
            f"{expected}, got {shape}; the last axis is that of the channels or latents, batch goes first"
        )


def scales(value: Any, codes: Tensor, call: str) -> None:
    """Raise InvalidInput unless the value has float scales `[batch, chunks]` for some codes."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim != 2 or len(value) != len(codes):
        given = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise InvalidInput(f"{call}: expected scales float [{len(codes)}, chunks that begin here], got {given}")
    device(value, codes.device, call)


def finite(value: Tensor, what: str, start: int = 0) -> None:
    """Raise InvalidInput unless all numbers of a tensor `[batch, length, ...]` are finite; one pass over it.

    Of a piece of a longer one, `start` is where it begins.
    """
    if not torch.isfinite(value).all():
        row, frame = torch.nonzero(~torch.isfinite(value))[0, :2].tolist()
        where = f"frame {start + frame}" if len(value) == 1 else f"row {row}, frame {start + frame}"
        raise InvalidInput(f"{what}: expected finite numbers, got nan or infinity, first in {where}")


def codes(value: Any, columns: Sequence[int], codebook_size: int, call: str) -> None:
    """Raise InvalidInput unless the value is integer codes `[batch, frames, k]`, k one of the columns, in range."""
    most = columns[-1]
    few = f"1 to {most}" if len(columns) == most else " or ".join(map(str, columns))
    expected = f"{call}: expected integer codes [batch, frames, {few}]"
    if not isinstance(value, Tensor):
        raise InvalidInput(f"{expected}, got a {type(value).__name__}; torch.as_tensor(codes) makes a tensor")
    shape = list(value.shape)
    if value.dtype.is_floating_point or value.dtype.is_complex or value.dtype == torch.bool:
        raise InvalidInput(f"{expected}, got {value.dtype}; for continuous latents there is decode")
    if len(shape) != 3 or shape[2] not in columns:
        hint = "; codebooks go last: codes.transpose(1, 2)" if len(shape) == 3 and shape[1] in (0, *columns) else ""
        raise InvalidInput(f"{expected}, got {shape}{hint}")
    if shape[0] == 0 or shape[1] == 0:
        raise InvalidInput(f"{expected}, got {shape}, which is empty")
    if value.dtype in WIDE_OF:  # PyTorch moves and casts these, and does little more with them
        value = value.to(WIDE_OF[value.dtype])
    low, high = int(value.min()), int(value.max())  # of uint64, what int64 has not is below 0
    if low < 0 or high >= codebook_size:
        raise InvalidInput(f"{call}: expected codes from 0 to {codebook_size - 1}, got {low} to {high}")


def codebook_count(value: Any, n_codebooks: int, call: str) -> int:
    """The number of codebooks asked for; None stands for all of them. Raises InvalidInput for any other value."""
    if value is None:
        return n_codebooks
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= n_codebooks:
        raise InvalidInput(f"{call}: expected n_codebooks from 1 to {n_codebooks}, got {value!r}")
    return value


def choice(value: Any, choices: tuple[float, ...], call: str, name: str, unit: str) -> float:
    """The value as a float, if it is one of the choices. Raises InvalidInput if not."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value in choices:
        return float(value)
    raise InvalidInput(
        f"{call}: expected {name} as one of {', '.join(f'{known:g}' for known in choices)} {unit}, got {value!r}"
    )


def device(value: Tensor, expected: torch.device, call: str) -> None:
    """Raise InvalidInput unless the tensor is on the device of the weights."""
    if value.device != expected:
        raise InvalidInput(
            f"{call}: the input is on {value.device} and the codec on {expected}; move it with voco.to(device)"
        )


def length(value: Any, call: str = "decode") -> int | None:
    """The number of samples to return, or None. Raises InvalidInput unless it is an integer of at least 1."""
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InvalidInput(f"{call}: expected length as a number of samples, got {value!r}") from None
    if number < 1:
        raise InvalidInput(f"{call}: expected length of at least 1 sample, got {number}")
    return number


def count(value: Length, call: str, unit: str) -> Length:
    """The number of samples or frames, an int or an integer tensor. Raises InvalidInput unless each is at least 1."""
    if isinstance(value, Tensor):
        if value.dtype.is_floating_point or value.dtype.is_complex or value.dtype == torch.bool:
            raise InvalidInput(f"{call}: expected an integer tensor, got {value.dtype}")
        smallest = int(value.min()) if value.numel() else 1
    elif isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidInput(f"{call}: expected an int or an integer tensor, got {value!r}")
    else:
        value = smallest = operator.index(value)
    if smallest < 1:
        raise InvalidInput(f"{call}: expected at least 1 of the {unit}, got {smallest}")
    return value


def mask(value: Any, minimum: int, call: str, unit: str) -> None:
    """Raise InvalidInput unless the value is a bool mask `[batch, length]` of a legal length."""
    expected = f"{call}: expected a bool mask [batch, {unit}], True where real"
    if not isinstance(value, Tensor):
        raise InvalidInput(f"{expected}, got a {type(value).__name__}")
    if value.dtype != torch.bool:
        raise InvalidInput(f"{expected}, got {value.dtype}; mask.bool() turns 0 and 1 into it")
    if value.ndim != 2 or value.shape[1] < minimum:
        raise InvalidInput(f"{expected}, at least {minimum} wide, got {list(value.shape)}")


def row_lengths(value: Tensor, shape: tuple[int, ...], minimum: int, call: str, unit: str) -> list[int]:
    """The number of True in each row of the mask that belongs to a tensor `[batch, length, ...]`."""
    mask(value, 1, call, unit)
    if tuple(value.shape) != shape[:2]:
        raise InvalidInput(f"{call}: expected a mask {list(shape[:2])} like the input, got {list(value.shape)}")
    lengths = value.sum(dim=1)
    if not torch.equal(value, torch.arange(value.shape[1], device=value.device) < lengths[:, None]):
        raise InvalidInput(
            f"{call}: expected a mask whose rows are True up to a length, then False: padding goes right"
        )
    found: list[int] = lengths.tolist()
    for row, real in enumerate(found):
        if 0 < real < minimum:
            raise InvalidInput(f"{call}: row {row} of the mask has {real} real {unit}, the codec needs {minimum}")
    return found


def _floating(value: Any, expected: str, hint: str) -> list[int]:
    """The shape of a floating-point tensor. Raises InvalidInput for anything else."""
    if not isinstance(value, Tensor):
        raise InvalidInput(f"{expected}, got a {type(value).__name__}; torch.as_tensor makes a tensor of an array")
    if not value.dtype.is_floating_point:
        raise InvalidInput(f"{expected} in floating point, got {value.dtype}; {hint}")
    return list(value.shape)
