"""`Vocos` as PyPI's package of this name had it: a vocoder with its feature extractor, channel-first.

    from vocos import Vocos

    vocos = Vocos.from_pretrained("charactr/vocos-mel-24khz")
    audio = vocos.decode(mel)                                   # [B, 100, L] -> [B, N]

It is a face on the networks of the codecs `mel` and `encodec`, for the checkpoints of charactr's layout. `get_voco`
gives these and others behind one interface.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from vocos.codecs.vocos_encodec import EncodecConfig
from vocos.codecs.vocos_mel import MelConfig
from vocos.config import brief, section
from vocos.errors import CheckpointError, InvalidInput, UnsupportedOperation, WeightsUnavailable
from vocos.nn.spectral import Framing
from vocos.nn.vocoder import Backbone, FourierHead
from vocos.pypi.feature_extractors import (
    EncodecFeatures,
    MelSpectrogramFeatures,
    PublicConstants,
    check_tensor,
    condition,
    unfilled,
)
from vocos.weights import configs, hub
from vocos.weights.hub import Location
from vocos.weights.tensors import open_tensors

LAYOUTS = (("config.yaml", "pytorch_model.bin"), ("config.yaml", "model.safetensors"))
CONFIGS: dict[str, type[MelConfig] | type[EncodecConfig]] = {
    "MelSpectrogramFeatures": MelConfig,
    "EncodecFeatures": EncodecConfig,
}
MAX_VALUES = 1 << 28  # of a network made from a config alone: 1 GB; the published ones have 14 million


class VocosBackbone(Backbone):
    """ConvNeXt blocks; see `Backbone`.

    Shape: `[B, input_channels, L]` -> `[B, L, dim]`.
    """

    def __init__(
        self,
        input_channels: int,
        dim: int,
        intermediate_dim: int,
        num_layers: int,
        layer_scale_init_value: float | None = None,
        adanorm_num_embeddings: int | None = None,
    ) -> None:
        super().__init__(input_channels, dim, intermediate_dim, num_layers, adanorm_num_embeddings or 0)
        self.input_channels, self.conditions = input_channels, adanorm_num_embeddings or 0
        for block in self.convnext:
            nn.init.constant_(block.get_parameter("gamma"), layer_scale_init_value or 1.0 / num_layers)

    def forward(self, x: Tensor, bandwidth_id: Tensor | int | None = None) -> Tensor:
        """Hidden features; `bandwidth_id` picks the row of the AdaLayerNorm tables, if there are any."""
        size, expected = self.input_channels, f"decode: expected features [batch, {self.input_channels}, frames]"
        check_tensor(x, expected, [None, size, None], "features[None] makes a batch of one, transpose(1, 2) swaps axes")
        row = condition(bandwidth_id, self.conditions) if self.conditions else 0
        return super().forward(x.to(self.embed.weight.dtype), row)


class ISTFTHead(FourierHead, PublicConstants):
    """Magnitude and phase, and the inverse STFT; see `FourierHead`.

    Shape: `[B, L, dim]` -> `[B, N]`, N = (L - 1) hop_length for padding "center", L hop_length for "same".
    """

    def __init__(self, dim: int, n_fft: int, hop_length: int, padding: str = "same") -> None:
        framing = Framing(n_fft, hop_length, padding)
        if problem := framing.problem():
            raise InvalidInput(f"ISTFTHead: {problem}")
        super().__init__(dim, framing)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Audio of hidden features, in the dtype of the module."""
        least = self.istft.framing.minimum_frames
        expected = f"head: expected hidden features [batch, frames, {self.out.in_features}], at least {least} frames"
        check_tensor(x, expected, [None, None, self.out.in_features], "they are what the backbone returns")
        if x.shape[1] < least:
            raise InvalidInput(f"{expected}, got {list(x.shape)}; fewer make no sound")
        return super().forward(x)[:, 0].to(self.out.weight.dtype)

    def _constants(self) -> dict[str, Tensor]:
        return {"istft.window": self.istft.window}


class Vocos(nn.Module):
    """A vocoder and the feature extractor that goes with it.

    Args:
        feature_extractor: audio `[B, N]` -> features `[B, C, L]`.
        backbone: features -> hidden features `[B, L, dim]`.
        head: hidden features -> audio `[B, N]`.
    """

    def __init__(self, feature_extractor: nn.Module, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.backbone = backbone
        self.head = head

    @classmethod
    def from_hparams(
        cls, config_path: str | os.PathLike[str], encodec_weights: str | os.PathLike[str] | None = None
    ) -> Self:
        """A vocoder of a `config.yaml`, with random values until `load_state_dict`.

        Args:
            config_path: of the file.
            encodec_weights: as of `EncodecFeatures`.

        Raises:
            WeightsUnavailable: if there is no such file.
            CheckpointError: if it describes no vocoder that this class knows.
        """
        path = Path(config_path)
        if not path.is_file():
            raise WeightsUnavailable(f"config_path: there is no file {str(path)!r}; from_pretrained takes a folder")
        n_values = sum(value.numel() for value in cls._unfilled(path, encodec_weights).parameters())
        if n_values > MAX_VALUES:
            raise CheckpointError(f"{path}: describes a network of {n_values} values, at most {MAX_VALUES} are allowed")
        with torch.device("cpu"), torch.inference_mode(False):
            return cls(*_parts(_config(path), encodec_weights))

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str | os.PathLike[str],
        revision: str | None = None,
        encodec_weights: str | os.PathLike[str] | None = None,
    ) -> Self:
        """A vocoder with its weights, in eval mode.

        Args:
            repo_id: a Hub repository "org/name" or a folder, with `config.yaml` and `pytorch_model.bin` or
                `model.safetensors`.
            revision: branch, tag or commit of the repository.
            encodec_weights: as of `EncodecFeatures`.

        Raises:
            WeightsUnavailable: if they cannot be reached.
            CheckpointError: if what is found is damaged or does not fit.
        """
        location = Location(os.fspath(repo_id), revision=revision)
        config_path = hub.find_config(location, LAYOUTS)
        if config_path is None:
            raise WeightsUnavailable(f"from_pretrained: {location} has no config.yaml; get_voco reads other layouts")
        path = hub.find_weights(location, LAYOUTS, config_path)
        vocos = cls._unfilled(config_path, encodec_weights)
        with torch.inference_mode(False):
            file = open_tensors(path)
            state = {name: file.read(name).float() for name in file.shapes}
            try:
                vocos.load_state_dict(state, assign=True)
            except RuntimeError as error:
                problem = " ".join(str(error).split())[:400]
                raise CheckpointError(f"{path}: does not fit {config_path.name}: {problem}") from error
        return vocos.eval()

    def forward(self, audio_input: Tensor, **kwargs: Any) -> Tensor:
        """Copy synthesis: audio `[B, N]` -> audio `[B, N']` of its features; `bandwidth_id=` as of `decode`."""
        return self.decode(self.feature_extractor(audio_input, **kwargs), **kwargs)

    def decode(self, features_input: Tensor, **kwargs: Any) -> Tensor:
        """Audio `[B, N]` of features `[B, C, L]`, without gradients.

        Args:
            features_input: as the feature extractor gives them.
            **kwargs: `bandwidth_id=`, which a vocoder of EnCodec's features needs and one of mel does not look at.

        Raises:
            InvalidInput: if the features or the bandwidth do not fit.
        """
        with torch.no_grad():
            audio: Tensor = self.head(self.backbone(features_input, **kwargs))
        return audio

    def codes_to_features(self, codes: Tensor) -> Tensor:
        """Features `[B, C, L]` of EnCodec's codes `[K, B, L]`, or `[K, L]` for one clip.

        Raises:
            UnsupportedOperation: if the features are not EnCodec's.
            InvalidInput: if the codes do not fit.
        """
        if not isinstance(self.feature_extractor, EncodecFeatures):
            raise UnsupportedOperation(
                f"codes_to_features: {type(self.feature_extractor).__name__} has no codes; "
                "charactr/vocos-encodec-24khz has"
            )
        with torch.no_grad():
            return self.feature_extractor.codes_to_features(codes)

    @classmethod
    def _unfilled(cls, config_path: Path, encodec_weights: str | os.PathLike[str] | None) -> Self:
        """A vocoder whose parameters have no values."""
        config = _config(config_path)
        with unfilled(config_path), torch.inference_mode(False):
            return cls(*_parts(config, encodec_weights))


def _config(path: Path) -> MelConfig | EncodecConfig:
    """The config of a file; its classes are only compared, by the last part of their paths."""
    data = configs.read_config(path)
    try:
        found = section(data, "feature_extractor").get("class_path")
        name = found.rpartition(".")[2] if isinstance(found, str) else found
        if not isinstance(name, str) or name not in CONFIGS:
            raise CheckpointError(f"config: feature_extractor is a {brief(name)}, expected one of {', '.join(CONFIGS)}")
        return CONFIGS[name].parse(data)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _parts(
    config: MelConfig | EncodecConfig, encodec_weights: str | os.PathLike[str] | None
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Feature extractor, backbone and head of a config."""
    features: nn.Module
    if isinstance(config, MelConfig):
        names = ("sample_rate", "n_fft", "hop_length", "n_mels", "padding", "f_min", "f_max", "mel_scale", "norm")
        features = MelSpectrogramFeatures(**{name: getattr(config, name) for name in names})
        channels, conditions = config.n_mels, None
    else:
        features = EncodecFeatures(config, encodec_weights)
        channels, conditions = config.input_channels, len(config.bandwidths)
    sizes = (channels, config.dim, config.intermediate_dim, config.num_layers)
    backbone = VocosBackbone(*sizes, adanorm_num_embeddings=conditions)
    return features, backbone, ISTFTHead(config.dim, config.n_fft, config.hop_length, config.head_padding)
