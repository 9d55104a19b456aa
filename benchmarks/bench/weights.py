"""Random weights of published sizes: nothing is downloaded, and time does not depend on the values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.cases import Network
from vocos.codecs.encodec import FORMATS
from vocos.registry import get_voco
from vocos.voco import Voco
from vocos.weights import export, formats
from vocos.weights.empty import empty

# Ends of the branches that are added to what they came from, and of the decoder, before its tanh: the small stand-in
# weights of the tests have the same gain there, so that nothing saturates.
BRANCHES = (".conv2.", "decoder.conv_out.")
BRANCH_GAIN = 0.3
# Of what ours reads and does not export.
ENCODEC_FILE = "encodec_24khz-d7cc33bc.th"
LAYOUTS: tuple[export.Target[Any], ...] = (
    export.Target("original", FORMATS[1], ("config.json", ENCODEC_FILE), lambda config: config.as_dict()),
)


def write(network: Network, folder: Path) -> None:
    """Write a checkpoint in the layout that both sides read."""
    blank = get_voco(network.voco)
    config = blank.config_type.parse({**blank.config, **network.config})
    module = empty(lambda: blank.build(config)).to_empty(device="cpu")
    fill(module)
    state = module.state_dict()
    if network.layout == "vocos":
        formats.save(folder, state, config.as_dict(), {"voco": network.voco})
    else:
        known = {target.name: target for target in (*LAYOUTS, *type(blank).targets)}
        export.write(folder, state, known[network.layout], config)


def read(network: Network, folder: Path, dtype: str = "float32") -> Voco[Any]:
    """Our codec on what `write` wrote, loaded."""
    return get_voco(network.voco, weights=folder, dtype=getattr(torch, dtype)).load()


def fill(network: nn.Module, seed: int = 0) -> None:
    """Random values under which a signal keeps its size through the layers, the same for the same network."""
    generator = torch.Generator().manual_seed(seed)
    for path, module in network.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data = _value(f"{path}.{leaf}", module, noise)


def _value(name: str, module: nn.Module, noise: Tensor) -> Tensor:
    leaf = name.rpartition(".")[2]
    if leaf in ("alpha", "beta"):
        return 0.3 + 0.1 * noise
    if leaf == "gamma":
        return 0.125 + 0.02 * noise
    if leaf == "weight" and (isinstance(module, nn.LayerNorm) or ".scale." in name):
        return 1.0 + 0.1 * noise
    if noise.ndim < 2 or ".shift." in name:
        return 0.05 * noise
    if isinstance(module, nn.Embedding) or leaf == "codebook_weights":
        return noise
    gain = BRANCH_GAIN if any(part in name for part in BRANCHES) else 1.0
    return gain * noise / math.sqrt(math.prod(noise.shape[1:]))
