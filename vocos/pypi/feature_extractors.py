"""What PyPI's `vocos` calls feature extractors, channel-first as there; `vocos.pretrained.Vocos` has one of them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vocos.codecs.vocos_encodec import COMPANIONS, Encodec, EncodecConfig
from vocos.config import Bands, Window, brief
from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.nn.mel import MelScale
from vocos.nn.quantize import euclidean_codes, euclidean_features
from vocos.nn.seanet import SEANetEncoder
from vocos.nn.spectral import Framing
from vocos.pypi.checks import check_floats, check_tensor, condition, unfilled
from vocos.pypi.modules import safe_log
from vocos.pypi.spectrograms import MelSpectrogram
from vocos.weights import formats
from vocos.weights.formats import Format
from vocos.weights.tensors import Section, TensorFile


class FeatureExtractor(nn.Module):
    """What all feature extractors are, for those of one's own: audio `[B, N]` -> features `[B, C, L]`."""

    def forward(self, audio: Tensor, **kwargs: Any) -> Tensor:
        """Features."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")


class MelSpectrogramFeatures(FeatureExtractor):
    """Natural logarithm of the mel-filtered magnitude spectrum.

    Args:
        sample_rate, n_fft, hop_length, n_mels: of the spectrogram.
        padding: "center" or "same"; see `vocos.nn.spectral`.
        f_min, f_max, mel_scale, norm: of the filters; see `vocos.nn.spectral.MelScale`.

    Attributes:
        mel_spec: makes the mel spectrogram; another may be put in its place.

    Shape: audio `[..., N]` -> `[..., n_mels, L]`, L = N // hop_length + 1 for "center", N // hop_length for "same".
    """

    def __init__(
        self,
        sample_rate: int = 24000,
        n_fft: Window = 1024,
        hop_length: int = 256,
        n_mels: Bands = 100,
        padding: str = "center",
        *,
        f_min: float = 0.0,
        f_max: float = 0.0,
        mel_scale: str = "htk",
        norm: str = "none",
    ) -> None:
        super().__init__()
        mel = MelScale(sample_rate, n_mels, f_min, f_max, mel_scale, norm)
        framing = Framing(n_fft, hop_length, padding)
        if problem := mel.problem() or framing.problem():
            raise InvalidInput(f"MelSpectrogramFeatures: {problem}")
        self.padding = padding
        self.mel_spec: nn.Module = MelSpectrogram(mel, n_fft, hop_length, center=padding == "center")

    def forward(self, audio: Tensor, **kwargs: Any) -> Tensor:
        """Features of audio, in its dtype. A bandwidth is for the other extractor, and not looked at."""
        check_floats(audio, "expected audio [batch, samples]")
        return safe_log(self.mel_spec(audio if self.padding == "center" else self._padded(audio))).to(audio.dtype)

    def _padded(self, audio: Tensor) -> Tensor:
        """Audio reflected at its ends, so that each hop has a frame around it."""
        hop, window = int(self.mel_spec.hop_length), int(self.mel_spec.win_length)  # type: ignore[arg-type]
        pad = (window - hop) // 2
        least, expected = max(pad + 1, hop), "expected audio [batch, samples]"
        if not audio.ndim or not audio.numel() or audio.shape[-1] < least:
            raise InvalidInput(f"{expected} with at least {least} samples, got {list(audio.shape)}")
        flat = F.pad(audio.reshape(-1, 1, audio.shape[-1]), (pad, pad), mode="reflect")
        return flat.reshape(*audio.shape[:-1], -1)


class EncodecEncoder(nn.Module):
    """What the features need of EnCodec, under EnCodec's names.

    Attributes:
        bandwidth: in kbps, that `EncodecFeatures.get_encodec_codes` spends; None for all codebooks.
    """

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        self.encoder = SEANetEncoder(1, config.n_filters, config.ratios[::-1], config.input_channels)
        self.bandwidth: float | None = None

    def set_target_bandwidth(self, bandwidth: float) -> None:
        """Choose the bandwidth."""
        self.bandwidth = bandwidth


class EncodecFeatures(FeatureExtractor):
    """Sums of the codebook entries that EnCodec 24 kHz picks for the audio.

    The weights of EnCodec come when they are first needed: by the calls here, or by `encodec`. Codes that come from
    elsewhere do without, and so does the state dict of such a module, which then has the names of the public files.

    Args:
        encodec_model: "encodec_24khz", for which there is a vocoder.
        bandwidths: in kbps; a `bandwidth_id` picks one.
        train_codebooks: whether the entries ask for gradients.
        encodec_weights: where EnCodec is, a folder, file or Hub repository; None for facebook/encodec_24khz.
        input_channels, hop_length: of an EnCodec of another size.

    Shape: audio `[B, N]` -> `[B, C, L]`, L = ceil(N / hop_length).
    """

    def __init__(
        self,
        encodec_model: str = "encodec_24khz",
        bandwidths: Sequence[float] = (1.5, 3.0, 6.0, 12.0),
        train_codebooks: bool = False,
        *,
        encodec_weights: str | os.PathLike[str] | None = None,
        input_channels: int = 128,
        hop_length: int = 320,
    ) -> None:
        super().__init__()
        if encodec_model != "encodec_24khz":
            raise UnsupportedOperation(f"EncodecFeatures: encodec_model {brief(encodec_model)}, expected encodec_24khz")
        Encodec(encodec_weights=encodec_weights)  # says at once if it is a path that does not exist
        sizes = {"input_channels": input_channels, "hop_length": hop_length, "n_fft": 4 * hop_length}
        self._config = config = EncodecConfig.parse({"bandwidths": bandwidths, **sizes})
        self._encodec_weights = encodec_weights
        self._modules["encodec"] = None
        self.bandwidths = list(config.bandwidths)
        self.num_q = config.codebooks_for(max(config.bandwidths))
        entries = torch.randn(self.num_q * config.codebook_size, config.input_channels)
        self.codebook_weights = nn.Parameter(entries, requires_grad=train_codebooks)

    @property
    def encodec(self) -> EncodecEncoder:
        """The encoder, loaded if it was not yet.

        Raises:
            WeightsUnavailable, CheckpointError: if it cannot be.
        """
        if self._modules["encodec"] is None:
            self._install(*Encodec(encodec_weights=self._encodec_weights).companion())
        found: Any = self._modules["encodec"]
        return found

    def forward(self, audio: Tensor, **kwargs: Any) -> Tensor:
        """Features of audio at the one bandwidth of `bandwidth_id=`, which `get_encodec_codes` then spends too."""
        row = condition(kwargs.get("bandwidth_id"), len(self.bandwidths))
        if not isinstance(row, int):
            raise InvalidInput(f"expected one bandwidth_id, as torch.tensor([2]), got {list(row.shape)}")
        bandwidth = self.bandwidths[row]
        _check_audio(audio, 1)
        self.encodec.set_target_bandwidth(bandwidth)
        return self._features(self._codes(audio, bandwidth))

    def get_encodec_codes(self, audio: Tensor) -> Tensor:
        """Codes `[K, B, L]`, int64, of audio `[B, N]`, at the bandwidth of `encodec`."""
        _check_audio(audio, 1)
        return rearrange(self._codes(audio, self.encodec.bandwidth), "b k l -> k b l")

    def codes_to_features(self, codes: Tensor) -> Tensor:
        """Features `[B, C, L]` of integer codes `[K, B, L]`, or `[K, L]` for one clip."""
        codebooks, size = len(self._codebooks()), self._config.codebook_size
        expected = f"codes_to_features: expected integer codes [1 to {codebooks}, batch, frames] from 0 to {size - 1}"
        if not isinstance(codes, Tensor):
            raise InvalidInput(f"{expected}, got a {type(codes).__name__}; torch.as_tensor(codes) makes a tensor")
        if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
            raise InvalidInput(f"{expected}, got {codes.dtype}; codes.long() makes integers")
        if codes.ndim not in (2, 3) or not codes.numel() or len(codes) > codebooks:
            raise InvalidInput(f"{expected}, got {list(codes.shape)}; the codebooks go first")
        if int(codes.min()) < 0 or int(codes.max()) >= size:
            raise InvalidInput(f"{expected}, got {int(codes.min())} to {int(codes.max())}")
        stacked = codes[:, None] if codes.ndim == 2 else codes
        return self._features(rearrange(stacked, "k b l -> b k l").long())

    def _codebooks(self) -> Tensor:
        return rearrange(self.codebook_weights, "(k e) c -> k e c", e=self._config.codebook_size)

    def _codes(self, audio: Tensor, bandwidth: float | None) -> Tensor:
        """Codes `[B, K, L]`."""
        codebooks = self._codebooks()
        count = len(codebooks) if bandwidth is None else self._config.codebooks_for(bandwidth)
        if count > len(codebooks):
            raise InvalidInput(
                f"get_encodec_codes: {bandwidth:g} kbps take {count} codebooks, there are {len(codebooks)}"
            )
        return euclidean_codes(self.encodec.encoder(audio[:, None].to(codebooks.dtype)), codebooks[:count])

    def _features(self, codes: Tensor) -> Tensor:
        return euclidean_features(codes, self._codebooks()).to(self.codebook_weights.dtype)

    def _install(self, known: Format[EncodecConfig], file: TensorFile) -> None:
        """Take the encoder from a file of EnCodec."""
        config = Encodec().complete(self._config, file.shapes)
        made = math.prod(config.ratios)
        config.require(made == config.hop_length, f"ratios {config.ratios} do not make hop_length {config.hop_length}")
        codebooks = self.codebook_weights
        options = {"device": "cpu" if codebooks.is_meta else codebooks.device, "dtype": codebooks.dtype}
        with unfilled(file.path):
            network = EncodecEncoder(config)
        with torch.inference_mode(False):
            formats.fill(network, file, known, config, options)
        self._modules["encodec"] = network.train(self.training)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take EnCodec's tensors under any public name; leave it as it is if there are none."""
        inside = f"{prefix}encodec."
        given = {name: state_dict.pop(name) for name in list(state_dict) if name.startswith(inside)}
        if given:
            known, file = formats.recognise(Section(_Given(given), inside), COMPANIONS, "EnCodec")
            self._install(known, file)
        if self._modules["encodec"] is not None:  # which then reads what it has
            state_dict.update({inside + name: value for name, value in self.encodec.state_dict().items()})
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _Given(TensorFile):
    """Tensors in memory."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.path, self.metadata, self._tensors = Path("state_dict"), {}, tensors
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def _read(self, name: str) -> Tensor:
        return self._tensors[name]


def _check_audio(audio: Any, minimum: int) -> None:
    expected = f"expected audio [batch, samples] with at least {minimum} samples"
    check_tensor(audio, expected, [None, None], "audio[None] makes a batch of one clip, audio.mean(1) of channels mono")
    if audio.shape[1] < minimum:
        raise InvalidInput(f"{expected}, got {list(audio.shape)}; complete it with zeros")
