"""EnCodec with its own decoder: 24 kHz mono, 32 kHz mono (of MusicGen) and 48 kHz stereo.

Papers: Defossez et al., "High Fidelity Neural Audio Compression", arXiv 2210.13438; 32 kHz: Copet et al., "Simple and
Controllable Music Generation", arXiv 2306.05284.
Weights: Hub facebook/encodec_24khz (no licence stated), facebook/encodec_32khz (none stated; MusicGen's is CC BY-NC
4.0), facebook/encodec_48khz (MIT). The original `.th` files can be read too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vocos.codecs.encodec.chunks import DecodedChunks, EncodedChunks
from vocos.codecs.encodec.config import EncodecAudioConfig
from vocos.errors import InvalidInput
from vocos.kernels import Called
from vocos.nn.hooked import step_of
from vocos.nn.length import Length, ceil_div
from vocos.nn.names import seanet_names
from vocos.nn.quantize import TRAINING_STATE, EuclideanRVQ
from vocos.nn.seanet import SEANetDecoder, SEANetEncoder
from vocos.voco import Facts, Steps, Voco, checks
from vocos.voco.codes import ScaledCodes
from vocos.weights.export import Target
from vocos.weights.formats import Format
from vocos.weights.rules import Rules, weight_norm
from vocos.weights.source import Checkpoint, Source

SILENCE = 1e-8  # added to the scale of a chunk, after the root
_CODEBOOK = re.compile(r"\bquantizer\.(?:(?:vq\.)?layers\.(\d+)\._?codebook\.embed|books\.(\d+))$")


def original_rules(config: EncodecAudioConfig) -> Rules:
    """How the original code stores the modules."""
    names = seanet_names(len(config.upsampling_ratios), config.num_residual_layers, config.num_lstm_layers > 0)
    books = {f"quantizer.books.{k}": f"quantizer.vq.layers.{k}._codebook.embed" for k in range(config.n_codebooks)}
    return (weight_norm(names) if config.norm_type == "weight_norm" else names) | books


def transformers_rules(config: EncodecAudioConfig) -> Rules:
    """How transformers stores them, which differ in the codebooks."""
    books = {f"quantizer.books.{k}": f"quantizer.layers.{k}.codebook.embed" for k in range(config.n_codebooks)}
    return (weight_norm({}) if config.norm_type == "weight_norm" else {}) | books


FORMATS: tuple[Format[EncodecAudioConfig], ...] = (
    Format("transformers", marker="encoder.layers.0.conv", rules=transformers_rules, unused=TRAINING_STATE),
    Format("original", marker="encoder.model.0.conv.conv", rules=original_rules, unused=TRAINING_STATE),
)


def _to_transformers(config: EncodecAudioConfig) -> dict[str, Any]:
    """What transformers expects in `config.json`, which counts the codebooks by the highest bandwidth."""
    theirs = {name: value for name, value in config.as_dict().items() if name != "n_codebooks"}
    theirs |= {"chunk_length_s": config.chunk_length_s or None, "overlap": config.overlap or None}
    return {"architectures": ["EncodecModel"], "model_type": "encodec", "codebook_dim": config.hidden_size, **theirs}


def _transformers_problem(config: EncodecAudioConfig) -> str | None:
    """The reason why transformers has no network for a config; None if it has one."""
    if config.norm_type == "none":
        return "they have no norms"
    return None if config.num_lstm_layers else "they have no LSTM"


class EncodecAudioNetwork(nn.Module):
    """Encoder `[B, C, N]` -> `[B, D, L]`, quantiser, and decoder `[B, D, L]` -> `[B, C, N]`."""

    def __init__(self, config: EncodecAudioConfig) -> None:
        super().__init__()
        ratios, sizes = config.upsampling_ratios, (config.hidden_size, config.num_filters)
        self.encoder = SEANetEncoder(config.audio_channels, sizes[1], ratios[::-1], sizes[0], config.style)
        self.quantizer = EuclideanRVQ(config.n_codebooks, config.codebook_size, config.hidden_size)
        self.decoder = SEANetDecoder(*sizes, ratios, config.audio_channels, config.style)


def _common(scale: Tensor) -> Tensor:
    """The mean over time, `[B, L]` -> `[B]`; exactly the value itself where there is but one."""
    first = scale[:, :1]
    return (first + (scale - first).mean(dim=1, keepdim=True))[:, 0]


PAPER = "2210.13438"
ENCODEC_24KHZ = Source("facebook/encodec_24khz", paper=PAPER, size_mb=93.1, is_gated=False)
ENCODEC_32KHZ = Source(
    "facebook/encodec_32khz",
    license_url="https://github.com/facebookresearch/audiocraft",  # of MusicGen's weights: CC BY-NC 4.0
    paper="2306.05284",
    size_mb=236.0,
    is_gated=False,
    is_commercial=False,
)
ENCODEC_48KHZ = Source(
    "facebook/encodec_48khz", license="mit", paper=PAPER, size_mb=76.3, is_gated=False, is_commercial=True
)


class EncodecAudio(Voco[EncodecAudioConfig]):
    """Audio to the encoder's output before quantisation, or to codes of a residual quantiser.

    Weights that bring the audio to one loudness first (those at 48 kHz) have one latent more, the last: the scale of
    the chunk that a frame is of, which the decoded audio is multiplied by. Their codes are `ScaledCodes`.
    """

    config_type = EncodecAudioConfig
    halves = {"encoder": ("encoder",), "decoder": ("decoder",)}  # codes need the quantiser in both directions
    checkpoints = {
        "encodec_24khz": Checkpoint(
            EncodecAudioConfig(), ENCODEC_24KHZ, "speech and audio of every kind, 1.5 to 24 kbps"
        ),
        "encodec_32khz": Checkpoint(
            EncodecAudioConfig(
                sampling_rate=32000,
                num_filters=64,
                upsampling_ratios=(8, 5, 4, 4),
                use_causal_conv=False,
                use_conv_shortcut=False,
                target_bandwidths=(2.2,),
                codebook_size=2048,
                n_codebooks=4,
            ),
            ENCODEC_32KHZ,
            "music; the codec of MusicGen, 2.2 kbps",
        ),
        "encodec_48khz": Checkpoint(
            EncodecAudioConfig(
                sampling_rate=48000,
                audio_channels=2,
                norm_type="time_group_norm",
                use_causal_conv=False,
                normalize=True,
                chunk_length_s=1.0,
                overlap=0.01,
                target_bandwidths=(3.0, 6.0, 12.0, 24.0),
                n_codebooks=16,
            ),
            ENCODEC_48KHZ,
            "stereo music, 3 to 24 kbps",
        ),
    }
    layouts = (
        ("config.json", "model.safetensors"),
        ("config.json", "pytorch_model.bin"),
        (None, "encodec_24khz-d7cc33bc.th"),
        (None, "encodec_48khz-7e698e3e.th"),
        (None, "compression_state_dict.bin"),
    )
    formats = FORMATS
    targets = (
        Target(
            "transformers",
            FORMATS[0],
            ("config.json", "model.safetensors"),
            _to_transformers,
            problem=_transformers_problem,
        ),
    )

    def describe(self, config: EncodecAudioConfig) -> Facts:
        return Facts(
            sampling_rate=config.sampling_rate,
            channel=config.audio_channels,
            latent_dim=config.hidden_size + config.normalize,
            hop_length=config.hop_length,
            n_codebooks=config.n_codebooks,
            codebook_size=config.codebook_size,
            bandwidths=config.target_bandwidths,
        )

    def complete(self, config: EncodecAudioConfig, shapes: Mapping[str, tuple[int, ...]]) -> EncodecAudioConfig:
        found = [match for match in map(_CODEBOOK.search, shapes) if match]
        return replace(config, n_codebooks=len(found)) if found else config

    def build(self, config: EncodecAudioConfig) -> nn.Module:
        return EncodecAudioNetwork(config)

    # Lengths

    def frames(self, samples: Length) -> Length:
        chunks = self.hyperparameters.chunks
        return chunks.frames(samples) if chunks else ceil_div(samples, self.hop_length)

    def samples(self, frames: Length) -> Length:
        chunks = self.hyperparameters.chunks
        return chunks.samples(frames) if chunks else frames * self.hop_length

    def _piece_frames(self, frames: int) -> list[int]:
        chunks = self.hyperparameters.chunks
        return chunks.piece_frames(frames) if chunks else [frames]

    # Audio and latents

    def stream_obstacle(self, part: str) -> str | None:
        config = self.hyperparameters
        if config.chunks is None and (config.style.has_norm or config.normalize):
            return "these weights have norms over all of the audio, and no chunks"
        return super().stream_obstacle(part)

    def encoder_steps(self, network: Any) -> Steps:
        config = self.hyperparameters
        if config.chunks is not None:
            return (EncodedChunks(config.chunks, partial(self._encode_piece, network)),)
        if config.style.has_norm or config.normalize:
            return (Called(partial(self._encode_piece, network)),)
        return self.cast, step_of(network.encoder)

    def decoder_steps(self, network: Any) -> Steps:
        config = self.hyperparameters
        if config.chunks is not None:
            return (DecodedChunks(config.chunks, partial(self._decode_piece, network)),)
        if config.style.has_norm or config.normalize:
            return (Called(partial(self._decode_piece, network)),)
        return self.cast, step_of(network.decoder)

    def _encode_piece(self, network: Any, audio: Tensor) -> Tensor:
        if not self.hyperparameters.normalize:
            return network.encoder(audio.to(self.dtype))
        power = audio.float().mean(dim=1, keepdim=True).square().mean(dim=-1, keepdim=True)
        # The root of 0 has no gradient.
        scale = torch.where(power > 0, torch.where(power > 0, power, 1).sqrt(), 0) + SILENCE
        latents = network.encoder((audio / scale).to(self.dtype))
        return torch.cat([latents.float(), scale.expand(-1, 1, latents.shape[-1])], dim=1)

    def _decode_piece(self, network: Any, frames: Tensor, scales: Tensor | None = None) -> Tensor:
        """Audio of the latents of a piece, or of its codes and scales."""
        if scales is not None:
            latents = self.dequantize(frames)
        elif self.hyperparameters.normalize:
            latents, scales = frames[:, :-1], _common(frames[:, -1].float())
        else:
            latents = frames
        audio: Tensor = network.decoder(latents.to(self.dtype))
        return audio if scales is None else audio * scales[:, None, None]

    # Codes

    def encode_codes_steps(self, network: Any, n_codebooks: int) -> Steps:
        config = self.hyperparameters
        if not config.normalize or config.chunks is None:
            return super().encode_codes_steps(network, n_codebooks)
        return (EncodedChunks(config.chunks, partial(self._code_piece, network, n_codebooks)),)

    def _code_piece(self, network: Any, n_codebooks: int, audio: Tensor) -> Tensor:
        """Codes of a piece, its scale, and 1 where it begins, as floats `[B, n_codebooks + 2, L]`."""
        latents = self._encode_piece(network, audio)
        checks.finite(latents.mT, "encode_codes: latents of the audio")
        codes = self.quantize(latents[:, :-1], n_codebooks).float()
        begins = torch.zeros_like(codes[:, :1])
        begins[..., 0] = 1.0
        return torch.cat([codes, latents[:, -1:], begins], dim=1)

    def given_codes(self, found: Tensor) -> Any:
        if not self.hyperparameters.normalize:
            return found
        if not found.is_floating_point():  # none yet
            return ScaledCodes(found, found.new_zeros(len(found), 0, dtype=torch.float32))
        begins = found[0, :, -1] > 0 if len(found) else found.new_zeros(found.shape[1], dtype=torch.bool)
        return ScaledCodes(found[..., :-2].long(), found[:, begins, -2])

    def decode_codes_steps(self, network: Any, **options: Any) -> Steps:
        config = self.hyperparameters
        if not config.normalize or config.chunks is None:
            return super().decode_codes_steps(network, **options)
        return self.decoder_steps(network)  # of codes with their scales, too

    def pack_codes(self, latents: Tensor, n_codebooks: int) -> Any:
        if not self.hyperparameters.normalize:
            return super().pack_codes(latents, n_codebooks)
        pieces = torch.split(latents[..., -1].float(), self._piece_frames(latents.shape[1]), dim=1)
        scales = torch.stack([_common(piece) for piece in pieces], dim=1)
        return ScaledCodes(super().pack_codes(latents[..., :-1], n_codebooks), scales)

    def unpack_codes(self, codes: Any) -> Tensor:
        if not isinstance(codes, ScaledCodes):
            return super().unpack_codes(codes)
        repeats = torch.tensor(self._piece_frames(codes.shape[1]), dtype=torch.int64, device=codes.device)
        scale = codes.scales.float().repeat_interleave(repeats, dim=1)
        return torch.cat([super().unpack_codes(codes.codes), scale[..., None]], dim=2)

    def check_codes(self, codes: Any, call: str) -> None:
        if not self.hyperparameters.normalize:
            return super().check_codes(codes, call)
        if not isinstance(codes, ScaledCodes):
            raise InvalidInput(
                f"{call}: expected ScaledCodes, as of encode_codes, got a {type(codes).__name__}; the loudness of the "
                "audio is not in the codes alone: vocos.ScaledCodes(codes, scales), scales float [batch, chunks]"
            )
        super().check_codes(codes.codes, call)
        wanted = (codes.shape[0], len(self._piece_frames(codes.shape[1])))
        if not (isinstance(codes.scales, Tensor) and codes.scales.is_floating_point() and codes.scales.shape == wanted):
            given = f"{codes.scales.dtype} {list(codes.scales.shape)}" if isinstance(codes.scales, Tensor) else "none"
            raise InvalidInput(f"{call}: expected scales float {list(wanted)} for these codes, got {given}")
        checks.device(codes.scales, codes.device, call)
