"""Codes as other libraries and language models lay them out, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from vocos.errors import InvalidInput

AXES = ("batch", "frames", "codebooks")
LISTS, ORPHEUS = "snac", "orpheus"
# Of Orpheus: the column of each of the seven tokens of a frame, depth first (A, B0, C0, C1, B1, C2, C3); the entries of
# a codebook, which every place counts from anew; and the id of the first. Read in ten public decoders, which agree.
COLUMNS = (0, 1, 3, 4, 2, 5, 6)
ENTRIES = 4096
FIRST_ID = 128266


def arrange_codes(codes: Any, axes: str = "codebooks frames", to: str = "batch frames codebooks") -> Any:
    """Codes of another library, in the order that `decode_codes` takes; or the other way.

        arrange_codes(bark, "codebooks frames")                          # [8, frames], as of Bark
        arrange_codes(output.audio_codes[0], "batch codebooks frames")   # as of transformers
        arrange_codes(codes, "codebooks batch frames")                   # as of EnCodec's and Vocos's own quantisers
        arrange_codes([a, b, c], "snac")                                 # a tensor for each codebook, as of snac
        arrange_codes(ids, "orpheus")                                    # token ids of Orpheus, seven for a frame
        arrange_codes(codes, "batch frames codebooks", to="snac")        # and back

    Args:
        codes: integers, a tensor or an array. For "snac" a list of them, `[batch, frames of this codebook]` or without
            the first axis. For "orpheus" `[batch, 7 frames]` or `[7 frames]`: ids of audio tokens as the model gives
            them, 128266 + 4096 place + code, without its control tokens.
        axes: names of their axes in order: "batch", "frames" and "codebooks"; without "batch" they are one clip.
            "books", the word of earlier releases, is read as "codebooks". Or "snac", or "orpheus".
        to: the same for what is wanted.

    Returns:
        int64 `[batch, frames, codebooks]`, columns codebook by codebook; or what `to` says.

    Raises:
        InvalidInput: if there are other axes, or the codes are no integers, or no such codes.
    """
    ours = _from(codes, axes)
    if to == LISTS:
        return _lists(ours)
    if to == ORPHEUS:
        return _ids(ours)
    names = _names(to)
    if "batch" not in names and len(ours) != 1:
        raise InvalidInput(f"arrange_codes: to={to!r} is for one clip, got {len(ours)}")
    return rearrange(ours, f"batch frames codebooks -> {' '.join(names)}" if "batch" in names else _alone(names))


def _alone(names: list[str]) -> str:
    return f"1 frames codebooks -> {' '.join(names)}"


def _from(codes: Any, axes: str) -> Tensor:
    if axes == LISTS:
        return _of_lists(codes)
    if axes == ORPHEUS:
        return _of_ids(_integers(codes))
    names, tensor = _names(axes), _integers(codes)
    if tensor.ndim != len(names):
        raise InvalidInput(f"arrange_codes: {axes!r} are {len(names)} axes, the codes have {list(tensor.shape)}")
    batch = "batch" if "batch" in names else "1"
    return rearrange(tensor, f"{' '.join(names)} -> {batch} frames codebooks")


def _names(axes: str) -> list[str]:
    names = ["codebooks" if name == "books" else name for name in axes.split()] if isinstance(axes, str) else []
    if sorted(names) not in (sorted(AXES), sorted(AXES[1:])):
        raise InvalidInput(
            "arrange_codes: expected axes as some order of 'batch frames codebooks' or 'frames codebooks', "
            f"'snac' or 'orpheus', got {axes!r}"
        )
    return names


def _integers(codes: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(codes, device=codes.device if isinstance(codes, Tensor) else "cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"arrange_codes: expected integers, got a {type(codes).__name__}: {error}") from error
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.dtype == torch.bool:
        raise InvalidInput(f"arrange_codes: expected integers, got {tensor.dtype}")
    return tensor.long()


def _of_lists(books: Any) -> Tensor:
    """A tensor of each codebook, the slowest first."""
    if not isinstance(books, Sequence) or not books:
        raise InvalidInput(f"arrange_codes: 'snac' is a list of tensors, got a {type(books).__name__}")
    tensors = [book[None] if book.ndim == 1 else book for book in map(_integers, books)]
    shapes = [list(book.shape) for book in tensors]
    frames = shapes[0][-1]
    if any(len(shape) != 2 or shape[0] != shapes[0][0] or not frames or shape[1] % frames for shape in shapes):
        raise InvalidInput(
            f"arrange_codes: expected [batch, frames] each, and a multiple of the first codebook's frames, got {shapes}"
        )
    parts = [rearrange(book, "b (frames r) -> b frames r", frames=frames) for book in tensors]
    return torch.cat(parts, dim=2)


def _lists(codes: Tensor) -> list[Tensor]:
    """The reverse: codebooks that double their rate from one to the next."""
    counts: list[int] = []
    left = codes.shape[2]
    while left > 0:
        counts.append(1 << len(counts))
        left -= counts[-1]
    if left:
        raise InvalidInput(f"arrange_codes: 'snac' has 1, 3, 7 or 15 columns, got {codes.shape[2]}")
    return [rearrange(part, "b frames r -> b (frames r)") for part in torch.split(codes, counts, dim=2)]


def _of_ids(ids: Tensor) -> Tensor:
    ids = ids[None] if ids.ndim == 1 else ids
    if ids.ndim != 2 or ids.shape[1] % len(COLUMNS):
        raise InvalidInput(f"arrange_codes: 'orpheus' is [batch, 7 frames], got {list(ids.shape)}")
    frames = rearrange(ids, "b (frames p) -> b frames p", p=len(COLUMNS)) - FIRST_ID
    frames = frames - ENTRIES * torch.arange(len(COLUMNS), device=ids.device)
    if frames.numel() and not 0 <= int(frames.min()) <= int(frames.max()) < ENTRIES:
        wrong = torch.nonzero((frames < 0) | (frames >= ENTRIES))[0].tolist()
        row, place = wrong[0], wrong[1] * len(COLUMNS) + wrong[2]
        raise InvalidInput(
            f"arrange_codes: token {place} of row {row} is {int(ids[row, place])}, no audio token of its place among "
            "seven; drop control tokens, and frames that are not complete"
        )
    found = torch.empty_like(frames)
    found[..., list(COLUMNS)] = frames
    return found


def _ids(codes: Tensor) -> Tensor:
    if codes.shape[2] != len(COLUMNS):
        raise InvalidInput(f"arrange_codes: 'orpheus' has 7 columns, got {codes.shape[2]}")
    places = torch.arange(len(COLUMNS), device=codes.device)
    return rearrange(codes[..., list(COLUMNS)] + FIRST_ID + ENTRIES * places, "b frames p -> b (frames p)")
