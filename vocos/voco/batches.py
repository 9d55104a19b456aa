"""Lists of clips of different lengths, each coded as if it were alone; those of one length run together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vocos.errors import InvalidInput
from vocos.voco import checks, rows
from vocos.voco.codec import Codec

Clips = Sequence[Tensor | np.ndarray[Any, Any]]
Lengths = Sequence[int | None] | Tensor | None
# Samples of all clips that run together, 22 seconds at 48 kHz; one that is longer runs alone. In float32 on the CPU
# oobleck was seen to take 2.3 to 3.7 kB for each, so that a list of any length is done in about 4 GB.
MAX_SAMPLES = 1 << 20


def encode(codec: Codec[Any], clips: Clips, function: Callable[[Tensor, list[int]], Iterable[Tensor]]) -> list[Tensor]:
    """Apply a function to every clip of a list, as `Voco.encode_batch` does.

    Args:
        codec: whose clips they are.
        clips: `[samples, channel]` each, tensors or arrays.
        function: audio `[b, samples, channel]` and the positions of these b in the list -> b results.

    Raises:
        InvalidInput: naming the item.
    """
    call = "encode_batch"
    codec.weights.require("encoder", call)
    items = _tensors(clips, codec.channel, codec.minimum_samples, call, "samples", codec.device)
    return _run(function, items, codec.load().device, call) if items else []


def decode(
    codec: Codec[Any], latents: Clips, lengths: Lengths, function: Callable[[Tensor, int, list[int]], Tensor]
) -> list[Tensor]:
    """Apply a function to the latents of every clip of a list, as `Voco.decode_batch` does.

    Args:
        codec: whose clips they are.
        latents: `[frames, latent_dim]` each, tensors or arrays.
        lengths: number of samples to return for each, None for all.
        function: latents `[b, frames, latent_dim]`, a length and the positions of these b in the list
            -> `[b, length, channel]`.

    Raises:
        InvalidInput: naming the item.
    """
    call = "decode_batch"
    codec.weights.require("decoder", call)
    items = _tensors(latents, codec.latent_dim, codec.minimum_frames, call, "frames", codec.device)
    wanted = _lengths(lengths, [codec.samples(len(item)) for item in items], call)

    def cut(group: Tensor, rows: list[int]) -> Iterable[Tensor]:
        audio = function(group, max(wanted[row] for row in rows), rows)
        return (clip[: wanted[row]] for clip, row in zip(audio, rows, strict=True))

    return _run(cut, items, codec.load().device, call, codec.hop_length) if items else []


def listed(values: Iterable[Any], call: str) -> list[Any]:
    """The items of an iterable. Raises InvalidInput for anything else."""
    if not isinstance(values, Iterable):
        raise InvalidInput(f"{call}: expected a list, one item for each clip, got a {type(values).__name__}")
    return list(values)


def _tensors(values: Clips, size: int, minimum: int, call: str, unit: str, device: torch.device) -> list[Tensor]:
    """The items of a list as float tensors `[length, size]`, each of a legal length; arrays go to the device."""
    expected = f"expected floats [{unit}, {size}], {minimum} {unit} or more"
    items = listed(values, call)
    for index, item in enumerate(items):
        if problem := _problem(item, size, minimum):
            raise InvalidInput(f"{call}: item {index}: {expected}, got {problem}")
        if isinstance(item, np.ndarray):  # of any strides, byte order and flags, which torch would not take
            items[index] = torch.from_numpy(np.array(item, dtype=item.dtype.newbyteorder("="))).to(device)
    return items


def _problem(value: Any, size: int, minimum: int) -> str | None:
    """What is wrong with an item and how to mend it; None if it is right."""
    if isinstance(value, np.ndarray):
        is_float = value.dtype.newbyteorder("=") in (np.float16, np.float32, np.float64)
    elif isinstance(value, Tensor):
        is_float = value.dtype.is_floating_point
    else:
        return f"a {type(value).__name__}; torch.as_tensor makes a tensor of numbers"
    if not is_float:
        return f"{value.dtype}; x / 32768 turns int16 samples into floats, and decode_codes decodes codes"
    shape = list(value.shape)
    if len(shape) != 2:
        return f"{shape}; an item is one clip: x[:, None] adds the last axis, x[0] takes off the batch's"
    if shape[1] != size:
        return f"{shape}" + ("; the length goes first: x.T" if shape[0] == size else "")
    return f"{shape}" if shape[0] < max(1, minimum) else None


def _lengths(values: Lengths, natural: list[int], call: str) -> list[int]:
    """The number of samples to return for each item: as given, or for None the natural one."""
    if values is None:
        return natural
    given = listed(values, f"{call}: lengths")
    if len(given) != len(natural):
        raise InvalidInput(f"{call}: expected {len(natural)} lengths, one for each item, got {len(given)}")
    return [checks.length(value, f"{call}: item {k}") or natural[k] for k, value in enumerate(given)]


def _run(
    function: Callable[[Tensor, list[int]], Iterable[Tensor]],
    items: list[Tensor],
    device: torch.device,
    call: str,
    samples: int = 1,
) -> list[Tensor]:
    """The results in the order of the items. A unit of an item's length stands for so many `samples` of audio."""
    for index, item in enumerate(items):
        checks.device(item, device, f"{call}: item {index}")
    results: dict[int, Tensor] = {}
    for group in rows.groups([len(item) * samples for item in items], MAX_SAMPLES):
        found = function(torch.stack([items[index] for index in group]), group)
        # A view of one result would hold the memory of the whole group.
        results |= {index: result.clone() for index, result in zip(group, found, strict=True)}
    return [results[index] for index in range(len(items))]
