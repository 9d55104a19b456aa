"""The code interface: sound and latents as integers, and back."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor

from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.nn.quantize import affordable_books
from vocos.voco import checks
from vocos.voco.codes import ScaledCodes
from vocos.voco.facts import Described
from vocos.voco.loading import ConfigT


class Discrete(Described[ConfigT]):
    """Codes of a codec that has a quantiser: integers `[batch, frames, k]`, the first k of its codebooks.

    How many is said in the call, as `n_codebooks=` or, where the codec has `bandwidths`, as `bandwidth=` in kbps; fewer
    are the first of more. The search runs in float32 whatever the dtype of the module, and under autocast.

    The author of a codec with codes says so in `_facts` and gives `_quantize` and `_dequantize`.
    """

    # What a codec with codes gives

    def _quantize(self, latents: Tensor, n_codebooks: int) -> Tensor:
        """Codes `[B, n_codebooks, L]` of latents `[B, latent_dim, L]`, searched in float32."""
        raise NotImplementedError

    def _dequantize(self, codes: Tensor) -> Tensor:
        """Latents `[B, latent_dim, L]` of codes `[B, k, L]`."""
        raise NotImplementedError

    # Of `Voco`

    def encode(self, audio: Tensor, mask: Tensor | None = None) -> Tensor:
        """Latents of sound."""
        raise NotImplementedError

    def decode(self, latents: Tensor, length: int | None = None, mask: Tensor | None = None) -> Tensor:
        """Sound of latents."""
        raise NotImplementedError

    # The calls

    def encode_codes(self, audio: Tensor, n_codebooks: int | None = None, *, bandwidth: float | None = None) -> Tensor:
        """Codes of sound.

        Args:
            audio: float `[batch, samples, channel]` in [-1, 1].
            n_codebooks: how many, from 1 to those of the codec; None for all.
            bandwidth: or the kbps that they may take, one of `bandwidths`.

        Returns:
            int64 `[batch, encode_length(samples), n_codebooks]`; of a codec that keeps the loudness apart, a
            `ScaledCodes`.

        Raises:
            InvalidInput: before anything is loaded; afterwards only if the latents are not finite, which no code stands
                for.
            UnsupportedOperation: if the codec has no codes.
        """
        self._require("encoder", "encode_codes")
        count = self._book_count("encode_codes", n_codebooks, bandwidth)
        latents = self.encode(audio)
        checks.finite(latents, "encode_codes: latents of the audio")
        with self._at_hand():
            return self._packed(latents, count)

    def decode_codes(self, codes: Tensor, length: int | None = None) -> Tensor:
        """Sound of codes, by however many codebooks are given.

        Args:
            codes: integers `[batch, frames, k]`, k <= n_codebooks, or what `encode_codes` returned.
            length: as of `decode`.

        Returns:
            As `decode`.

        Raises:
            InvalidInput: before anything is loaded.
            UnsupportedOperation: if the codec has no codes.
        """
        self._require("decoder", "decode_codes")
        self._check_codes(codes, "decode_codes")
        checks.length(length)
        return self.decode(self.codes_to_latents(codes), length)

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """What codes stand for, as latents that `decode` takes: as `decode_codes` -> `[batch, frames, latent_dim]`."""
        self._check_codes(codes, "codes_to_latents")
        self.load()
        checks.device(codes, self.device, "codes_to_latents")
        with self._at_hand():
            return self._unpacked(codes).to(self.dtype)

    def latents_to_codes(
        self, latents: Tensor, n_codebooks: int | None = None, *, bandwidth: float | None = None
    ) -> Tensor:
        """Codes of latents: as `decode` -> as `encode_codes`."""
        count = self._book_count("latents_to_codes", n_codebooks, bandwidth)
        checks.latents(latents, self.latent_dim, self.minimum_frames, "latents_to_codes")
        self.load()
        checks.device(latents, self.device, "latents_to_codes")
        checks.finite(latents, "latents_to_codes")
        with self._at_hand():
            return self._packed(latents, count)

    # What a codec may do in its own way

    def _packed(self, latents: Tensor, n_codebooks: int) -> Tensor:
        """The codes that a call returns for latents `[B, L, D]`."""
        return rearrange(self._quantize(rearrange(latents, "b l d -> b d l"), n_codebooks), "b k l -> b l k")

    def _unpacked(self, codes: Tensor) -> Tensor:
        """Latents `[B, L, D]` of codes that a call was given."""
        return rearrange(self._dequantize(rearrange(codes, "b l k -> b k l").long()), "b d l -> b l d")

    def _check_codes(self, codes: Tensor, call: str) -> None:
        """Raise InvalidInput unless the codes are such as a call takes."""
        books, entries = self._book_shape(call)
        if isinstance(codes, ScaledCodes):
            raise InvalidInput(f"{call}: {self.name} takes a plain tensor, got ScaledCodes; give their .codes")
        if isinstance(codes, Tensor) and codes.ndim == 3 and codes.shape[2] in map(self._books, self.bandwidths):
            books = max(books, codes.shape[2])  # of another bandwidth than the codec's own
        checks.codes(codes, books, entries, call)

    # Counting

    def _books(self, bandwidth: float) -> int:
        """Codebooks that a bandwidth in kbps pays for, at least one."""
        return affordable_books(bandwidth, self.codebook_size or 2, self.frame_rate)

    def _book_count(self, call: str, n_codebooks: int | None, bandwidth: float | None) -> int:
        """The number of codebooks that a call asks for."""
        books, _ = self._book_shape(call)
        if bandwidth is not None:
            if not self.bandwidths:
                raise InvalidInput(f"{call}: {self.name} has no bandwidths; give n_codebooks= from 1 to {books}")
            books = self._books(checks.choice(bandwidth, self.bandwidths, call, "bandwidth", "kbps"))
        return checks.book_count(n_codebooks, books, call)

    def _book_shape(self, call: str) -> tuple[int, int]:
        """Codebooks of the codec, and entries of each."""
        if self.n_codebooks is None or self.codebook_size is None:
            raise UnsupportedOperation(
                f"{call}: {self.name} has no discrete codes, only continuous latents; dac and encodec have codes"
            )
        return self.n_codebooks, self.codebook_size
