"""The config of the training run that audiocraft writes beside the weights of its EnCodec (MusicGen's, AudioGen's).

    compression_model: encodec
    sample_rate: 32000              values refer to others: ${sample_rate}
    channels: 1
    encodec: {autoencoder: seanet, quantizer: rvq, sample_rate, channels, causal, renormalize}
    seanet: {dimension, channels, causal, n_filters, ratios, ..., encoder: {}, decoder: {trim_right_ratio}}
    rvq: {n_q, bins}

Source: github.com/facebookresearch/audiocraft, MIT (`config/model/encodec/default.yaml`,
`audiocraft/models/builders.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vocos.config import brief, expect, section
from vocos.errors import CheckpointError

MARKER = "seanet"  # the section that tells such a config from the others
MAX_REFERENCES = 8  # from one value to the next
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")

# Options that the network here has no other value of, and what each is where a file leaves it out.
ONLY = {"activation": "ELU", "norm_params": {}, "disable_norm_outer_blocks": 0}
ONLY_ELU: tuple[Any, ...] = ({"alpha": 1.0}, {}, None)
SHARED: tuple[str, ...] = (
    "dimension",
    "n_filters",
    "n_residual_layers",
    "ratios",
    "norm",
    "kernel_size",
    "residual_kernel_size",
)
SHARED += ("last_kernel_size", "dilation_base", "pad_mode", "true_skip", "compress", "lstm", "causal", "channels")
REQUIRED = ("dimension", "channels", "n_filters", "ratios", "sample_rate", "n_q", "bins")
DEFAULTS = {"pad_mode": "constant", "true_skip": True, "causal": False}  # otherwise than in the first EnCodec


def hyperparameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of such a config, under the names of the original EnCodec.

    Raises:
        CheckpointError: if it describes a network of another kind, or contradicts itself.
    """
    expect(config, "compression_model", "encodec", default="encodec")
    codec = {name: _resolved(config, value) for name, value in section(config, "encodec").items()}
    expect(codec, "autoencoder", "seanet", default="seanet")
    expect(codec, "quantizer", "rvq", default="rvq")
    shared = {name: _resolved(config, value) for name, value in section(config, MARKER).items()}
    encoder, decoder = ({**shared, **(shared.get(half) or {})} for half in ("encoder", "decoder"))
    for half in (encoder, decoder):
        for name, value in ONLY.items():
            expect(half, name, value, default=value)
        if half.get("activation_params") not in ONLY_ELU:
            raise CheckpointError(f"config: activation_params {brief(half['activation_params'])}")
    expect(decoder, "final_activation", None)
    for name in SHARED:
        expect(decoder, name, encoder.get(name))
    sizes = DEFAULTS | {name: encoder[name] for name in SHARED if encoder.get(name) is not None}
    for name in ("causal", "channels"):
        expect(codec, name, sizes.get(name), default=sizes.get(name))
    rate = codec.get("sample_rate", _resolved(config, config.get("sample_rate")))
    expect(config, "sample_rate", rate, default=rate)
    quantizer = {name: _resolved(config, value) for name, value in section(config, "rvq").items()}
    found = sizes | {
        "sample_rate": rate,
        "normalize": codec.get("renormalize", False),
        "trim_right_ratio": decoder.get("trim_right_ratio"),
        "n_q": quantizer.get("n_q"),
        "bins": quantizer.get("bins"),
    }
    if missing := [name for name in REQUIRED if found.get(name) is None]:
        raise CheckpointError(f"config: audiocraft's says no {', '.join(missing)}")
    return found


def _resolved(config: Mapping[str, Any], value: Any) -> Any:
    """A value of the config, after following a reference to another place of the config."""
    for _ in range(MAX_REFERENCES):
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return value
        place: Any = config
        for name in match[1].split("."):
            place = place.get(name) if isinstance(place, Mapping) else None
        value = place
    raise CheckpointError(f"config: {brief(value)} refers to itself")
