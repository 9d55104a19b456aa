"""Residual vector quantisation: each codebook codes the residual that the ones before it leave.

The search runs in float32 whatever the dtype of the module, so that the codes do not depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vocos import kernels
from vocos.kernels.cache import is_plain
from vocos.nn.hooked import is_changed, refuse_changed


def affordable_codebooks(bandwidth: float, entries: int, frame_rate: float) -> int:
    """The number of codebooks whose codes fit in a bandwidth, at least one.

    Args:
        bandwidth: in kbps.
        entries: entries of each codebook.
        frame_rate: in Hz.

    Returns:
        floor(1000 bandwidth / (log2(entries) ceil(frame_rate))).
    """
    # A frame has one code of log2(entries) bits of each codebook. The original counts whole frames per second, so a
    # codebook costs log2(entries) ceil(frame_rate) bits per second: at 24 kHz with a hop of 320 and 1024 entries
    # 10 * 75 = 750, so that 6 kbps pay for 6000 / 750 = 8 codebooks.
    bits_per_codebook = math.log2(entries) * math.ceil(frame_rate)
    # A whole quotient may come out a rounding error short, as 1000 * 1.001 is 1000.9999999999999.
    return max(1, int(1000 * bandwidth / bits_per_codebook + 1e-6))


class FactorizedCodebook(nn.Module):
    """A codebook of few dimensions, compared by the cosine: project in, take the nearest entry, project out.

    Source: "High-Fidelity Audio Compression with Improved RVQGAN", arXiv 2306.06546.
    """

    def __init__(self, channels: int, entries: int, dimension: int) -> None:
        super().__init__()
        self.in_proj = nn.Conv1d(channels, dimension, 1)
        self.out_proj = nn.Conv1d(dimension, channels, 1)
        self.codebook = nn.Embedding(entries, dimension)

    def encode(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Codes `[B, L]` of a residual `[B, C, L]`, and the features `[B, C, L]` of the codes, all in float32."""
        refuse_changed(self.codebook, nn.Embedding)
        queries = F.normalize(_float_linear(self.in_proj, rearrange(residual, "b d l -> b l d")), dim=-1)
        keys = F.normalize(self.codebook.weight.float(), dim=-1)
        # On unit vectors the largest product is the smallest distance; argmax takes the lowest index on a tie.
        codes = torch.matmul(queries, keys.mT).argmax(dim=-1)
        return codes, self.decode(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """Features `[B, C, L]`, float32, of codes `[B, L]`. The entry itself is used, not its unit vector."""
        refuse_changed(self.codebook, nn.Embedding)
        entries = F.embedding(codes, self.codebook.weight.float())
        return rearrange(_float_linear(self.out_proj, entries), "b l d -> b d l")


def _float_linear(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """A pointwise convolution, channel-last, as a matrix product: on a GPU a convolution may run in TF32, 10 bits."""
    if is_changed(conv, nn.Conv1d):
        return conv(x.mT.to(conv.weight.dtype)).mT.float()
    return F.linear(x, conv.weight[..., 0].float(), None if conv.bias is None else conv.bias.float())


class FactorizedRVQ(nn.Module):
    """The quantiser of DAC."""

    def __init__(self, channels: int, n_codebooks: int, entries: int, dimension: int) -> None:
        super().__init__()
        codebooks = (FactorizedCodebook(channels, entries, dimension) for _ in range(n_codebooks))
        self.quantizers: Sequence[FactorizedCodebook] = nn.ModuleList(codebooks)  # type: ignore[assignment]

    def encode(self, features: Tensor, n_codebooks: int) -> Tensor:
        """Codes `[B, n_codebooks, L]`, int64, of features `[B, C, L]`."""
        with torch.autocast(features.device.type, enabled=False):
            residual = features.float()
            codes = []
            for quantizer in self.quantizers[:n_codebooks]:
                chosen, quantized = quantizer.encode(residual)
                residual = residual - quantized
                codes.append(chosen)
            return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Features `[B, C, L]`, float32, of codes `[B, k, L]`: the sum of the entries of the first k codebooks."""
        with torch.autocast(codes.device.type, enabled=False):
            parts = [quantizer.decode(codes[:, k]) for k, quantizer in enumerate(self.quantizers[: codes.shape[1]])]
            return torch.stack(parts).sum(dim=0)


class Table(NamedTuple):
    """A codebook, as the search needs it.

    Attributes:
        entries: `[entries, C]`, float32.
        squares: their squared norms.
    """

    entries: Tensor
    squares: Tensor


def tables(codebooks: Iterable[Tensor]) -> tuple[Table, ...]:
    """The tables of some codebooks."""
    floats = (codebook.detach().float() for codebook in codebooks)
    return tuple(Table(entries, entries.square().sum(dim=1)) for entries in floats)


def euclidean_codes(features: Tensor, codebooks: Iterable[Tensor | Table]) -> Tensor:
    """Codes of features: in each codebook the entry nearest to the residual of the ones before; the lowest on a tie.

    Args:
        features: `[B, C, L]`.
        codebooks: `[entries, C]` each, or their tables.

    Returns:
        `[B, K, L]`, int64.

    Source: "High Fidelity Neural Audio Compression", arXiv 2210.13438.
    """
    with torch.autocast(features.device.type, enabled=False):
        residual, codes = rearrange(features.float(), "b c l -> (b l) c"), []
        for book in codebooks:
            entries, squares = book if isinstance(book, Table) else tables((book,))[0]
            codes.append(torch.addmm(squares, residual, entries.mT, alpha=-2).argmin(dim=-1))
            residual = residual - F.embedding(codes[-1], entries)
        return rearrange(torch.stack(codes), "k (b l) -> b k l", b=len(features))


def euclidean_features(codes: Tensor, codebooks: Tensor | Sequence[Tensor]) -> Tensor:
    """Features of codes: the sum of their entries, in float32. Shape: `[B, k, L]` -> `[B, C, L]`."""
    parts = [F.embedding(codes[:, k], codebooks[k].float()) for k in range(codes.shape[1])]
    return rearrange(torch.stack(parts).sum(dim=0), "b l c -> b c l")


TRAINING_STATE = ("*.inited", "*.cluster_size", "*.embed_avg")  # beside such codebooks in public files; not needed


class Books(kernels.Engined):
    """Codebooks that are searched for the nearest entry, their tables kept. A subclass has `books`."""

    uses_engine = False
    books: Sequence[Tensor]

    def tables(self, n_codebooks: int) -> tuple[Table, ...]:
        """The tables of the first codebooks."""
        books = tuple(self.books)
        is_kept = not torch.compiler.is_compiling() and is_plain(books)
        return (self.caches[0].ready(tables, books) if is_kept else tables(books))[:n_codebooks]


class EuclideanRVQ(Books):
    """The quantiser of EnCodec and of X-Codec."""

    def __init__(self, n_codebooks: int, entries: int, channels: int) -> None:
        super().__init__()
        codebooks = (nn.Parameter(torch.empty(entries, channels)) for _ in range(n_codebooks))
        # Saved files have this name in their tensors: quantizer.books.0 and so on.
        self.books: Sequence[Tensor] = nn.ParameterList(codebooks)  # type: ignore[assignment]

    def encode(self, features: Tensor, n_codebooks: int) -> Tensor:
        """Codes `[B, n_codebooks, L]`, int64, of features `[B, C, L]`."""
        return euclidean_codes(features, self.tables(n_codebooks))

    def decode(self, codes: Tensor) -> Tensor:
        """Features `[B, C, L]`, float32, of codes `[B, k, L]`."""
        return euclidean_features(codes, self.books)


class ProjectedRVQ(Books):
    """A Euclidean quantiser of narrower features, between two pointwise convolutions without bias.

    Args:
        channels: of the features.
        dimension: of the entries.
        n_codebooks, entries: of the codebooks.
        has_input, has_output: whether there is a convolution before the search, and one after the entries; a codec may
            have only the half that it uses.
    """

    def __init__(
        self,
        channels: int,
        dimension: int,
        n_codebooks: int,
        entries: int,
        has_input: bool = True,
        has_output: bool = True,
    ) -> None:
        super().__init__()
        self.input_proj = nn.Conv1d(channels, dimension, 1, bias=False) if has_input else None
        self.output_proj = nn.Conv1d(dimension, channels, 1, bias=False) if has_output else None
        books = (nn.Parameter(torch.empty(entries, dimension)) for _ in range(n_codebooks))
        self.books: Sequence[Tensor] = nn.ParameterList(books)  # type: ignore[assignment]

    def encode(self, features: Tensor, n_codebooks: int) -> Tensor:
        """Codes `[B, n_codebooks, L]`, int64, of features `[B, C, L]`."""
        assert self.input_proj is not None  # noqa: S101 - for the type checker
        with torch.autocast(features.device.type, enabled=False):
            return euclidean_codes(_float_linear(self.input_proj, features.float().mT).mT, self.tables(n_codebooks))

    def decode(self, codes: Tensor) -> Tensor:
        """Features `[B, C, L]`, float32, of codes `[B, k, L]`."""
        assert self.output_proj is not None  # noqa: S101 - for the type checker
        with torch.autocast(codes.device.type, enabled=False):
            return _float_linear(self.output_proj, euclidean_features(codes, self.books).mT).mT


class SplitRVQ(nn.Module):
    """One semantic codebook, and acoustic ones that code the same features, not what the semantic one leaves.

    Source: Defossez et al., "Moshi", arXiv 2410.00037, section 3.3.

    Args:
        semantic, acoustic: the quantisers.
    """

    def __init__(self, semantic: ProjectedRVQ, acoustic: ProjectedRVQ) -> None:
        super().__init__()
        self.semantic, self.acoustic = semantic, acoustic

    def encode(self, features: Tensor, n_codebooks: int) -> Tensor:
        """Codes `[B, n_codebooks, L]`, int64, the semantic ones first, of features `[B, C, L]`."""
        codes = self.semantic.encode(features, 1)
        if n_codebooks == 1:
            return codes
        return torch.cat([codes, self.acoustic.encode(features, n_codebooks - 1)], dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Features `[B, C, L]`, float32, of codes `[B, k, L]`; without acoustic ones, those of the semantic one."""
        features = self.semantic.decode(codes[:, :1])
        return features if codes.shape[1] == 1 else features + self.acoustic.decode(codes[:, 1:])
