"""`Vocos` as PyPI's package of this name had it: a vocoder with its feature extractor, channel-first.

    from vocos import Vocos

    vocos = Vocos.from_pretrained("charactr/vocos-mel-24khz")
    audio = vocos.decode(mel)                                   # [B, 100, L] -> [B, N]

It is a face on the networks of the codecs `mel` and `encodec`, for the checkpoints of charactr's layout. `get_voco`
gives these and others behind one interface.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, get_type_hints

import torch
from torch import Tensor, nn

from vocos.config import Kind, brief, checked, section
from vocos.errors import CheckpointError, InvalidInput, UnsupportedOperation, WeightsUnavailable
from vocos.pypi.checks import unfilled
from vocos.pypi.feature_extractors import EncodecFeatures, FeatureExtractor, MelSpectrogramFeatures
from vocos.pypi.heads import FourierHead
from vocos.pypi.models import Backbone
from vocos.weights import configs, hub
from vocos.weights.location import Location
from vocos.weights.tensors import open_tensors

LAYOUTS = (("config.yaml", "pytorch_model.bin"), ("config.yaml", "model.safetensors"))
PARTS: dict[str, type[nn.Module]] = {"feature_extractor": FeatureExtractor, "backbone": Backbone, "head": FourierHead}
CLASSES = {  # that a config may name, by the public module that has them
    "feature_extractors": ("MelSpectrogramFeatures", "EncodecFeatures"),
    "models": ("VocosBackbone", "VocosResNetBackbone"),
    "heads": ("ISTFTHead", "IMDCTSymExpHead", "IMDCTCosHead"),
    "modules": ("ConvNeXtBlock", "AdaLayerNorm", "ResBlock1"),
    "spectral_ops": ("ISTFT", "MDCT", "IMDCT"),
}
MAX_VALUES = 1 << 28  # of a network made from a config alone: 1 GB; the published ones have 14 million


def instantiate_class(args: Any | tuple[Any, ...], init: Mapping[str, Any]) -> Any:
    """A part of a vocoder as its config describes it.

    Args:
        args: positional arguments, a tuple, or one that is none.
        init: its `class_path`, of which only the last part counts, and `init_args`, by name. It picks one of the
            classes of this face; no other module is imported.

    Raises:
        CheckpointError: if there is no such class, or it does not take these arguments.
    """
    made, options = _described(init, "instantiate_class")
    try:
        return made(*(args if isinstance(args, tuple) else (args,)), **options)
    except TypeError as error:
        raise CheckpointError(f"instantiate_class: {made.__name__}: {error}") from error


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
            return cls(*_parts(path, encodec_weights))

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
        with unfilled(config_path), torch.inference_mode(False):
            return cls(*_parts(config_path, encodec_weights))


def _described(init: Any, name: str, kind: type[nn.Module] = nn.Module) -> tuple[type[nn.Module], dict[str, Any]]:
    """The class of a description and its checked arguments; null ones take the default."""
    path = init.get("class_path") if isinstance(init, Mapping) else init
    last = path.rpartition(".")[2] if isinstance(path, str) else path
    allowed = _classes(kind)
    if not isinstance(last, str) or last not in allowed:
        raise CheckpointError(f"config: {name} is a {brief(last)}, expected one of {', '.join(allowed)}")
    given = init.get("init_args") or {}
    if not isinstance(given, Mapping):
        raise CheckpointError(f"config: init_args of {last} must be a mapping, got {brief(given)}")
    parameters = inspect.signature(allowed[last]).parameters
    kinds = get_type_hints(allowed[last].__init__, include_extras=True)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    options = {key: value for key, value in given.items() if value is not None}
    for key, value in options.items():
        if key not in parameters and not takes_any:
            raise CheckpointError(f"config: {last} has no option {brief(key)}, it has {', '.join(parameters)}")
        options[key] = _checked(key, kinds.get(key), value)
    return allowed[last], options


def _classes(kind: type[nn.Module]) -> dict[str, type[nn.Module]]:
    """The classes of a kind; what a program has put in the place of one counts, as there."""
    homes = {name: importlib.import_module(f"vocos.{module}") for module, names in CLASSES.items() for name in names}
    found = {name: getattr(home, name) for name, home in homes.items()}
    return {name: made for name, made in found.items() if isinstance(made, type) and issubclass(made, kind)}


def _checked(name: str, annotation: Any, value: Any) -> Any:
    """The value as one of this annotation; as it is where a program's own initialiser says what no config has."""
    try:
        kind = Kind.of(tuple[float, ...] if annotation == Sequence[float] else annotation)
    except TypeError:
        return value
    return checked(name, kind, value)


def _parts(path: Path, encodec_weights: str | os.PathLike[str] | None) -> tuple[nn.Module, ...]:
    """Feature extractor, backbone and head of a config file."""
    data = configs.read_config(path)
    try:
        described = {name: _described(section(data, name), name, kind) for name, kind in PARTS.items()}
        options = {name: arguments for name, (_, arguments) in described.items()}
        told = {name: options["backbone"].get(name) for name in ("input_channels", "dim")}
        if issubclass(described["feature_extractor"][0], EncodecFeatures):
            sizes = {"input_channels": told["input_channels"], "hop_length": options["head"].get("hop_length")}
            options["feature_extractor"] |= {key: value for key, value in sizes.items() if value is not None}
            options["feature_extractor"]["encodec_weights"] = encodec_weights
        elif issubclass(described["feature_extractor"][0], MelSpectrogramFeatures):
            _require_one("input_channels", told["input_channels"], options["feature_extractor"].get("n_mels", 100))
        _require_one("dim", told["dim"], options["head"].get("dim"))
        return tuple(made(**options[name]) for name, (made, _) in described.items())
    except (CheckpointError, InvalidInput, UnsupportedOperation, TypeError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _require_one(name: str, *values: Any) -> None:
    if len(set(values)) > 1:
        raise CheckpointError(f"config: two values of {name}, {' and '.join(map(str, values))}")
