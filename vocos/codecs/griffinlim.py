"""Griffin-Lim on mel spectrograms: audio with no weights at all. The latents are those of `mel`.

Decoding undoes the mel filters by non-negative least squares, then looks for the phases by the fast Griffin-Lim
algorithm. It is deterministic: the first phases come from a fixed seed.

Papers: Griffin and Lim, "Signal estimation from modified short-time Fourier transform", IEEE TASSP 32(2), 1984;
Perraudin, Balazs, Soendergaard, "A fast Griffin-Lim algorithm", WASPAA 2013;
Lee and Seung, "Algorithms for non-negative matrix factorization", NIPS 2000 (the update of the mel inversion).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from vocos.config import Bands, Config, Window
from vocos.nn.length import Length
from vocos.nn.mel import LogMel, MelScale
from vocos.nn.spectral import Framing, InverseSTFT, stft
from vocos.voco import Facts, Steps, Voco
from vocos.weights.source import Checkpoint

MOMENTUM = 0.99  # of the phase search, as Perraudin et al. recommend
TINY = 1e-9  # keeps divisions finite; magnitudes below it are inaudible


@dataclass(frozen=True)
class GriffinLimConfig(Config):
    """Hyperparameters; the defaults give the latents of `mel`."""

    sample_rate: int = 24000
    n_mels: Bands = 100
    n_fft: Window = 1024
    hop_length: int = 256
    n_phase_steps: int = 64
    n_magnitude_steps: int = 64

    @property
    def framing(self) -> Framing:
        return Framing(self.n_fft, self.hop_length, "center")


class GriffinLimNetwork(nn.Module):
    """Log-mel spectrogram of audio, and audio of a log-mel spectrogram."""

    def __init__(self, config: GriffinLimConfig) -> None:
        super().__init__()
        self.config = config
        self.features = LogMel(MelScale(config.sample_rate, config.n_mels), config.framing)
        self.istft = InverseSTFT(config.framing)

    def decode(self, log_mel: Tensor, length: int) -> Tensor:
        """Audio `[B, N]` of `[B, L, n_mels]`, N at most `length`."""
        with torch.autocast(log_mel.device.type, enabled=False):
            magnitude = self.magnitude(log_mel.float().exp())
            return self.istft(magnitude * self.phase(magnitude), length)

    def magnitude(self, mel: Tensor) -> Tensor:
        """Non-negative spectra whose mel bands are closest: `[B, L, n_mels]` -> `[B, L, n_fft/2 + 1]`.

        From s = mel F^T, each step is s <- s (mel F^T) / (s F F^T), F the filters: never negative, never farther.
        """
        filters = self.features.constant_filters.on(mel.device)
        target = torch.matmul(mel, filters.mT)
        spectrum = target
        for _ in range(self.config.n_magnitude_steps):
            estimate = torch.matmul(torch.matmul(spectrum, filters), filters.mT)
            spectrum = spectrum * target / estimate.clamp(min=TINY)
        return spectrum

    def phase(self, magnitude: Tensor) -> Tensor:
        """Unit complex numbers that make the spectra consistent, nearly: `[B, L, n_fft/2 + 1]`.

        Each step takes the transform of the audio of the spectrum so far, goes past it by the momentum, and keeps the
        phases only.
        """
        generator = torch.Generator("cpu").manual_seed(0)  # its own, so that nobody's random numbers change
        start = torch.rand(magnitude.shape[1:], generator=generator, dtype=torch.float32, device="cpu")
        start = start.to(magnitude.device)
        phase = torch.polar(torch.ones_like(start), 2 * math.pi * start).expand_as(magnitude)
        previous = torch.zeros_like(phase)
        n_frames, window = magnitude.shape[1], self.features.constant_window.on(magnitude.device)
        # The audio that the last frame has past its centre is kept, so that there is enough to reflect at the ends.
        length = n_frames * self.config.hop_length
        for _ in range(self.config.n_phase_steps):
            audio = self.istft(magnitude * phase, length)
            consistent = stft(audio, window, self.config.framing)[:, :n_frames]
            ahead = consistent + MOMENTUM * (consistent - previous)
            phase, previous = ahead / ahead.abs().clamp(min=TINY), consistent
        return phase


class GriffinLim(Voco[GriffinLimConfig]):
    """Mono audio to the latents of `mel`, and back without weights."""

    config_type = GriffinLimConfig
    checkpoints = {"griffinlim": Checkpoint(GriffinLimConfig(), about="trying things out: no weights, modest quality")}
    halves = {"encoder": (), "decoder": ()}
    unstreamable = {"decoder": "the phase search makes every sample depend on all frames"}

    def describe(self, config: GriffinLimConfig) -> Facts:
        return Facts(
            sampling_rate=config.sample_rate,
            channel=1,
            latent_dim=config.n_mels,
            hop_length=config.hop_length,
            minimum_samples=config.framing.minimum_samples,
            minimum_frames=config.n_fft // 2 // config.hop_length + 1,  # the phase search reflects half a frame
        )

    def build(self, config: GriffinLimConfig) -> nn.Module:
        return GriffinLimNetwork(config)

    def encoder_steps(self, network: Any) -> Steps:
        return network.features.steps()

    def to_audio(self, latents: Tensor, length: int) -> Tensor:
        # Contiguous, for rounding depends on the strides, and the phase search magnifies it.
        return self.network.decode(rearrange(latents, "b d l -> b l d").contiguous(), length)[:, None]

    def frames(self, samples: Length) -> Length:
        return self.hyperparameters.framing.frames(samples)

    def samples(self, frames: Length) -> Length:
        return self.hyperparameters.framing.samples(frames)
