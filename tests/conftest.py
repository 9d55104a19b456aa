"""Stand-in checkpoints: small weights made from names and shapes, in the layouts of the public files."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.pop("VOCOS_REPO", None)
os.environ["HF_HUB_OFFLINE"] = "1"  # no test reaches the internet; those of the Hub run in processes of their own

import numpy as np
import pytest
import soundfile
import torch
import yaml
from golden_state import golden_state_dict
from safetensors.torch import save_file

from vocos import Voco, cli, get_voco

torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))  # one, for the suite runs in several processes
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported: its kernels then run on the CPU
Run = Callable[..., tuple[int, str, str]]
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
        state, config = {k: v.clone() for k, v in golden_state_dict(meta, arrays).items()}, meta["config"]
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
        elif self.weights.endswith((".bin", ".th")):
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

# EnCodec with its own decoder, as transformers and as the original code have it
ENCODECS = {
    f"transformers-encodec_{rate}khz": StandIn(
        f"encodec_{rate}khz", f"facebook-encodec_{rate}khz-small", "config.json", "model.safetensors"
    )
    for rate in (24, 32, 48)
} | {
    f"original-encodec_{rate}khz": StandIn(
        f"encodec_{rate}khz", f"original-encodec_{rate}khz-small", "config.json", f"encodec_{rate}khz-{digest}.th"
    )
    for rate, digest in ((24, "d7cc33bc"), (48, "7e698e3e"))
}
# X-Codec, with both kinds of semantic model; its goldens are described in another way than the rest
XCODECS = {
    "xcodec": StandIn("xcodec", "xcodec-small", "config.json", "model.safetensors"),
    "xcodec-wavlm": StandIn("xcodec_wavlm_mls", "xcodec-small-wavlm", "config.json", "model.safetensors"),
}
# Mimi and the codecs made of its halves
CAUSALS = {
    "mimi": StandIn("mimi", "mimi-small", "config.json", "model.safetensors"),
    "original-mimi": StandIn("mimi", "mimi-original-small", "config.json", "model.safetensors"),
    "pocket_tts": StandIn("pocket_tts", "pocket_tts-small", "config.json", "model.safetensors"),
    "original-pocket_tts": StandIn("pocket_tts", "pocket_tts-original-small", "config.json", "model.safetensors"),
    "qwen3_tts": StandIn("qwen3_tts", "qwen3_tts-small", "config.json", "model.safetensors"),
}
SNACS = {
    "snac_24khz": StandIn("snac_24khz", "snac-small", "config.json", "pytorch_model.bin"),
    "snac_32khz": StandIn("snac_32khz", "snac-small-attention", "config.json", "pytorch_model.bin"),
}
WAVTOKENIZERS = {
    "wavtokenizer": StandIn("wavtokenizer", "wavtokenizer-small", "config.json", "model.safetensors"),
    "original-wavtokenizer": StandIn(
        "wavtokenizer_large_speech_75token_v2",
        "wavtokenizer-small-original",
        None,
        "wavtokenizer_large_speech_320_v2.ckpt",
    ),
}
HIGGS = {"higgs_audio_v2": StandIn("higgs_audio_v2", "higgs_audio_v2-small", "config.json", "model.safetensors")}
ALL = HIGGS | WAVTOKENIZERS | SNACS | STAND_INS | OTHERS | ENCODECS | XCODECS | CAUSALS


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


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Gives the folder of any stand-in, by its key, written once."""

    @functools.cache
    def written(key: str) -> Path:
        place = tmp_path_factory.mktemp(key)
        ALL[key].write(place)
        return place

    return written


@pytest.fixture(params=list(STAND_INS))
def small(request: pytest.FixtureRequest, weights: Path) -> Voco[Any]:
    """Each of the five codecs with small weights, not loaded."""
    return get_voco(request.param, weights=weights)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command in an empty folder; gives the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            code = int(stop.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """A stereo file of 0.5 s at 22050 Hz."""
    time = np.arange(11025) / 22050
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * np.stack([440 * time, 660 * time], axis=1)), 22050)
    return path
