"""The interface that every codec offers, and what is the same for all of them: checks, lengths, masks, loading."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vocos import check, rows
from vocos.errors import UnsupportedOperation
from vocos.loading import ConfigT, PretrainedModule
from vocos.nn.length import Length


class Facts(NamedTuple):
    """What is true of a codec before it has weights; the properties of `Voco` of these names say what each is."""

    sampling_rate: int
    channel: int
    latent_dim: int
    hop_length: int
    minimum_samples: int = 1
    minimum_frames: int = 1
    n_codebooks: int | None = None
    codebook_size: int | None = None


class Voco(PretrainedModule[ConfigT]):
    """A frozen neural audio codec: `encode` makes latents of sound, `decode` makes sound of latents.

    Sound is `[batch, samples, channel]`, float in [-1, 1]; latents are `[batch, frames, latent_dim]`. Facts, lengths,
    masks and `repr` need no weights. `vocos.get_voco` makes one.

    The author of a codec subclasses this, sets the class attributes of `PretrainedModule`, and gives `_build` and what
    raises NotImplementedError here; `vocos.testing.VocoContract` then tests it.

    Args:
        location: where the weights are; None for the default checkpoint.
        device: where the weights go when they are loaded, None for the CPU.
        dtype: what they become when they are loaded, None for float32.

    Attributes:
        name: the registered name.
    """

    # What a codec gives

    def _facts(self, config: ConfigT) -> Facts:
        """What follows from a config."""
        raise NotImplementedError

    def _encode(self, audio: Tensor) -> Tensor:
        """Latents `[B, latent_dim, L]` of audio `[B, channel, N]`, L = `_frames(N)`."""
        raise NotImplementedError

    def _decode(self, latents: Tensor, length: int) -> Tensor:
        """Audio `[B, channel, N]` of latents `[B, latent_dim, L]`; `length` are wanted, N may be more or fewer."""
        raise NotImplementedError

    def _frames(self, samples: Length) -> Length:
        """Frames of a number of samples, 1 or more, in arithmetic that works on integers and on integer tensors."""
        raise NotImplementedError

    def _samples(self, frames: Length) -> Length:
        """Samples of a number of frames, 1 or more, in arithmetic that works on integers and on integer tensors."""
        raise NotImplementedError

    def _quantize(self, latents: Tensor, n_codebooks: int) -> Tensor:
        """Codes `[B, n_codebooks, L]` of latents `[B, latent_dim, L]`, for a codec that has codes."""
        raise NotImplementedError

    def _dequantize(self, codes: Tensor) -> Tensor:
        """Latents `[B, latent_dim, L]` of codes `[B, k, L]`, for a codec that has codes."""
        raise NotImplementedError

    # Facts

    @property
    def sampling_rate(self) -> int:
        """Of the audio, in Hz."""
        return self._facts(self._hyperparameters).sampling_rate

    @property
    def channel(self) -> int:
        """Audio channels: 1 or 2."""
        return self._facts(self._hyperparameters).channel

    @property
    def latent_dim(self) -> int:
        """Size of the last axis of latents."""
        return self._facts(self._hyperparameters).latent_dim

    @property
    def hop_length(self) -> int:
        """Audio samples per latent frame."""
        return self._facts(self._hyperparameters).hop_length

    @property
    def minimum_samples(self) -> int:
        """The fewest samples that `encode` takes."""
        return self._facts(self._hyperparameters).minimum_samples

    @property
    def minimum_frames(self) -> int:
        """The fewest frames that `decode` takes."""
        return self._facts(self._hyperparameters).minimum_frames

    @property
    def frame_rate(self) -> float:
        """Latent frames per second."""
        return self.sampling_rate / self.hop_length

    @property
    def n_codebooks(self) -> int | None:
        """Codebooks of the quantiser; None for a codec without codes."""
        return self._facts(self._hyperparameters).n_codebooks

    @property
    def codebook_size(self) -> int | None:
        """Entries of each codebook; None for a codec without codes."""
        return self._facts(self._hyperparameters).codebook_size

    @property
    def bits_per_second(self) -> float | None:
        """Rate of the codes of all codebooks; None for a codec without codes."""
        if self.n_codebooks is None or self.codebook_size is None:
            return None
        return self.n_codebooks * math.log2(self.codebook_size) * self.frame_rate

    def __repr__(self) -> str:
        facts = ""
        if self._config is not None:
            facts = (
                f"sampling_rate={self.sampling_rate}, channel={self.channel}, latent_dim={self.latent_dim}, "
                f"hop_length={self.hop_length}, "
            )
        return f"{type(self).__name__}({self.name!r}, {facts}source={self.source!r}, is_loaded={self.is_loaded})"

    # Sound and latents

    def encode(self, audio: Tensor, mask: Tensor | None = None) -> Tensor:
        """Latents of sound.

        Args:
            audio: float `[batch, samples, channel]` in [-1, 1].
            mask: bool `[batch, samples]`, True where real, padding on the right. Each row is then encoded as if
                it were alone and not padded, and the frames beyond it are zeros.

        Returns:
            `[batch, encode_length(samples), latent_dim]`, the dtype of the module.

        Raises:
            InvalidInput: before anything is loaded.
            WeightsUnavailable, CheckpointError: as `load`.
        """
        return self._encode_with(self._encode, audio, mask)

    def decode(self, latents: Tensor, length: int | None = None, mask: Tensor | None = None) -> Tensor:
        """Sound of latents.

        Args:
            latents: float `[batch, frames, latent_dim]`.
            length: samples to return, such as those that were encoded: the sound is cut, or completed with what the
                codec has past its end, then with zeros. None for `decode_length(frames)`.
            mask: bool `[batch, frames]`, True where real, padding on the right. Each row is then decoded as if
                it were alone and not padded, and the samples beyond it are zeros.

        Returns:
            `[batch, samples, channel]`, the dtype of the module; not clamped.

        Raises:
            InvalidInput: before anything is loaded.
            WeightsUnavailable, CheckpointError: as `load`.
        """
        return self._decode_with(self._decode, latents, length, mask)

    def _encode_with(self, encode: Callable[[Tensor], Tensor], audio: Tensor, mask: Tensor | None) -> Tensor:
        """`encode` with another function in the place of `_encode`."""
        check.audio(audio, self.channel, self.minimum_samples)
        if mask is None:
            return self._to_latents(encode, audio)
        lengths = check.row_lengths(mask, audio.shape, self.minimum_samples, "encode", "samples")
        size = self._frames(audio.shape[1])

        def alone(part: Tensor) -> Tensor:
            return self._to_latents(encode, part)

        return rows.by_length(alone, audio, lengths, size, self.latent_dim).to(self.dtype)

    def _decode_with(
        self, decode: Callable[[Tensor, int], Tensor], latents: Tensor, length: int | None, mask: Tensor | None
    ) -> Tensor:
        """`decode` with another function in the place of `_decode`."""
        check.latents(latents, self.latent_dim, self.minimum_frames)
        wanted = check.length(length)
        size = self._samples(latents.shape[1]) if wanted is None else wanted
        if mask is None:
            return self._to_audio(decode, latents, size)
        lengths = check.row_lengths(mask, latents.shape, self.minimum_frames, "decode", "frames")

        def alone(part: Tensor) -> Tensor:
            return self._to_audio(decode, part, self._samples(part.shape[1]))

        return rows.by_length(alone, latents, lengths, size, self.channel).to(self.dtype)

    def _to_latents(self, encode: Callable[[Tensor], Tensor], audio: Tensor) -> Tensor:
        self.load()
        check.device(audio, self.device, "encode")
        latents = encode(rearrange(audio, "b n c -> b c n"))
        return rearrange(latents, "b d l -> b l d").to(self.dtype)

    def _to_audio(self, decode: Callable[[Tensor, int], Tensor], latents: Tensor, length: int) -> Tensor:
        self.load()
        check.device(latents, self.device, "decode")
        audio = decode(rearrange(latents, "b l d -> b d l"), length)[..., :length]
        audio = F.pad(audio, (0, length - audio.shape[-1]))
        return rearrange(audio, "b c n -> b n c").to(self.dtype)

    # Lengths and masks

    def encode_length(self, n: Length) -> Length:
        """Frames that `encode` returns for n samples: of an int, or elementwise of an integer tensor.

        A clip shorter than `encode` takes alone has as many as it has of its own in a longer, padded row.

        Raises:
            InvalidInput: if a number is less than 1.
        """
        return self._frames(check.count(n, "encode_length", "samples"))

    def decode_length(self, n: Length) -> Length:
        """Samples that `decode` returns for n frames: of an int, or elementwise of an integer tensor.

        Raises:
            InvalidInput: if a number is less than 1.
        """
        return self._samples(check.count(n, "decode_length", "frames"))

    def encode_mask(self, mask: Tensor) -> Tensor:
        """Which frames are real: bool `[batch, samples]` -> bool `[batch, encode_length(samples)]`.

        A frame is real if `encode` of the row without its padding returns it.
        """
        check.mask(mask, self.minimum_samples, "encode_mask", "samples")
        return rows.prefixes(mask, self._frames, self._frames(mask.shape[1]))

    def decode_mask(self, mask: Tensor) -> Tensor:
        """Which samples are real: bool `[batch, frames]` -> bool `[batch, decode_length(frames)]`.

        A sample is real if `decode` of the row without its padding returns it.
        """
        check.mask(mask, self.minimum_frames, "decode_mask", "frames")
        return rows.prefixes(mask, self._samples, self._samples(mask.shape[1]))

    # Discrete codes

    def encode_codes(self, audio: Tensor, n_codebooks: int | None = None) -> Tensor:
        """Codes of sound: as `encode` -> int64 `[batch, frames, n_codebooks]`, of all codebooks by default.

        Raises:
            InvalidInput: before anything is loaded.
            UnsupportedOperation: if the codec has no codes.
        """
        count = check.book_count(n_codebooks, self._book_shape("encode_codes")[0], "encode_codes")
        return self.latents_to_codes(self.encode(audio), count)

    def decode_codes(self, codes: Tensor, length: int | None = None) -> Tensor:
        """Sound of codes: integers `[batch, frames, k]`, k <= n_codebooks -> as `decode`."""
        check.codes(codes, *self._book_shape("decode_codes"), "decode_codes")
        return self.decode(self.codes_to_latents(codes), length)

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """Quantised latents of codes: integers `[batch, frames, k]` -> `[batch, frames, latent_dim]`."""
        check.codes(codes, *self._book_shape("codes_to_latents"), "codes_to_latents")
        self.load()
        check.device(codes, self.device, "codes_to_latents")
        latents = self._dequantize(rearrange(codes, "b l k -> b k l").long())
        return rearrange(latents, "b d l -> b l d").to(self.dtype)

    def latents_to_codes(self, latents: Tensor, n_codebooks: int | None = None) -> Tensor:
        """Codes of continuous latents: as `decode` -> int64 `[batch, frames, n_codebooks]`."""
        count = check.book_count(n_codebooks, self._book_shape("latents_to_codes")[0], "latents_to_codes")
        check.latents(latents, self.latent_dim, self.minimum_frames, "latents_to_codes")
        self.load()
        check.device(latents, self.device, "latents_to_codes")
        return rearrange(self._quantize(rearrange(latents, "b l d -> b d l"), count), "b k l -> b l k")

    def _book_shape(self, call: str) -> tuple[int, int]:
        if self.n_codebooks is None or self.codebook_size is None:
            raise UnsupportedOperation(
                f"{call}: {self.name} has no discrete codes, only continuous latents; dac and encodec have codes"
            )
        return self.n_codebooks, self.codebook_size
