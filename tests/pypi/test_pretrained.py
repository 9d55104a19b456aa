"""PyPI's `vocos` and this package: the same calls, the same numbers."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import GOLDEN, OTHERS, golden
from golden_state import golden_audio, golden_state_dict
from loopback_hub import LoopbackHub
from pypi_calls import every_way
from torch import Tensor

import vocos.pretrained
from vocos import CheckpointError, InvalidInput, UnsupportedOperation, Vocos, WeightsUnavailable, get_voco
from vocos.feature_extractors import EncodecFeatures, MelSpectrogramFeatures

KEYS = ("charactr-mel", "charactr-mel-same", "charactr-encodec")
OTHER_PYTHON = os.environ.get("VOCOS_PYPI_PYTHON")  # with PyPI's vocos; pypi_calls.py says how to make one
ENCODEC = "feature_extractor.encodec."


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stand-ins in charactr's layout, and what both packages are given."""
    found = {}
    for key in KEYS:
        found[key] = folder = tmp_path_factory.mktemp(key)
        OTHERS[key].write(folder)
        meta, _ = golden(OTHERS[key].golden)
        rows = [{"n_samples": 1500, "seed": seed} for seed in (2, 3)]
        audio = golden_audio({**meta["cases"]["main"]["audio"], "n_samples": 1500, "rows": rows})[..., 0]
        given = {"audio": audio.numpy()}
        if key == "charactr-encodec":
            given["codes"] = np.random.default_rng(0).integers(0, 1024, (8, 4))
            (folder / "sizes.json").write_text(json.dumps(meta["encodec_config"]))
        np.savez(folder / "given.npz", **given)
    return found


def made(folders: dict[str, Path], key: str) -> Vocos:
    return Vocos.from_pretrained(folders[key], encodec_weights=companion(folders[key]))


def companion(folder: Path) -> Path | None:
    return folder / "encodec" if (folder / "encodec").exists() else None


def ours(folder: Path, monkeypatch: pytest.MonkeyPatch, features: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The answers of this package, from features on if some are given; its EnCodec is that of the folder."""
    plain = Vocos.from_hparams
    monkeypatch.setattr(Vocos, "from_hparams", lambda path: plain(path, companion(folder)))
    return every_way(Vocos, EncodecFeatures, folder, features)


def assert_same(given: dict[str, Any], want: dict[str, Any]) -> None:
    assert set(given) == set(want)
    for name, array in want.items():
        if array.dtype.kind in "iU":
            assert given[name].tolist() == array.tolist(), name
        elif name == "features":  # log-mel: the quietest bands are rounding
            np.testing.assert_allclose(np.exp(given[name]), np.exp(array), atol=1e-4, rtol=1e-4, err_msg=name)
        elif name.startswith("call") and "features" in want:  # of audio: those bands come in, and out a little off
            np.testing.assert_allclose(given[name], array, atol=2e-2, rtol=0, err_msg=name)
        else:  # at most 5e-7 apart on one machine; another one rounds its matrix products otherwise
            np.testing.assert_allclose(given[name], array, atol=2e-5, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("key", KEYS)
def test_every_call_gives_what_pypis_gave(key: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(GOLDEN / f"pypi-vocos-0.1.0-{key}.npz") as arrays:
        want = dict(arrays)
        assert_same(ours(folders[key], monkeypatch, want.get("features")), want)


@pytest.mark.pypi
@pytest.mark.skipif(OTHER_PYTHON is None, reason="VOCOS_PYPI_PYTHON names no interpreter with PyPI's vocos")
@pytest.mark.parametrize("key", [*KEYS, "published-size"])
def test_every_call_gives_what_pypis_gives(
    key: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folders.get(key) or published_size(tmp_path, folders["charactr-mel"])
    program = Path(__file__).parents[1] / "pypi_calls.py"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(OTHER_PYTHON), "-W", "ignore", str(program), str(tmp_path / "out.npz"), str(folder)]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True)
    if "VOCOS_PYPI_STORE" in os.environ and key in KEYS:
        shutil.copy(tmp_path / "out.npz", GOLDEN / f"pypi-vocos-0.1.0-{key}.npz")
    with np.load(tmp_path / "out.npz") as arrays:
        assert_same(ours(folder, monkeypatch), dict(arrays))


def published_size(folder: Path, small: Path) -> Path:
    """charactr/vocos-mel-24khz with other values."""
    config = yaml.safe_load((small / "config.yaml").read_text())
    config["feature_extractor"]["init_args"] |= {"n_fft": 1024, "hop_length": 256, "n_mels": 100}
    config["backbone"]["init_args"] |= {"input_channels": 100, "dim": 512, "intermediate_dim": 1536, "num_layers": 8}
    config["head"]["init_args"] |= {"dim": 512, "n_fft": 1024, "hop_length": 256}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    torch.save(Vocos.from_hparams(folder / "config.yaml").state_dict(), folder / "pytorch_model.bin")
    np.savez(folder / "given.npz", audio=np.load(small / "given.npz")["audio"])
    return folder


CASES = [
    (key, *array.split("__"))
    for key in KEYS
    for array in golden(OTHERS[key].golden)[1]
    if not array.startswith("const__") and not array.endswith("audio_tail")  # past the end, which PyPI's cuts
]


@pytest.mark.parametrize(("key", "case", "array"), CASES, ids=["-".join(case) for case in CASES])
def test_golden(key: str, case: str, array: str, folders: dict[str, Path]) -> None:
    meta, arrays = golden(OTHERS[key].golden)
    want = torch.from_numpy(arrays[f"{case}__{array}"])
    stored = {name.split("__")[1]: torch.from_numpy(value) for name, value in arrays.items() if f"{case}__" in name}
    model, row = made(folders, key), int(array[-1]) if array[-1].isdigit() else None
    audio = golden_audio(meta["cases"]["main" if case == "decode_min" else case]["audio"])[..., 0]
    if array == "embeddings":
        given = model.feature_extractor.encodec.encoder(audio[:, None]).mT
    elif array == "codes":
        model.feature_extractor.encodec.set_target_bandwidth({16: 12.0, 8: 6.0}[len(want)])
        assert torch.equal(model.feature_extractor.get_encodec_codes(audio), want.long())
        return
    elif array.startswith("features_id"):
        books = model.feature_extractor._config.codebooks_for(model.feature_extractor.bandwidths[row])
        given = model.codes_to_features(stored["codes"][:books]).mT
        torch.testing.assert_close(model.feature_extractor(audio, bandwidth_id=torch.tensor([row])).mT, given)
    elif array.startswith("audio_id"):
        features = stored[array.replace("audio", "features")].mT
        given = model.decode(features, bandwidth_id=torch.tensor([row]))[..., None]
        copied = model(audio, bandwidth_id=torch.tensor([row]))[..., None]
        torch.testing.assert_close(copied, want, atol=1e-4, rtol=1e-4)
    elif array == "latents":
        given, want = model.feature_extractor(audio).mT.exp(), want.exp()
    else:
        latents = torch.from_numpy(arrays["short__latents" if case == "decode_min" else f"{case}__latents"])
        if case == "decode_min":
            latents = latents[:, : model.head.istft.framing.minimum_frames]
        given = model.decode(latents.mT)[..., None]
    torch.testing.assert_close(given, want, atol=1e-4, rtol=1e-4)


# Checkpoints and state dicts


@pytest.mark.parametrize("key", KEYS)
def test_state_dict_has_the_names_of_the_file_and_loads_strictly(key: str, folders: dict[str, Path]) -> None:
    model = made(folders, key)
    state = torch.load(folders[key] / "pytorch_model.bin", weights_only=True)
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
        name: tensor.shape for name, tensor in state.items()
    }
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=1e-5)
    outer = torch.nn.ModuleDict({"vocoder": Vocos.from_hparams(folders[key] / "config.yaml")})
    outer.load_state_dict({f"vocoder.{name}": tensor for name, tensor in state.items()})
    assert torch.equal(outer["vocoder"].head.out.weight, model.head.out.weight)
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict({name: tensor for name, tensor in state.items() if name != "head.out.bias"})
    with pytest.raises(RuntimeError, match="Unexpected key"):
        model.load_state_dict({**state, "head.more": torch.zeros(1)})
    constants = [name for name in state if name.endswith((".window", ".fb"))]
    model.load_state_dict({name: tensor for name, tensor in state.items() if name not in constants})
    model.load_state_dict({**state, "head.istft.window": state["head.istft.window"] + 0.1})
    assert torch.equal(model.head.istft.window, state["head.istft.window"] + 0.1)  # as any buffer
    model.load_state_dict({name: tensor.half() for name, tensor in state.items()}, assign=True)
    assert {model.get_buffer(name).dtype for name in constants} == {torch.float32}


def test_state_dict_that_pypis_saved_brings_its_encodec(folders: dict[str, Path]) -> None:
    key = "charactr-encodec"
    whole = golden_state_dict(*golden(OTHERS[key].golden))
    assert any(name.startswith(f"{ENCODEC}quantizer.") for name in whole)
    audio, told = torch.rand(1, 2000) - 0.5, torch.tensor([2])
    wanted = made(folders, key)(audio, bandwidth_id=told)

    model = Vocos.from_hparams(folders[key] / "config.yaml", encodec_weights="absent/repository")
    model.load_state_dict(whole)
    assert torch.equal(model(audio, bandwidth_id=told), wanted)
    again = Vocos.from_hparams(folders[key] / "config.yaml", encodec_weights="absent/repository")
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(audio, bandwidth_id=told), wanted)

    halved = {name: tensor for name, tensor in whole.items() if not name.endswith("weight_g")}
    with pytest.raises(CheckpointError, match="tensors missing"):
        again.load_state_dict(halved)


def test_file_that_pypis_saved_brings_its_encodec(folders: dict[str, Path], tmp_path: Path) -> None:
    key = "charactr-encodec"
    shutil.copy(folders[key] / "config.yaml", tmp_path)
    torch.save(golden_state_dict(*golden(OTHERS[key].golden)), tmp_path / "pytorch_model.bin")
    model = Vocos.from_pretrained(tmp_path, encodec_weights="absent/repository")
    audio = torch.rand(1, 2000) - 0.5
    assert torch.equal(model(audio, bandwidth_id=0), made(folders, key)(audio, bandwidth_id=0))


def test_codes_need_no_encodec(folders: dict[str, Path]) -> None:
    model = Vocos.from_pretrained(folders["charactr-encodec"], encodec_weights="absent/repository")
    model = copy.deepcopy(model.to(torch.float64))
    features = model.codes_to_features(torch.randint(0, 1024, (8, 20)))
    assert model.decode(features, bandwidth_id=torch.tensor([2])).shape == (1, 20 * 320)
    with pytest.raises(WeightsUnavailable, match="absent/repository"):
        model(torch.zeros(1, 3000), bandwidth_id=torch.tensor([2]))


def test_encodec_that_comes_late_follows_the_dtype_and_the_mode(folders: dict[str, Path]) -> None:
    model = made(folders, "charactr-encodec").to(torch.float64)
    with torch.inference_mode():
        assert not any(parameter.is_inference() for parameter in model.feature_extractor.encodec.parameters())
    assert {parameter.dtype for parameter in model.feature_extractor.encodec.parameters()} == {torch.float64}
    assert not model.feature_extractor.encodec.training
    assert not any(parameter.requires_grad for parameter in model.feature_extractor.parameters())


def test_encodec_at_another_frame_rate_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    faster = {"feature_extractor": {"bandwidths": [3.0, 6.0, 12.0, 24.0]}, "head": {"hop_length": 160}}
    folder = changed(folders["charactr-encodec"], tmp_path, **faster)
    model = Vocos.from_pretrained(folder, encodec_weights=folder / "encodec")
    with pytest.raises(CheckpointError, match=r"ratios \(8, 5, 4, 2\) do not make hop_length 160"):
        model.feature_extractor.encodec  # noqa: B018


def test_codec_of_the_same_files_gives_the_same_sound(folders: dict[str, Path]) -> None:
    folder, codes = folders["charactr-encodec"], torch.randint(0, 1024, (8, 20))
    voco = get_voco("encodec", weights=folder, encodec_weights=folder / "encodec")
    model = made(folders, "charactr-encodec")
    sound = model.decode(model.codes_to_features(codes), bandwidth_id=torch.tensor([2]))
    torch.testing.assert_close(sound[..., None], voco.decode_codes(codes.mT[None]))
    audio = torch.rand(2, 5000) - 0.5
    voco, model = get_voco("mel", weights=folders["charactr-mel"]), made(folders, "charactr-mel")
    torch.testing.assert_close(model(audio)[..., None], voco.decode(voco.encode(audio[..., None])))


def test_repository_and_revision_are_fetched_once(folders: dict[str, Path], tmp_path: Path) -> None:
    for name in ("mel", "encodec"):
        folder = tmp_path / "root" / "charactr" / f"vocos-{name}-24khz"
        folder.mkdir(parents=True)
        for file in ("config.yaml", "pytorch_model.bin"):
            shutil.copy(folders[f"charactr-{name}"] / file, folder)
    program = """
import torch
from vocos.pretrained import Vocos
for _ in range(2):
    vocos = Vocos.from_pretrained("charactr/vocos-mel-24khz", revision="main")
print(vocos.decode(torch.zeros(1, 20, 5)).shape)
vocos = Vocos.from_pretrained(repo_id="charactr/vocos-encodec-24khz")
print(vocos.decode(vocos.codes_to_features(torch.zeros(8, 5).long()), bandwidth_id=torch.tensor([2])).shape)
try:
    Vocos.from_pretrained("charactr/vocos-mel-24khz", revision="missing")
except OSError as error:
    print(error)
"""
    with LoopbackHub(tmp_path / "root") as hub:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "VOCOS_"))}
        environment = {**inherited, **hub.environment(tmp_path / "cache")}
        command = [sys.executable, "-W", "ignore", "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[:2] == ["torch.Size([1, 256])", "torch.Size([1, 1600])"]
        assert "no revision 'missing'" in done.stdout
        assert {(request.repo, request.file) for request in hub.matching() if request.method == "GET"} == {
            (f"charactr/vocos-{name}-24khz", file)
            for name in ("mel", "encodec")
            for file in ("config.yaml", "pytorch_model.bin")
        }
        assert hub.count("GET") == 4


def test_safetensors_beside_the_config_are_read(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    shutil.copy(folders["charactr-mel"] / "config.yaml", tmp_path)
    save_file(made(folders, "charactr-mel").half().state_dict(), tmp_path / "model.safetensors")
    model = Vocos.from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def changed(folder: Path, target: Path, **parts: Any) -> Path:
    """A copy of a stand-in with other arguments in its config; None takes a part away."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for name, value in parts.items():
        if isinstance(value, dict):
            config[name]["init_args"] |= value
        else:
            config[name] = value
    (target / "config.yaml").write_text(yaml.safe_dump(config))
    return target


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"feature_extractor": None}, "no section 'feature_extractor'"),
        ({"feature_extractor": {"n_mels": 10**9}}, "n_mels must be an integer from 1"),
        ({"backbone": {"input_channels": 30}}, "two values of input_channels"),
        ({"backbone": {"dim": 64}}, "two values of dim"),
        ({"backbone": {"num_layers": 3}}, "does not fit config.yaml: .*Missing key"),
        ({"backbone": {"intermediate_dim": 1 << 20}}, "does not fit config.yaml: .*size mismatch"),
        ({"backbone": {"dim": 1 << 20}, "head": {"dim": 1 << 20}}, "does not fit config.yaml: .*size mismatch"),
        ({"backbone": {"intermediate_dim": [1]}}, "intermediate_dim must be an integer"),
        ({"head": {"padding": "reflect"}}, "padding 'reflect' is neither"),
        ({"head": None}, "no section 'head'"),
        ({"head": {"dimension": 3}}, "ISTFTHead has no option 'dimension', it has dim, n_fft"),
        ({"backbone": ["x"]}, "no section 'backbone'"),
    ],
)
def test_config_that_does_not_fit_is_refused(
    parts: dict[str, Any], message: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        Vocos.from_pretrained(changed(folders["charactr-mel"], tmp_path, **parts))


@pytest.mark.parametrize("path", ["os.system", "vocos.feature_extractors.Other", 3, None, ["x"], "a." * 10**5])
def test_class_of_a_config_is_compared_and_never_imported(path: Any, folders: dict[str, Path], tmp_path: Path) -> None:
    config = yaml.safe_load((folders["charactr-mel"] / "config.yaml").read_text())
    config["feature_extractor"]["class_path"] = path
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match=r"config\.yaml: config: feature_extractor is a .*MelSpectrogramFeatures"):
        Vocos.from_hparams(tmp_path / "config.yaml")


def test_config_alone_cannot_fill_the_memory(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(folders["charactr-mel"], tmp_path, backbone={"intermediate_dim": 1 << 20, "num_layers": 256})
    with pytest.raises(CheckpointError, match="describes a network of 17.* values"):
        Vocos.from_hparams(folder / "config.yaml")


def test_places_without_a_checkpoint_are_said(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="there is no file"):
        Vocos.from_hparams(tmp_path)
    with pytest.raises(WeightsUnavailable, match="has no config.yaml; get_voco reads other layouts"):
        Vocos.from_pretrained(tmp_path)
    shutil.copy(folders["charactr-mel"] / "config.yaml", tmp_path)
    with pytest.raises(WeightsUnavailable, match="has none of pytorch_model.bin"):
        Vocos.from_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        Vocos.from_pretrained(tmp_path)
    with pytest.raises(WeightsUnavailable, match="there is no file or folder"):
        Vocos.from_hparams(folders["charactr-encodec"] / "config.yaml", encodec_weights="./absent")


# Modules


def test_vocoder_of_a_config_alone_is_finite_and_trainable_as_there(folders: dict[str, Path]) -> None:
    for key in KEYS:
        model = Vocos.from_hparams(folders[key] / "config.yaml")
        assert model.training
        features = torch.randn(1, model.backbone.input_channels, 9)
        assert model.decode(features, bandwidth_id=0).isfinite().all()
        model.head(model.backbone(features, bandwidth_id=0)).sum().backward()
        assert all(parameter.grad is not None for parameter in model.backbone.parameters())


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 0.02), (torch.bfloat16, 0.1), (torch.float64, 1e-4)])
@pytest.mark.parametrize("key", KEYS)
def test_dtype_of_the_module_is_that_of_the_sound(
    key: str, dtype: torch.dtype, error: float, folders: dict[str, Path]
) -> None:
    model = made(folders, key)
    features = torch.randn(1, model.backbone.input_channels, 9)
    want = model.decode(features, bandwidth_id=1)
    model.to(dtype)
    given = model.decode(features.to(dtype), bandwidth_id=1)
    assert given.dtype == dtype
    assert (given.float() - want).abs().max() < error * want.abs().max()
    audio = torch.rand(1, 3000, dtype=dtype) - 0.5
    assert model(audio, bandwidth_id=1).dtype == dtype
    assert model.feature_extractor(audio, bandwidth_id=1).dtype == dtype
    assert model(audio.float(), bandwidth_id=1).dtype == dtype


def test_autocast_gives_sound_in_the_dtype_of_the_module(folders: dict[str, Path]) -> None:
    model, audio = made(folders, "charactr-mel"), torch.rand(1, 3000) - 0.5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = model(audio)
    assert given.dtype == torch.float32
    assert (given - model(audio)).abs().max() < 0.1 * model(audio).abs().max()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("key", KEYS)
def test_copies_give_the_same_sound(key: str, copied: Any, folders: dict[str, Path]) -> None:
    model = made(folders, key)
    audio = torch.rand(1, 3000) - 0.5
    assert torch.equal(copied(model)(audio, bandwidth_id=0), model(audio, bandwidth_id=0))


def test_sound_has_no_graph_and_may_be_changed(folders: dict[str, Path]) -> None:
    model = made(folders, "charactr-mel")
    sound = model(torch.rand(1, 3000) - 0.5)
    assert not sound.requires_grad
    sound.mul_(2).numpy()
    with torch.inference_mode():
        model = made(folders, "charactr-mel")
    model.head(model.backbone(torch.randn(1, 20, 9))).sum().backward()


def test_parts_of_ones_own_make_a_vocoder(folders: dict[str, Path]) -> None:
    model = made(folders, "charactr-mel")
    audio = torch.rand(1, 3000) - 0.5
    features = MelSpectrogramFeatures(sample_rate=24000, n_fft=256, hop_length=64, n_mels=20, padding="center")
    again = Vocos(feature_extractor=features, backbone=model.backbone, head=model.head)
    assert torch.equal(again(audio), model(audio))
    assert MelSpectrogramFeatures()(audio).shape == (1, 100, 12)
    assert vocos.pretrained.ISTFTHead(8, 64, 16)(torch.zeros(1, 5, 8)).shape == (1, 5 * 16)
    with pytest.raises(InvalidInput, match="padding 'none' is neither"):
        MelSpectrogramFeatures(padding="none")
    with pytest.raises(InvalidInput, match="frames must overlap"):
        vocos.pretrained.ISTFTHead(8, 64, 64)


# Bad input


def wrong(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        call(*arguments, **options)
    return str(caught.value)


def test_bad_audio_is_refused(folders: dict[str, Path]) -> None:
    for key in KEYS:
        model = Vocos.from_pretrained(folders[key], encodec_weights="absent/repository")
        bad: list[Any] = [torch.zeros(1, 3000).short(), torch.rand(0, 3000), torch.tensor(1.0)]
        if key == "charactr-encodec":
            bad += [torch.rand(3000), torch.rand(1, 1, 3000)]
        for audio in [*bad, torch.rand(1, 0), np.zeros((1, 3000)), None]:
            assert "expected audio [batch, samples]" in wrong(model, audio, bandwidth_id=0)
    model = made(folders, "charactr-mel")
    assert "at least 129 samples, got [1, 128]; complete it" in wrong(model, torch.rand(1, 128))
    assert "at least 97 samples, got [1, 96]" in wrong(made(folders, "charactr-mel-same"), torch.rand(1, 96))


def test_bad_features_and_codes_are_refused(folders: dict[str, Path]) -> None:
    mel, encodec = made(folders, "charactr-mel"), made(folders, "charactr-encodec")
    for features in (torch.rand(20, 9), torch.rand(1, 9, 20), torch.zeros(1, 20, 9).long(), torch.rand(1, 20, 0), None):
        assert "expected features [batch, 20, frames]" in wrong(mel.decode, features)
    assert "at least 2 frames" in wrong(mel.decode, torch.rand(1, 20, 1))
    for bandwidth in (None, 4, -1, 6.0, torch.tensor([1, 2]), torch.tensor([7]), torch.tensor(2.0), "2"):
        assert "expected bandwidth_id" in wrong(encodec.decode, torch.rand(2, 16, 9), bandwidth_id=bandwidth)
        assert "expected bandwidth_id" in wrong(encodec, torch.rand(2, 999), bandwidth_id=bandwidth)
    codes = torch.randint(0, 1024, (8, 20))
    bad: list[Any] = [codes.float(), codes + 1024, codes - 1024, codes[0], codes[:, :0], codes.repeat(3, 1), None]
    for given in [*bad, codes[None, None], codes.bool()]:
        assert "expected integer codes [1 to 16, batch, frames] from 0 to 1023" in wrong(
            encodec.codes_to_features, given
        )
    encodec.feature_extractor.encodec.set_target_bandwidth(24.0)
    assert "24 kbps take 32 codebooks, there are 16" in wrong(
        encodec.feature_extractor.get_encodec_codes, torch.rand(1, 999)
    )
    with pytest.raises(UnsupportedOperation, match="MelSpectrogramFeatures has no codes"):
        mel.codes_to_features(codes)


def test_one_bandwidth_may_be_told_as_an_integer_or_a_tensor(folders: dict[str, Path]) -> None:
    model = made(folders, "charactr-encodec")
    features: Tensor = torch.randn(2, 16, 9)
    want = model.decode(features, bandwidth_id=torch.tensor([3]))
    assert not torch.equal(want, model.decode(features, bandwidth_id=torch.tensor([2])))
    for told in (3, torch.tensor(3), torch.tensor([[3]])):
        assert torch.equal(model.decode(features, bandwidth_id=told), want)


def test_nothing_of_this_warns(folders: dict[str, Path]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(folders, "charactr-encodec")(torch.rand(1, 999), bandwidth_id=0)
