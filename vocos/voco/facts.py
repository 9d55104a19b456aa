"""What is true of a codec before it has weights."""

from __future__ import annotations

import math
from typing import NamedTuple

from vocos.voco.loading import ConfigT, PretrainedModule


class Facts(NamedTuple):
    """What is true of a codec before it has weights; the properties of `Described` of these names say what each is."""

    sampling_rate: int
    channel: int
    latent_dim: int
    hop_length: int
    minimum_samples: int = 1
    minimum_frames: int = 1
    n_codebooks: int | None = None
    codebook_size: int | None = None
    bandwidths: tuple[float, ...] = ()


class Described(PretrainedModule[ConfigT]):
    """A codec's facts, which follow from its config and need no weights."""

    def _facts(self, config: ConfigT) -> Facts:
        """What follows from a config."""
        raise NotImplementedError

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

    @property
    def bandwidths(self) -> tuple[float, ...]:
        """Rates in kbps that codes can be asked for by; none for a codec whose codes are only counted in codebooks."""
        return self._facts(self._hyperparameters).bandwidths
