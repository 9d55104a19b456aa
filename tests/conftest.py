"""Stand-in checkpoints: small weights made from names and shapes, in the layouts of the public files."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.pop("VOCOS_REPO", None)
os.environ["HF_HUB_OFFLINE"] = "1"  # no test reaches the internet; those of the Hub run in processes of their own

import numpy as np
import pytest
import torch
import yaml
from golden_state import golden_state_dict
from safetensors.torch import save_file

from vocos import Voco, get_voco

torch.set_num_threads(1)  # the suite runs in several processes
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported: its kernels then run on the CPU
GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class StandIn:
    """A codec, the golden that holds its stand-in weights, and the names of its files."""

    name: str
    golden: str
    config: str | None  # None if it is inside the weights
    weights: str
    companion: str | None = None  # beginning of the names that are in a second file

    def write(self, folder: Path) -> None:
        """Write the checkpoint as its public format has it."""
        meta, arrays = golden(self.golden)
        state, config = golden_state_dict(meta, arrays), meta["config"]
        if self.companion:
            apart = {name: state.pop(name) for name in list(state) if name.startswith(self.companion)}
            apart = {name.removeprefix(self.companion): tensor for name, tensor in apart.items()}
            if "encodec" in config:  # two repositories of the Hub
                (folder / "encodec").mkdir()
                (folder / "encodec" / "config.json").write_text(json.dumps(config["encodec"]))
                save_file(apart, folder / "encodec" / "model.safetensors")
                config = config["vocos"]
            else:
                torch.save(apart, folder / "encodec")
        if self.config:
            dump = yaml.safe_dump if self.config.endswith(".yaml") else json.dumps
            (folder / self.config).write_text(dump(config))
        if self.weights.endswith(".safetensors"):
            save_file(state, folder / self.weights)
        elif self.weights.endswith(".bin"):
            torch.save(state, folder / self.weights)
        else:
            torch.save({"state_dict": state, "metadata": {"kwargs": config, "logs": {}}}, folder / self.weights)


# In the layout of the original package
STAND_INS = {
    "mel": StandIn("mel", "optimizerai-mel-small", "mel.json", "mel.safetensors"),
    "encodec": StandIn("encodec", "optimizerai-encodec-small", "encodec.json", "encodec.safetensors"),
    "dac": StandIn("dac", "dac-original-small", "dac.json", "dac.safetensors"),
    "dacvae": StandIn("dacvae", "dacvae-original-small", "dac-vae-small.json", "dac-vae-small.safetensors"),
    "oobleck": StandIn("oobleck", "oobleck-original-small", "oobleck.json", "oobleck.safetensors"),
}
# In the layouts of other public checkpoints
OTHERS = {
    "charactr-mel": StandIn("mel", "charactr-vocos-mel-24khz-small", "config.yaml", "pytorch_model.bin"),
    "charactr-mel-same": StandIn("mel", "charactr-vocos-mel-same-small", "config.yaml", "pytorch_model.bin"),
    "charactr-encodec": StandIn(
        "encodec",
        "charactr-vocos-encodec-24khz-small",
        "config.yaml",
        "pytorch_model.bin",
        "feature_extractor.encodec.",
    ),
    "transformers-encodec": StandIn(
        "encodec", "hf-audio-vocos-encodec-24khz-small", "config.json", "model.safetensors", "encodec."
    ),
    "transformers-mel": StandIn("mel", "hf-audio-vocos-mel-24khz-small", "config.json", "model.safetensors"),
    "descript-dac": StandIn("dac", "dac-descript-small", None, "weights.pth"),
    "transformers-dac": StandIn("dac", "dac-transformers-small", "config.json", "model.safetensors"),
    "facebook-dacvae": StandIn("dacvae", "dacvae-facebook-small", None, "weights.pth"),
    "stable-audio-oobleck": StandIn(
        "oobleck", "oobleck-stable-audio-tools-small", "model_config.json", "model.safetensors"
    ),
}


@functools.cache
def golden(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Description and arrays of a golden."""
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return json.loads((GOLDEN / f"{name}.json").read_text()), dict(arrays)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of the original package, with small weights of the five codecs."""
    folder = tmp_path_factory.mktemp("weights")
    for item in STAND_INS.values():
        item.write(folder)
    return folder


@pytest.fixture(params=list(STAND_INS))
def small(request: pytest.FixtureRequest, weights: Path) -> Voco[Any]:
    """Each of the five codecs with small weights, not loaded."""
    return get_voco(request.param, weights=weights)
