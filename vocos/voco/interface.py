"""What a user calls, the same for every codec: audio, latents, codes, lists, lengths and masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vocos import kernels
from vocos.errors import InvalidInput
from vocos.nn.length import Length
from vocos.voco import batches, checks, rows, streams
from vocos.voco.codec import Codec
from vocos.voco.codes import ScaledCodes
from vocos.voco.streams import Stream
from vocos.weights.weights import ConfigT


class Voco(Codec[ConfigT]):
    """A frozen neural audio codec: `encode` makes latents of audio, `decode` makes audio of latents.

    Audio is `[batch, samples, channel]`, float in [-1, 1]; latents are `[batch, frames, latent_dim]`. Facts, lengths,
    masks and `repr` need no weights. `vocos.get_voco` makes one.

    Codes are integers `[batch, frames, columns]`, a column for each codebook (or several: `code_columns`). How many
    codebooks is said in the call, as `n_codebooks=` or, where the codec has `bandwidths`, as `bandwidth=` in kbps;
    fewer are the first of more. The search runs in float32 whatever the dtype of the module, and under autocast.

    The author of a codec subclasses this and gives what `vocos.voco.codec.Codec` lists; `vocos.testing.VocoContract`
    then tests it.

    Args:
        location: where the weights are; None for the default checkpoint.
        device: where the weights go when they are loaded, None for the CPU.
        dtype: what they become when they are loaded, None for float32.
    """

    def kernels(self) -> dict[str, str]:
        """Which engine of `vocos.kernels` runs each module of the network on its device, for input without gradients.

        "reference" is plain PyTorch. This loads the weights. The environment variable VOCOS_KERNELS is respected.
        """
        found = {}
        for name, child in self.network.named_children():
            has_engine = any(isinstance(module, kernels.Engined) and module.uses_engine for module in child.modules())
            found[name] = kernels.engine(self.device, self.dtype) if has_engine else "reference"
        return found

    def __repr__(self) -> str:
        facts = ""
        if self.weights.known_config is not None:
            facts = (
                f"sampling_rate={self.sampling_rate}, channel={self.channel}, latent_dim={self.latent_dim}, "
                f"hop_length={self.hop_length}, "
            )
        part = f"part={self.part!r}, " if self.part else ""
        return f"{type(self).__name__}({self.name!r}, {facts}source={self.source!r}, {part}is_loaded={self.is_loaded})"

    # Audio and latents

    def encode(self, audio: Tensor, mask: Tensor | None = None) -> Tensor:
        """Latents of audio.

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
        return self._coded(self.to_latents, audio, mask)

    def decode(self, latents: Tensor, length: int | None = None, mask: Tensor | None = None) -> Tensor:
        """Audio of latents.

        Args:
            latents: float `[batch, frames, latent_dim]`.
            length: samples to return, such as those that were encoded: the audio is cut, or completed with what the
                codec has past its end, then with zeros. None for `decode_length(frames)`.
            mask: bool `[batch, frames]`, True where real, padding on the right. Each row is then decoded as if
                it were alone and not padded, and the samples beyond it are zeros.

        Returns:
            `[batch, samples, channel]`, the dtype of the module; not clamped.

        Raises:
            InvalidInput: before anything is loaded.
            WeightsUnavailable, CheckpointError: as `load`.
        """
        return self._decoded(self.to_audio, latents, length, mask)

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
        """Audio of latents of any lengths, `[frames, latent_dim]` each, tensors or arrays.

        Args:
            latents: as `encode_batch` gives them; they run together as clips do there.
            lengths: samples to return of each, None for `decode_length(frames)`.

        Returns:
            `[samples, channel]` each: what `decode` gives of the latents alone.

        Raises:
            InvalidInput: naming the item, before anything is loaded.
        """
        return batches.decode(self, latents, lengths, lambda latents, length, rows: self.decode(latents, length))

    def encode_stream(self, batch: int = 1) -> Stream:
        """`encode` spread over time: audio in pieces -> latents, each as soon as it is final. See `Stream`.

        Args:
            batch: rows of every piece.

        Raises:
            UnsupportedOperation: if a frame depends on all of the audio.
        """
        return Stream(self, "encode", batch, self.encoder_steps, {})

    def decode_stream(self, batch: int = 1) -> Stream:
        """`decode` spread over time: latents in pieces -> audio, each sample as soon as it is final. See `Stream`.

        Args:
            batch: rows of every piece.

        Raises:
            UnsupportedOperation: if a sample depends on all of the latents.
        """
        return Stream(self, "decode", batch, self.decoder_steps, {})

    def stream_facts(self) -> dict[str, dict[str, Any]]:
        """What can be spread over time, of "encode" and "decode", computed from the layers without weights.

        Returns:
            Of each `delay_samples`, `delay_seconds` and `state_bytes`, as of `Stream`; or `reason`, why it cannot be.
        """
        return {call: streams.facts(self, call) for call in ("encode", "decode")}

    def encode_codes_stream(
        self, batch: int = 1, n_codebooks: int | None = None, bandwidth: float | None = None
    ) -> Stream:
        """`encode_codes` spread over time: audio in pieces -> codes. `n_codebooks` and `bandwidth` are as there."""
        count = self.count_codebooks("encode_codes_stream", n_codebooks, bandwidth)
        return Stream(self, "encode_codes", batch, self.encode_codes_steps, {"n_codebooks": count})

    def decode_codes_stream(self, batch: int = 1) -> Stream:
        """`decode_codes` spread over time: codes in pieces -> audio."""
        self.codebook_shape("decode_codes_stream")
        return Stream(self, "decode_codes", batch, self.decode_codes_steps, {})

    def _coded(self, encode: Callable[[Tensor], Tensor], audio: Tensor, mask: Tensor | None) -> Tensor:
        """`encode`, with the given function instead of `to_latents`."""
        self.weights.require("encoder", "encode")
        checks.audio(audio, self.channel, self.minimum_samples)
        if mask is None:
            return self._latents_of(encode, audio)
        lengths = checks.row_lengths(mask, audio.shape, self.minimum_samples, "encode", "samples")

        def alone(clips: Tensor) -> Tensor:
            return self._latents_of(encode, clips)

        return rows.by_length(alone, audio, lengths, self.frames(audio.shape[1]), self.latent_dim).to(self.dtype)

    def _decoded(
        self, decode: Callable[[Tensor, int], Tensor], latents: Tensor, length: int | None, mask: Tensor | None
    ) -> Tensor:
        """`decode`, with the given function instead of `to_audio`."""
        self.weights.require("decoder", "decode")
        checks.latents(latents, self.latent_dim, self.minimum_frames)
        wanted = checks.length(length)
        size = self.samples(latents.shape[1]) if wanted is None else wanted
        if mask is None:
            return self._audio_of(decode, latents, size)
        lengths = checks.row_lengths(mask, latents.shape, self.minimum_frames, "decode", "frames")

        def alone(clips: Tensor) -> Tensor:
            return self._audio_of(decode, clips, self.samples(clips.shape[1]))

        return rows.by_length(alone, latents, lengths, size, self.channel).to(self.dtype)

    def _latents_of(self, encode: Callable[[Tensor], Tensor], audio: Tensor) -> Tensor:
        self.load()
        checks.device(audio, self.device, "encode")
        with self._at_hand():
            latents = encode(rearrange(audio, "b n c -> b c n"))
            return rearrange(latents, "b d l -> b l d").to(self.dtype)

    def _audio_of(
        self, decode: Callable[[Tensor, int], Tensor], latents: Tensor, length: int, call: str = "decode"
    ) -> Tensor:
        self.load()
        checks.device(latents, self.device, call)
        with self._at_hand():
            audio = decode(rearrange(latents, "b l d -> b d l"), length)[..., :length]
            if audio.shape[-1] < length:  # for padding with nothing is a copy
                audio = F.pad(audio, (0, length - audio.shape[-1]))
            return rearrange(audio, "b c n -> b n c").to(self.dtype)

    # Codes

    def encode_codes(self, audio: Tensor, n_codebooks: int | None = None, *, bandwidth: float | None = None) -> Tensor:
        """Codes of audio.

        Args:
            audio: float `[batch, samples, channel]` in [-1, 1].
            n_codebooks: codes of a frame, from 1 to the number of codebooks of the codec; None for all.
            bandwidth: instead of `n_codebooks`, the rate in kbps that the codes may take, one of `bandwidths`.

        Returns:
            int64 `[batch, encode_length(samples), n_codebooks]`; of a codec that keeps the loudness apart, a
            `ScaledCodes`.

        Raises:
            InvalidInput: before anything is loaded; afterwards only if the latents are not finite, which no code stands
                for.
            UnsupportedOperation: if the codec has no codes.
        """
        self.weights.require("encoder", "encode_codes")
        count = self.count_codebooks("encode_codes", n_codebooks, bandwidth)
        if self.stream_obstacle("encoder") is None:  # then no latents of a long signal are held
            return self._codes_of(audio, count)
        latents = self.encode(audio)
        checks.finite(latents, "encode_codes: latents of the audio")
        with self._at_hand():
            return self.pack_codes(latents, count)

    def _codes_of(self, audio: Tensor, count: int) -> Any:
        checks.audio(audio, self.channel, self.minimum_samples)
        self.load()
        checks.device(audio, self.device, "encode_codes")
        with self._at_hand():
            chain = self.encode_codes_steps(self.network, count)
            return self.given_codes(self.run_steps(chain, rearrange(audio, "b n c -> b c n")).mT)

    def decode_codes(self, codes: Tensor, length: int | None = None) -> Tensor:
        """Audio of codes, of all codebooks or of the first few.

        Args:
            codes: integers `[batch, frames, k]`, k <= n_codebooks, or what `encode_codes` returned.
            length: as of `decode`.

        Returns:
            As `decode`.

        Raises:
            InvalidInput: before anything is loaded.
            UnsupportedOperation: if the codec has no codes.
        """
        self.weights.require("decoder", "decode_codes")
        self.check_codes(codes, "decode_codes")
        checks.length(length)
        if isinstance(codes, ScaledCodes) or self.stream_obstacle("decoder") is not None:
            return self.decode(self.codes_to_latents(codes), length)
        return self._audio_of_codes(codes, length)

    def _audio_of_codes(self, codes: Tensor, length: int | None, **options: Any) -> Tensor:
        """Audio of checked codes; no latents of a long signal are held. Options as of `decoder_steps`."""
        checks.frames(codes, -(-self.minimum_frames // self.code_frames), "decode_codes: expected codes")

        def decode(codes: Tensor, length: int) -> Tensor:
            return self.run_steps(self.decode_codes_steps(self.network, **options), codes, self.code_hop_length)

        wanted = self.samples(codes.shape[1] * self.code_frames) if length is None else length
        return self._audio_of(decode, codes, wanted, "decode_codes")

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """Latents of codes, which `decode` takes: codes as of `decode_codes` -> `[batch, frames, latent_dim]`."""
        self.check_codes(codes, "codes_to_latents")
        self.load()
        checks.device(codes, self.device, "codes_to_latents")
        with self._at_hand():
            return self.unpack_codes(codes).to(self.dtype)

    def latents_to_codes(
        self, latents: Tensor, n_codebooks: int | None = None, *, bandwidth: float | None = None
    ) -> Tensor:
        """Codes of latents: latents as of `decode` -> codes as of `encode_codes`."""
        count = self.count_codebooks("latents_to_codes", n_codebooks, bandwidth)
        checks.latents(latents, self.latent_dim, self.minimum_frames, "latents_to_codes")
        checks.multiple(latents, self.code_frames, "latents_to_codes")
        self.load()
        checks.device(latents, self.device, "latents_to_codes")
        checks.finite(latents, "latents_to_codes")
        with self._at_hand():
            return self.pack_codes(latents, count)

    def count_codebooks(self, call: str, n_codebooks: int | None, bandwidth: float | None) -> int:
        """The number of codebooks that a call asks for."""
        codebooks, _ = self.codebook_shape(call)
        if bandwidth is not None:
            if not self.bandwidths:
                raise InvalidInput(f"{call}: {self.name} has no bandwidths; give n_codebooks= from 1 to {codebooks}")
            codebooks = self.codebooks_for(checks.choice(bandwidth, self.bandwidths, call, "bandwidth", "kbps"))
        return checks.codebook_count(n_codebooks, codebooks, call)

    # Lengths and masks

    def encode_length(self, n: Length) -> Length:
        """Frames that `encode` returns for n samples: of an int, or elementwise of an integer tensor.

        For n below `minimum_samples`, which `encode` refuses, it is the number of frames that such a clip has as a
        row of a longer batch.

        Raises:
            InvalidInput: if a number is less than 1.
        """
        return self.frames(checks.count(n, "encode_length", "samples"))

    def decode_length(self, n: Length) -> Length:
        """Samples that `decode` returns for n frames: of an int, or elementwise of an integer tensor.

        Raises:
            InvalidInput: if a number is less than 1.
        """
        return self.samples(checks.count(n, "decode_length", "frames"))

    def encode_mask(self, mask: Tensor) -> Tensor:
        """Which frames are real: bool `[batch, samples]` -> bool `[batch, encode_length(samples)]`.

        A frame is real if `encode` of the row without its padding returns it.
        """
        checks.mask(mask, self.minimum_samples, "encode_mask", "samples")
        return rows.prefixes(mask, self.frames, self.frames(mask.shape[1]))

    def decode_mask(self, mask: Tensor) -> Tensor:
        """Which samples are real: bool `[batch, frames]` -> bool `[batch, decode_length(frames)]`.

        A sample is real if `decode` of the row without its padding returns it.
        """
        checks.mask(mask, self.minimum_frames, "decode_mask", "frames")
        return rows.prefixes(mask, self.samples, self.samples(mask.shape[1]))
