"""What the numbers of a dataset are like: of latents what a diffusion model is normalised with, of codes their use."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from vocos.data.dataset import Items
from vocos.data.durable import durably
from vocos.data.reading import ARRAYS, NUMBERS, statistics
from vocos.errors import CheckpointError, InvalidInput
from vocos.registry import get_voco

ROWS = 1 << 16  # frames at a time


class Moments:
    """Mean, spread and correlation of rows, gathered piece by piece in float64.

    Two sets of rows are joined as Chan, Golub and LeVeque (1979) do: the sums of products are about the mean of their
    own set, so that nothing is lost where the mean is large.
    """

    def __init__(self, size: int) -> None:
        self.count = 0
        self.mean = torch.zeros(size, dtype=torch.float64)
        self.products = torch.zeros(size, size, dtype=torch.float64)  # sums of (x - mean) (x - mean)'
        self.low = torch.full((size,), math.inf, dtype=torch.float64)
        self.high = -self.low

    def take(self, rows: Tensor) -> None:
        """More rows, `[n, size]`."""
        for piece in torch.split(rows, ROWS):
            x = piece.double()
            mean = x.mean(dim=0)
            off, more = mean - self.mean, x - mean
            total = self.count + len(x)
            self.products += more.T @ more + torch.outer(off, off) * (self.count * len(x) / total)
            self.mean += off * (len(x) / total)
            self.count = total
            self.low, self.high = torch.minimum(self.low, x.amin(dim=0)), torch.maximum(self.high, x.amax(dim=0))

    @property
    def std(self) -> Tensor:
        """Standard deviation of each column, that of the rows themselves (divided by n)."""
        return (self.products.diagonal() / self.count).clamp_min(0).sqrt()

    @property
    def correlation(self) -> Tensor:
        """Pearson's, between columns; 0 for those that never change."""
        spread = self.products.diagonal().clamp_min(0).sqrt()
        found = self.products / torch.outer(spread, spread)
        return found.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).clamp(-1, 1)


def compute(dataset: Items, progress: Callable[[float], object] = lambda seconds: None) -> dict[str, Any]:
    """Go through a dataset once, write what it is like beside it, and give it as `Items.stats` does.

    Args:
        dataset: of which all numbers are read.
        progress: is told seconds of audio that are done.

    Raises:
        InvalidInput: if it holds nothing.
        OSError: if it cannot be written.
    """
    if not len(dataset):
        raise InvalidInput(f"{dataset.folder}: holds no items, all have failed")
    manifest = dataset.manifest
    rate = float(manifest["sampling_rate"])
    latents = Moments(dataset.size) if dataset.kind == "latents" else None
    counts = None if latents else torch.zeros(dataset.size, manifest["codebook_size"], dtype=torch.int64)
    for index in range(len(dataset)):
        item = dataset[index]
        rows = item[dataset.kind]
        if latents is not None:
            latents.take(rows)
        elif counts is not None:
            _count(rows, counts, index)
        progress(item["samples"] / rate)
    frames, seconds = sum(dataset.frames), dataset.seconds
    n_bytes = frames * dataset.size * torch.empty(0, dtype=getattr(torch, manifest["dtype"])).element_size()
    found: dict[str, Any] = {
        "items": len(dataset),
        "failed": sum(1 for _ in dataset.errors()),
        "hours": seconds / 3600,
        "frames": frames,
        "frame_rate": manifest["frame_rate"],
        "bytes_per_second": n_bytes / seconds,
        "plan": manifest["plan"]["sha256"],
    }
    if latents is not None:
        arrays = {"mean": latents.mean, "std": latents.std, "min": latents.low, "max": latents.high}
        arrays = {name: values.float() for name, values in {**arrays, "correlation": latents.correlation}.items()}
        found["overall"] = {
            "mean": float(latents.mean.mean()),
            "std": float((latents.std**2 + (latents.mean - latents.mean.mean()) ** 2).mean().sqrt()),
            "min": float(latents.low.min()),
            "max": float(latents.high.max()),
        }
    else:
        assert counts is not None  # noqa: S101 - it is one or the other
        books = _books(counts, dataset)
        found["bits_per_second"] = {
            "stored": n_bytes * 8 / seconds,
            "codes": float(sum(books["bits"] * books["rate"])),
            "entropy": float(sum(books["entropy_bits"] * books["rate"])),
        }
        arrays = books
    with durably(dataset.folder / ARRAYS) as stream:
        stream.write(save({name: values.contiguous() for name, values in arrays.items()}))
    told = {name: values.tolist() for name, values in arrays.items() if values.ndim == 1}
    with durably(dataset.folder / NUMBERS) as stream:
        stream.write(json.dumps({**found, **told}, indent=2).encode("ascii") + b"\n")
    return statistics(dataset.folder)


def _count(codes: Tensor, counts: Tensor, index: int) -> None:
    """Add how often each entry occurs in each column."""
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= counts.shape[1]):
        raise CheckpointError(f"dataset: item {index} holds codes outside of 0 to {counts.shape[1] - 1}; verify it")
    for column, values in enumerate(codes.long().unbind(1)):
        counts[column] += torch.bincount(values, minlength=counts.shape[1])


def _books(counts: Tensor, dataset: Items) -> dict[str, Tensor]:
    """Of each codebook `use`, the share of entries that occur, `entropy_bits` and `bits` of a code, codes a second."""
    number, voco = dataset.manifest["n_codebooks"], dataset.manifest["voco"]
    columns = _columns(dataset, number, voco)
    joined = torch.stack([counts[rows].sum(dim=0) for rows in columns])
    shares = joined.double() / joined.sum(dim=1, keepdim=True)
    entropy = -(shares * shares.clamp_min(1e-300).log2()).sum(dim=1)
    frame_rate = float(dataset.manifest["frame_rate"])
    return {
        "use": (joined > 0).double().mean(dim=1),
        "entropy_bits": entropy,
        "bits": torch.full_like(entropy, math.log2(counts.shape[1])),
        "rate": torch.tensor([frame_rate * (rows.stop - rows.start) for rows in columns], dtype=torch.float64),
    }


def _columns(dataset: Items, n_codebooks: int, name: str) -> list[slice]:
    """The columns of each codebook: one, or more where codebooks have several rates."""
    if dataset.size == n_codebooks:
        return [slice(k, k + 1) for k in range(n_codebooks)]
    voco = get_voco(name)
    ends = [voco.columns_of(k) for k in range(n_codebooks + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(ends)]
