"""The interface that every codec offers, and what is the same for all of them: checks, lengths, masks, loading."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vocos import kernels
from vocos.nn.length import Length
from vocos.voco import batches, checks, rows
from vocos.voco.discrete import Discrete
from vocos.voco.facts import Facts
from vocos.voco.loading import ConfigT

__all__ = ["Facts", "Voco"]


class Voco(Discrete[ConfigT]):
    """A frozen neural audio codec: `encode` makes latents of sound, `decode` makes sound of latents.

    Sound is `[batch, samples, channel]`, float in [-1, 1]; latents are `[batch, frames, latent_dim]`. Facts, lengths,
    masks and `repr` need no weights. `vocos.get_voco` makes one.

    The author of a codec subclasses this, sets the class attributes of `PretrainedModule`, and gives `_build` and what
    raises NotImplementedError here, in `Described` and, if it has codes, in `Discrete`; `vocos.testing.VocoContract`
    then tests it.

    Args:
        location: where the weights are; None for the default checkpoint.
        device: where the weights go when they are loaded, None for the CPU.
        dtype: what they become when they are loaded, None for float32.

    Attributes:
        name: the registered name.
    """

    # What a codec gives

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

    def kernels(self) -> dict[str, str]:
        """Which engine of `vocos.kernels` runs each part of the network on its device, for input without gradients.

        "reference" is plain PyTorch. The weights are loaded; VOCOS_KERNELS counts.
        """
        found = {}
        for name, part in self.network.named_children():
            has_engine = any(isinstance(module, kernels.Engined) and module.uses_engine for module in part.modules())
            found[name] = kernels.engine(self.device, self.dtype) if has_engine else "reference"
        return found

    def __repr__(self) -> str:
        facts = ""
        if self._config is not None:
            facts = (
                f"sampling_rate={self.sampling_rate}, channel={self.channel}, latent_dim={self.latent_dim}, "
                f"hop_length={self.hop_length}, "
            )
        part = f"part={self.part!r}, " if self.part else ""
        return f"{type(self).__name__}({self.name!r}, {facts}source={self.source!r}, {part}is_loaded={self.is_loaded})"

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

    def encode_batch(self, clips: batches.Clips) -> list[Tensor]:
        """Latents of clips of any lengths, `[samples, channel]` each, tensors or arrays.

        Clips of one length run together, at most `batches.MAX_SAMPLES` samples at a time.

        Returns:
            `[frames, latent_dim]` each: what `encode` gives of the clip alone.

        Raises:
            InvalidInput: naming the item, before anything is loaded.
        """
        return batches.encode(self, clips, lambda audio, rows: self.encode(audio))

    def decode_batch(self, latents: batches.Clips, lengths: batches.Lengths = None) -> list[Tensor]:
        """Sound of latents of any lengths, `[frames, latent_dim]` each, tensors or arrays.

        Args:
            latents: as `encode_batch` gives them; they run together as clips do there.
            lengths: samples to return of each, None for `decode_length(frames)`.

        Returns:
            `[samples, channel]` each: what `decode` gives of the latents alone.

        Raises:
            InvalidInput: naming the item, before anything is loaded.
        """
        return batches.decode(self, latents, lengths, lambda latents, length, rows: self.decode(latents, length))

    def _encode_with(self, encode: Callable[[Tensor], Tensor], audio: Tensor, mask: Tensor | None) -> Tensor:
        """`encode` with another function in the place of `_encode`."""
        self._require("encoder", "encode")
        checks.audio(audio, self.channel, self.minimum_samples)
        if mask is None:
            return self._to_latents(encode, audio)
        lengths = checks.row_lengths(mask, audio.shape, self.minimum_samples, "encode", "samples")
        size = self._frames(audio.shape[1])

        def alone(part: Tensor) -> Tensor:
            return self._to_latents(encode, part)

        return rows.by_length(alone, audio, lengths, size, self.latent_dim).to(self.dtype)

    def _decode_with(
        self, decode: Callable[[Tensor, int], Tensor], latents: Tensor, length: int | None, mask: Tensor | None
    ) -> Tensor:
        """`decode` with another function in the place of `_decode`."""
        self._require("decoder", "decode")
        checks.latents(latents, self.latent_dim, self.minimum_frames)
        wanted = checks.length(length)
        size = self._samples(latents.shape[1]) if wanted is None else wanted
        if mask is None:
            return self._to_audio(decode, latents, size)
        lengths = checks.row_lengths(mask, latents.shape, self.minimum_frames, "decode", "frames")

        def alone(part: Tensor) -> Tensor:
            return self._to_audio(decode, part, self._samples(part.shape[1]))

        return rows.by_length(alone, latents, lengths, size, self.channel).to(self.dtype)

    def _to_latents(self, encode: Callable[[Tensor], Tensor], audio: Tensor) -> Tensor:
        self.load()
        checks.device(audio, self.device, "encode")
        with self._at_hand():
            latents = encode(rearrange(audio, "b n c -> b c n"))
            return rearrange(latents, "b d l -> b l d").to(self.dtype)

    def _to_audio(self, decode: Callable[[Tensor, int], Tensor], latents: Tensor, length: int) -> Tensor:
        self.load()
        checks.device(latents, self.device, "decode")
        with self._at_hand():
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
        return self._frames(checks.count(n, "encode_length", "samples"))

    def decode_length(self, n: Length) -> Length:
        """Samples that `decode` returns for n frames: of an int, or elementwise of an integer tensor.

        Raises:
            InvalidInput: if a number is less than 1.
        """
        return self._samples(checks.count(n, "decode_length", "frames"))

    def encode_mask(self, mask: Tensor) -> Tensor:
        """Which frames are real: bool `[batch, samples]` -> bool `[batch, encode_length(samples)]`.

        A frame is real if `encode` of the row without its padding returns it.
        """
        checks.mask(mask, self.minimum_samples, "encode_mask", "samples")
        return rows.prefixes(mask, self._frames, self._frames(mask.shape[1]))

    def decode_mask(self, mask: Tensor) -> Tensor:
        """Which samples are real: bool `[batch, frames]` -> bool `[batch, decode_length(frames)]`.

        A sample is real if `decode` of the row without its padding returns it.
        """
        checks.mask(mask, self.minimum_frames, "decode_mask", "frames")
        return rows.prefixes(mask, self._samples, self._samples(mask.shape[1]))
