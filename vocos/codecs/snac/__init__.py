"""SNAC: 24 kHz speech, 32 and 44.1 kHz music; codebooks that speak once for eight frames, for four, for two, for one.

Paper: Siuzdak, Grotschla, Lanzendorfer, "SNAC: Multi-Scale Neural Audio Codec", arXiv 2410.14411.
Weights: Hub hubertsiuzdak/snac_24khz, snac_32khz, snac_44khz, MIT.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vocos.codecs.snac.config import SnacConfig
from vocos.codecs.snac.network import Noises, SnacNetwork
from vocos.errors import InvalidInput
from vocos.kernels import Pad
from vocos.nn.length import Length, ceil_div
from vocos.nn.names import UNIT
from vocos.voco import Facts, Steps, Voco, batches, checks
from vocos.voco.streams import Stream
from vocos.weights.export import Target
from vocos.weights.formats import Format
from vocos.weights.location import Location
from vocos.weights.rules import NEW_STYLE, Rules, weight_norm
from vocos.weights.source import Checkpoint, Source


def original_rules(config: SnacConfig) -> Rules:
    """How the original code stores the modules: in lists, numbered in the order they run."""
    has_attention, inner = config.attn_window_size is not None, "block"
    names: dict[str, str] = {"encoder.body.layers.0": "encoder.block.0"}
    for i in range(1, len(config.encoder_rates) + 1):
        ours, theirs = f"encoder.body.layers.{i}", f"encoder.block.{i}.{inner}"
        names |= {f"{ours}.snake": f"{theirs}.3", f"{ours}.conv": f"{theirs}.4"}
        names |= {
            f"{ours}.units.{j}.{part}": f"{theirs}.{j}.{inner}.{k}" for j in range(3) for k, part in enumerate(UNIT)
        }
    last = len(config.encoder_rates) + 1
    names["encoder.attention"] = f"encoder.block.{last}"
    names["encoder.last.layers.0"] = f"encoder.block.{last + has_attention}"
    first = 2 if config.depthwise else 1
    names |= {f"decoder.first.layers.{i}": f"decoder.model.{i}" for i in range(first)}
    names["decoder.attention"] = f"decoder.model.{first}"
    place = first + has_attention
    for i in range(len(config.decoder_rates)):
        theirs = f"decoder.model.{place + i}.{inner}"
        names |= {f"decoder.ups.{i}.layers.{k}": f"{theirs}.{k}" for k in (0, 1)}
        names[f"decoder.noises.{i}"] = f"{theirs}.2"
        for j in range(3):
            unit = f"{theirs}.{2 + config.noise + j}.{inner}"
            names |= {f"decoder.units.{i}.layers.{j}.{part}": f"{unit}.{k}" for k, part in enumerate(UNIT)}
    end = place + len(config.decoder_rates)
    names |= {f"decoder.last.layers.{k}": f"decoder.model.{end + k}" for k in (0, 1)}
    return weight_norm(names, NEW_STYLE)


FORMATS: tuple[Format[SnacConfig], ...] = (
    Format("original", marker="encoder.block.0", rules=original_rules, unused=("*.rel_pos.inv_freq",)),
)

PAPER = "2410.14411"


def _music(rate: int) -> SnacConfig:
    return SnacConfig(sampling_rate=rate, encoder_rates=(2, 3, 8, 8), decoder_rates=(8, 8, 3, 2))


def _source(rate: int, size_mb: float) -> Source:
    return Source(
        f"hubertsiuzdak/snac_{rate}khz",
        license="mit",
        paper=PAPER,
        size_mb=size_mb,
        is_gated=False,
        is_commercial=True,
    )


class Snac(Voco[SnacConfig]):
    """Audio to latents, or to codes at several rates: one of the first codebook in a frame of codes, several of others.

    The decoder draws noise at each call, as it was trained to; `noise=False` leaves it out.

    Args:
        location, device, dtype: as of `Voco`.
        noise: whether `decode` draws unless told otherwise.
    """

    config_type = SnacConfig
    without_chance = {"decode": {"noise": False}}
    halves = {"encoder": ("encoder",), "decoder": ("decoder",)}  # codes need the quantiser in both directions
    checkpoints = {
        "snac_24khz": Checkpoint(
            SnacConfig(
                sampling_rate=24000,
                encoder_dim=48,
                encoder_rates=(2, 4, 8, 8),
                decoder_dim=1024,
                decoder_rates=(8, 8, 4, 2),
                attn_window_size=None,
                vq_strides=(4, 2, 1),
            ),
            _source(24, 79.5),
            "speech; the codec of Orpheus, 1 kbps",
        ),
        "snac_32khz": Checkpoint(_music(32000), _source(32, 218.4), "music and audio of every kind, 1.9 kbps"),
        "snac_44khz": Checkpoint(_music(44100), _source(44, 218.4), "music and audio of every kind, 2.6 kbps"),
    }
    layouts = (("config.json", "pytorch_model.bin"), ("config.json", "model.safetensors"))
    formats = FORMATS
    targets = (Target("snac", FORMATS[0], ("config.json", "pytorch_model.bin"), lambda config: config.as_dict()),)

    def __init__(
        self,
        location: Location | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        noise: bool = True,
    ) -> None:
        super().__init__(location, device, dtype)
        self.noise = self._told(noise, True)

    def _told(self, noise: bool | None, default: bool) -> bool:
        if noise not in (None, True, False):
            raise InvalidInput(f"{self.name}: expected noise as True or False, got {noise!r}")
        return default if noise is None else noise

    def describe(self, config: SnacConfig) -> Facts:
        return Facts(
            sampling_rate=config.sampling_rate,
            channel=1,
            latent_dim=config.encoder_widths[-1],
            hop_length=config.hop_length,
            n_codebooks=len(config.vq_strides),
            codebook_size=config.codebook_size,
            book_strides=config.vq_strides,
        )

    def build(self, config: SnacConfig) -> nn.Module:
        return SnacNetwork(config)

    def frames(self, samples: Length) -> Length:
        padded = self.hyperparameters.padded_frames
        return ceil_div(samples, padded * self.hop_length) * padded

    def encoder_steps(self, network: Any) -> Steps:
        padded = self.hyperparameters.padded_frames * self.hop_length
        return Pad(0, 0, padded), self.cast, *network.encoder.steps()

    def decoder_steps(self, network: Any, noises: Noises | None = None) -> Steps:
        return self.cast, *network.decoder.steps(noises)

    # With noise, or without

    def decode(
        self,
        latents: Tensor,
        length: int | None = None,
        mask: Tensor | None = None,
        *,
        noise: bool | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Audio of latents, as `Voco.decode`.

        Args:
            latents, length, mask: as there.
            noise: draw it, or leave it out; None for what the constructor was told.
            generator: of the noise, drawn for one block of the decoder after the other as `[batch, 1, samples]` in
                float32; None for PyTorch's global one. A seed gives the numbers of the original.
        """
        return self._decoded(self._sounding(noise, generator), latents, length, mask)

    def decode_codes(
        self,
        codes: Tensor,
        length: int | None = None,
        *,
        noise: bool | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Audio of codes, as `Voco.decode_codes`; `noise` and `generator` as of `decode`."""
        self.weights.require("decoder", "decode_codes")
        self.check_codes(codes, "decode_codes")
        wanted = checks.length(length) or self.samples(codes.shape[1] * self.code_frames)  # 0 is refused
        sounding = self._sounding(noise, generator, self.decode_codes_steps, self.code_hop_length)
        return self._audio_of(sounding, codes, wanted, "decode_codes")

    def decode_batch(
        self,
        latents: batches.Clips,
        lengths: batches.Lengths = None,
        *,
        noise: bool | None = None,
        generator: torch.Generator | None = None,
    ) -> list[Tensor]:
        """Audio of latents, as `Voco.decode_batch`; the noise is drawn for the clips that run together."""

        def decode(latents: Tensor, length: int, rows: list[int]) -> Tensor:
            return self.decode(latents, length, noise=noise, generator=generator)

        return batches.decode(self, latents, lengths, decode)

    def decode_stream(
        self, batch: int = 1, *, noise: bool | None = None, generator: torch.Generator | None = None
    ) -> Stream:
        """`decode` spread over time; the noise is drawn from seeds, so that it is the same for every partition."""
        make = partial(self._streamed, self.decoder_steps, self._told(noise, self.noise))
        return Stream(self, "decode", batch, make, {"generator": generator})

    def decode_codes_stream(
        self, batch: int = 1, *, noise: bool | None = None, generator: torch.Generator | None = None
    ) -> Stream:
        """`decode_codes` spread over time; the noise as of `decode_stream`."""
        make = partial(self._streamed, self.decode_codes_steps, self._told(noise, self.noise))
        return Stream(self, "decode_codes", batch, make, {"generator": generator})

    @staticmethod
    def _streamed(make: Any, is_noisy: bool, network: Any, generator: torch.Generator | None = None) -> Steps:
        steps: Steps = make(network, noises=Noises(generator=generator) if is_noisy else None)
        return steps

    def _sounding(
        self, noise: bool | None, generator: torch.Generator | None, make: Any = None, rate: int | None = None
    ) -> Any:
        """What makes audio of latents, or of codes with the steps and the rate of these."""
        is_noisy = self._told(noise, self.noise)
        make, rate = make or self.decoder_steps, rate or self.hop_length

        def sound(x: Tensor, length: int) -> Tensor:
            frames, decoder = x.shape[-1] * rate // self.hop_length, self.network.decoder
            if not (is_noisy and len(decoder.noises)):
                return self.run_steps(make(self.network), x, rate)
            noises = decoder.draw(len(x), frames, self.hyperparameters.decoder_rates, x.device, generator)
            # With memory given, pieces of a long signal are of all rows, as the noise is.
            room = x.new_empty(len(x), 1, frames * self.hop_length, dtype=self.dtype)
            return self.run_steps(make(self.network, noises=noises), x, rate, room)

        return sound
