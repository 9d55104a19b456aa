"""Hyperparameters of EnCodec, of its three publishers' files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from vocos.codecs.encodec import audiocraft
from vocos.codecs.encodec.chunks import Chunks
from vocos.config import MAX_SIZE, Config, Count, Depth, expect
from vocos.nn.quantize import affordable_codebooks
from vocos.nn.seanet import SEANetStyle

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
