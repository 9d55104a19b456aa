"""What PyPI's `vocos` calls feature extractors, channel-first as there; `vocos.pretrained.Vocos` has one of them."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from vocos.codecs.vocos_encodec import COMPANIONS, Encodec, EncodecConfig
from vocos.errors import CheckpointError, InvalidInput
from vocos.nn.quantize import euclidean_codes, euclidean_features
from vocos.nn.seanet import SEANetEncoder
from vocos.nn.spectral import Framing, LogMel, MelScale
from vocos.weights import formats
from vocos.weights.formats import Format
from vocos.weights.tensors import Section, TensorFile


class PublicConstants(nn.Module):
    """A module that computes its constants: a state dict has them under their public names, but cannot change them."""

    def _constants(self) -> dict[str, Tensor]:
        """The constants by their public names."""
        raise NotImplementedError

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update({prefix + name: value for name, value in self._constants().items()})

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        for name, value in self._constants().items():
            given = state_dict.pop(prefix + name, value)
            if given.shape != value.shape or not torch.allclose(given.to(value), value, atol=1e-5):
                error_msgs.append(f"{prefix}{name} is not the constant that this module computes")
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class MelSpectrogramFeatures(PublicConstants):
    """Natural logarithm of the mel-filtered magnitude spectrum.

    Args:
        sample_rate, n_fft, hop_length, n_mels: of the spectrogram.
        padding: "center" or "same"; see `vocos.nn.spectral`.
        f_min, f_max, mel_scale, norm: of the filters; see `MelScale`.

    Shape: audio `[B, N]` -> `[B, n_mels, L]`, L = N // hop_length + 1 for "center", N // hop_length for "same".
    """

    def __init__(
        self,
        sample_rate: int = 24000,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mels: int = 100,
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
        self.log_mel = LogMel(mel, framing)

    def forward(self, audio: Tensor, bandwidth_id: object = None) -> Tensor:
        """Features of audio, in its dtype. The bandwidth is for the other extractor, and not looked at."""
        _check_audio(audio, self.log_mel.framing.minimum_samples)
        return rearrange(self.log_mel(audio), "b l d -> b d l").to(audio.dtype)

    def _constants(self) -> dict[str, Tensor]:
        return {"mel_spec.spectrogram.window": self.log_mel.window, "mel_spec.mel_scale.fb": self.log_mel.filters}


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


class EncodecFeatures(nn.Module):
    """Sums of the codebook entries that EnCodec 24 kHz picks for the sound.

    The weights of EnCodec come when they are first needed: by the calls here, or by `encodec`. Codes that come from
    elsewhere do without, and so does the state dict of such a module, which then has the names of the public files.

    Args:
        config: of the vocoder.
        encodec_weights: where EnCodec is, a folder, file or Hub repository; None for facebook/encodec_24khz.

    Attributes:
        bandwidths: in kbps; a `bandwidth_id` picks one.

    Shape: audio `[B, N]` -> `[B, C, L]`, L = ceil(N / hop_length).
    """

    def __init__(self, config: EncodecConfig, encodec_weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        Encodec(encodec_weights=encodec_weights)  # says at once if it is a path that does not exist
        self._config, self._encodec_weights = config, encodec_weights
        self._modules["encodec"] = None
        self.bandwidths = list(config.bandwidths)
        rows = config.books(max(config.bandwidths)) * config.codebook_size
        self.codebook_weights = nn.Parameter(torch.randn(rows, config.input_channels), requires_grad=False)

    @property
    def encodec(self) -> EncodecEncoder:
        """The encoder, loaded if it was not yet.

        Raises:
            WeightsUnavailable, CheckpointError: if it cannot be.
        """
        if self._modules["encodec"] is None:
            self._install(*Encodec(encodec_weights=self._encodec_weights)._companion())
        found: Any = self._modules["encodec"]
        return found

    def forward(self, audio: Tensor, bandwidth_id: Tensor | int | None = None) -> Tensor:
        """Features of audio at one bandwidth, which `get_encodec_codes` then spends too."""
        bandwidth = self.bandwidths[condition(bandwidth_id, len(self.bandwidths))]
        _check_audio(audio, 1)
        self.encodec.set_target_bandwidth(bandwidth)
        return self._features(self._codes(audio, bandwidth))

    def get_encodec_codes(self, audio: Tensor) -> Tensor:
        """Codes `[K, B, L]`, int64, of audio `[B, N]`, at the bandwidth of `encodec`."""
        _check_audio(audio, 1)
        return rearrange(self._codes(audio, self.encodec.bandwidth), "b k l -> k b l")

    def codes_to_features(self, codes: Tensor) -> Tensor:
        """Features `[B, C, L]` of integer codes `[K, B, L]`, or `[K, L]` for one clip."""
        books, size = len(self._books()), self._config.codebook_size
        expected = f"codes_to_features: expected integer codes [1 to {books}, batch, frames] from 0 to {size - 1}"
        if not isinstance(codes, Tensor):
            raise InvalidInput(f"{expected}, got a {type(codes).__name__}; torch.as_tensor(codes) makes a tensor")
        if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
            raise InvalidInput(f"{expected}, got {codes.dtype}; codes.long() makes integers")
        if codes.ndim not in (2, 3) or not codes.numel() or len(codes) > books:
            raise InvalidInput(f"{expected}, got {list(codes.shape)}; the codebooks go first")
        if int(codes.min()) < 0 or int(codes.max()) >= size:
            raise InvalidInput(f"{expected}, got {int(codes.min())} to {int(codes.max())}")
        stacked = codes[:, None] if codes.ndim == 2 else codes
        return self._features(rearrange(stacked, "k b l -> b k l").long())

    def _books(self) -> Tensor:
        return rearrange(self.codebook_weights, "(k e) c -> k e c", e=self._config.codebook_size)

    def _codes(self, audio: Tensor, bandwidth: float | None) -> Tensor:
        """Codes `[B, K, L]`."""
        books = self._books()
        count = len(books) if bandwidth is None else self._config.books(bandwidth)
        if count > len(books):
            raise InvalidInput(f"get_encodec_codes: {bandwidth:g} kbps take {count} codebooks, there are {len(books)}")
        return euclidean_codes(self.encodec.encoder(audio[:, None].to(books.dtype)), books[:count])

    def _features(self, codes: Tensor) -> Tensor:
        return euclidean_features(codes, self._books()).to(self.codebook_weights.dtype)

    def _install(self, known: Format[EncodecConfig], file: TensorFile) -> None:
        """Take the encoder from a file of EnCodec."""
        config = Encodec()._fitted(self._config, file.shapes)
        made = math.prod(config.ratios)
        config.require(made == config.hop_length, f"ratios {config.ratios} do not make hop_length {config.hop_length}")
        books = self.codebook_weights
        options = {"device": "cpu" if books.is_meta else books.device, "dtype": books.dtype}
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


@contextmanager
def unfilled(source: object) -> Iterator[None]:
    """Make modules without values; sizes that no tensor can have are an error of their source."""
    try:
        with torch.device("meta"):
            yield
    except (RuntimeError, OverflowError, TypeError) as error:
        raise CheckpointError(f"{source}: no network can have this config: {error}") from error


def condition(bandwidth_id: Any, choices: int) -> int:
    """The one bandwidth of a batch: from an integer, or an integer tensor with one element.

    Raises:
        InvalidInput: if it is none of the choices.
    """
    expected = (
        f"expected bandwidth_id as an integer from 0 to {choices - 1}, or a tensor with one, as torch.tensor([2])"
    )
    if bandwidth_id is None:
        raise InvalidInput(f"{expected}; this vocoder must be told the bandwidth")
    try:
        index = operator.index(bandwidth_id)
    except TypeError:
        shown = f"shape {list(bandwidth_id.shape)}" if isinstance(bandwidth_id, Tensor) else repr(bandwidth_id)[:80]
        raise InvalidInput(f"{expected}; got {shown}; a batch has one bandwidth") from None
    if not 0 <= index < choices:
        raise InvalidInput(f"{expected}; got {index}")
    return index


def check_tensor(value: Any, expected: str, sizes: Sequence[int | None], hint: str) -> None:
    """Raise InvalidInput unless the value is a non-empty float tensor with these sizes, None for any."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise InvalidInput(f"{expected} as a tensor of floats, got {kind}")
    fits = value.ndim == len(sizes) and all(want in (None, size) for want, size in zip(sizes, value.shape, strict=True))
    if not fits or not value.numel():
        raise InvalidInput(f"{expected}, got {list(value.shape)}; {hint}")


def _check_audio(audio: Any, minimum: int) -> None:
    expected = f"expected audio [batch, samples] with at least {minimum} samples"
    check_tensor(audio, expected, [None, None], "audio[None] makes a batch of one clip, audio.mean(1) of channels mono")
    if audio.shape[1] < minimum:
        raise InvalidInput(f"{expected}, got {list(audio.shape)}; complete it with zeros")
