"""EnCodec with its own decoder: 24 kHz mono, 32 kHz mono (of MusicGen) and 48 kHz stereo.

Papers: Defossez et al., "High Fidelity Neural Audio Compression", arXiv 2210.13438; 32 kHz: Copet et al., "Simple and
Controllable Music Generation", arXiv 2306.05284.
Weights: Hub facebook/encodec_24khz (no licence stated), facebook/encodec_32khz (none stated; MusicGen's is CC BY-NC
4.0), facebook/encodec_48khz (MIT). The original `.th` files can be read too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from vocos.codecs.encodec import audiocraft
from vocos.codecs.encodec.chunks import Chunks
from vocos.config import MAX_SIZE, Config, Count, Depth, expect
from vocos.errors import InvalidInput
from vocos.nn.length import Length, ceil_div
from vocos.nn.names import seanet_names
from vocos.nn.quantize import TRAINING_STATE, EuclideanRVQ, affordable_codebooks
from vocos.nn.seanet import SEANetDecoder, SEANetEncoder, SEANetStyle
from vocos.voco import Facts, Voco, checks
from vocos.voco.codes import ScaledCodes
from vocos.weights.export import Target
from vocos.weights.formats import Format
from vocos.weights.rules import Rules, weight_norm
from vocos.weights.source import Checkpoint, Source

# What the original code calls the hyperparameters.
ORIGINAL_KEYS = {
    "sample_rate": "sampling_rate",
    "channels": "audio_channels",
    "dimension": "hidden_size",
    "n_filters": "num_filters",
    "n_residual_layers": "num_residual_layers",
    "ratios": "upsampling_ratios",
    "norm": "norm_type",
    "causal": "use_causal_conv",
    "dilation_base": "dilation_growth_rate",
    "lstm": "num_lstm_layers",
    "segment": "chunk_length_s",
    "bins": "codebook_size",
    "n_q": "n_codebooks",
}
NORMS = ("weight_norm", "time_group_norm", "none")
PADS = ("reflect", "constant", "replicate")
SILENCE = 1e-8  # added to the scale of a chunk, after the root
_CODEBOOK = re.compile(r"\bquantizer\.(?:(?:vq\.)?layers\.(\d+)\._?codebook\.embed|books\.(\d+))$")


@dataclass(frozen=True)
class EncodecAudioConfig(Config):
    """Hyperparameters, named as by transformers; `parse` also knows the names of the original code."""

    sampling_rate: int = 24000
    audio_channels: int = 1
    hidden_size: int = 128
    num_filters: int = 32
    num_residual_layers: Depth = 1
    upsampling_ratios: tuple[int, ...] = (8, 5, 4, 2)
    norm_type: str = "weight_norm"
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    dilation_growth_rate: int = 2
    use_causal_conv: bool = True
    pad_mode: str = "reflect"
    compress: int = 2
    num_lstm_layers: Depth = 2
    trim_right_ratio: float = 1.0
    use_conv_shortcut: bool = True
    normalize: bool = False
    chunk_length_s: float = 0.0  # 0 for the whole clip
    overlap: float = 0.0  # share of a chunk
    target_bandwidths: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0, 24.0)  # kbps
    codebook_size: int = 1024
    n_codebooks: Count = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.norm_type in NORMS, f"norm_type {self.norm_type!r}, none of {', '.join(NORMS)}")
        self.require(self.pad_mode in PADS, f"pad_mode {self.pad_mode!r}, none of {', '.join(PADS)}")
        self.require(self.audio_channels <= 2, f"audio_channels {self.audio_channels}")
        self.require(self.compress <= self.num_filters, f"compress {self.compress} leaves nothing of num_filters")
        self.require(0 <= self.trim_right_ratio <= 1, f"trim_right_ratio {self.trim_right_ratio}")
        self.require(min(self.target_bandwidths) > 0, f"target_bandwidths {self.target_bandwidths}")
        self.require(self.codebook_size > 1, f"codebook_size {self.codebook_size} codes nothing")
        self.require(self.hop_length <= MAX_SIZE, f"upsampling_ratios {self.upsampling_ratios} make {self.hop_length}")
        self.require(0 <= self.overlap <= 1 / 2, f"overlap {self.overlap} of a chunk; up to a half can be")
        chunks = self.chunks
        if self.chunk_length_s != 0 and (chunks is None or chunks.step < self.hop_length):
            self.require(False, f"chunk_length_s {self.chunk_length_s}; a chunk must be longer than a frame")

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        if audiocraft.MARKER in data:
            # Such a codec is trained for one bandwidth, that of all codebooks.
            config = cls.parse(audiocraft.hyperparameters(data))
            bits = config.n_codebooks * math.ceil(math.log2(config.codebook_size))
            return replace(config, target_bandwidths=(bits * config.sampling_rate / config.hop_length / 1000,))
        data = {ORIGINAL_KEYS.get(name, name): value for name, value in data.items()}
        if isinstance(data.get("true_skip"), bool):
            data["use_conv_shortcut"] = not data["true_skip"]
        # What a public file leaves out is as at 24 kHz, whichever codec this is.
        known = EncodecAudioConfig().as_dict() | {name: value for name, value in data.items() if value is not None}
        if not known["chunk_length_s"]:
            known["overlap"] = 0.0
        config = super().parse(known)
        expect(data, "codebook_dim", config.hidden_size, default=config.hidden_size)
        if data.get("n_codebooks") is None:
            rate = config.sampling_rate / config.hop_length
            codebooks = affordable_codebooks(max(config.target_bandwidths), config.codebook_size, rate)
            return replace(config, n_codebooks=codebooks)
        return config

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.upsampling_ratios)

    @property
    def chunks(self) -> Chunks | None:
        """How audio is cut into chunks; None if it is coded whole."""
        size = int(self.chunk_length_s * self.sampling_rate)
        return Chunks(size, max(1, int((1 - self.overlap) * size)), self.hop_length) if size else None

    @property
    def style(self) -> SEANetStyle:
        """Settings that all layers share."""
        return SEANetStyle(
            is_causal=self.use_causal_conv,
            pad_mode=self.pad_mode,
            has_norm=self.norm_type == "time_group_norm",
            has_shortcut=self.use_conv_shortcut,
            kernel=self.kernel_size,
            last_kernel=self.last_kernel_size,
            residual_kernel=self.residual_kernel_size,
            n_units=self.num_residual_layers,
            dilation_base=self.dilation_growth_rate,
            compress=self.compress,
            n_lstm=self.num_lstm_layers,
            trim_right=self.trim_right_ratio,
        )


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

    def to_latents(self, audio: Tensor) -> Tensor:
        chunks = self.hyperparameters.chunks
        return chunks.encode(self._encode_piece, audio) if chunks else self._encode_piece(audio)

    def _encode_piece(self, audio: Tensor) -> Tensor:
        if not self.hyperparameters.normalize:
            return self.network.encoder(audio.to(self.dtype))
        power = audio.float().mean(dim=1, keepdim=True).square().mean(dim=-1, keepdim=True)
        # The root of 0 has no gradient.
        scale = torch.where(power > 0, torch.where(power > 0, power, 1).sqrt(), 0) + SILENCE
        latents = self.network.encoder((audio / scale).to(self.dtype))
        return torch.cat([latents.float(), scale.expand(-1, 1, latents.shape[-1])], dim=1)

    def to_audio(self, latents: Tensor, length: int) -> Tensor:
        chunks = self.hyperparameters.chunks
        return chunks.decode(self._decode_piece, latents) if chunks else self._decode_piece(latents)

    def _decode_piece(self, latents: Tensor) -> Tensor:
        if not self.hyperparameters.normalize:
            return self.network.decoder(latents.to(self.dtype))
        audio = self.network.decoder(latents[:, :-1].to(self.dtype))
        return audio * _common(latents[:, -1].float())[:, None, None]

    # Codes

    def quantize(self, latents: Tensor, n_codebooks: int) -> Tensor:
        return self.network.quantizer.encode(latents, n_codebooks)

    def dequantize(self, codes: Tensor) -> Tensor:
        return self.network.quantizer.decode(codes)

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
