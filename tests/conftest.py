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
from golden_state import golden_state_dict
from safetensors.torch import save_file

from vocos import Voco, get_voco

torch.set_num_threads(1)  # the suite runs in several processes
GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class StandIn:
    """A codec, the golden that holds its stand-in weights, and the stem of its files."""

    name: str
    golden: str
    stem: str


STAND_INS = {
    "mel": StandIn("mel", "optimizerai-mel-small", "mel"),
    "encodec": StandIn("encodec", "optimizerai-encodec-small", "encodec"),
    "dac": StandIn("dac", "dac-original-small", "dac"),
    "dacvae": StandIn("dacvae", "dacvae-original-small", "dac-vae-small"),
    "oobleck": StandIn("oobleck", "oobleck-original-small", "oobleck"),
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
        meta, arrays = golden(item.golden)
        (folder / f"{item.stem}.json").write_text(json.dumps(meta["config"]))
        save_file(golden_state_dict(meta, arrays), folder / f"{item.stem}.safetensors")
    return folder


@pytest.fixture(params=list(STAND_INS))
def small(request: pytest.FixtureRequest, weights: Path) -> Voco[Any]:
    """Each of the five codecs with small weights, not loaded."""
    return get_voco(request.param, weights=weights)
