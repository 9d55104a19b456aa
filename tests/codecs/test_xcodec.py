"""X-Codec: every array of its goldens on stored input, its rules, and what it does without the package transformers."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import XCODECS, golden
from counting import Calls
from einops import rearrange
from golden_state import golden_audio
from safetensors.torch import load_file, save_file
from torch import Tensor

from vocos import CheckpointError, InvalidInput, UnsupportedOperation, Voco, get_voco
from vocos.codecs.xcodec import XcodecConfig
from vocos.config import MAX_SIZE
from vocos.nn.semantic import ParameterTree, SemanticConfig, assembled, semantic_shapes
from vocos.weights.formats import OWN_MARK
from vocos.weights.tensors import TensorFile

OURS = ("hop_multiple", "tiny")  # cases that were padded as we pad; the others pin the reference's own paddings
CHECKS = [(key, *array.split("__")) for key, item in XCODECS.items() for array in golden(item.golden)[1]]
LISTENING = {"semantic_mean", "latents"}  # arrays that come out of the semantic model


@pytest.fixture(scope="module")
def folders(folder: Callable[[str], Path]) -> dict[str, Path]:
    """Folders of the stand-in weights."""
    return {key: folder(key) for key in XCODECS}


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> dict[str, Voco[Any]]:
    """Each kind with small weights, loaded once; not to be changed."""
    return {key: get_voco(item.name, weights=folders[key]).load() for key, item in XCODECS.items()}


@pytest.fixture(params=list(XCODECS))
def small(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Voco[Any]:
    """Each kind with small weights, not loaded."""
    return get_voco(XCODECS[request.param].name, weights=folders[request.param])


@pytest.fixture
def listening(small: Voco[Any]) -> Voco[Any]:
    """The same, where encoding is possible."""
    pytest.importorskip("transformers")
    return small


@pytest.fixture
def deaf(small: Voco[Any], monkeypatch: pytest.MonkeyPatch) -> Voco[Any]:
    """The same without the package."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    return small


def noise(samples: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, samples, 1, generator=torch.Generator().manual_seed(samples)) - 0.5


def codes_of(frames: int, books: int = 8) -> Tensor:
    return torch.randint(0, 1024, (1, frames, books), generator=torch.Generator().manual_seed(frames))


# Goldens


@pytest.mark.parametrize(("key", "case", "array"), CHECKS, ids=["-".join(check) for check in CHECKS])
def test_golden(key: str, case: str, array: str, loaded: dict[str, Voco[Any]]) -> None:
    meta, arrays = golden(XCODECS[key].golden)
    if array in LISTENING or (case in OURS and array == "codes"):
        pytest.importorskip("transformers")
    stored = {name.split("__")[1]: torch.from_numpy(v) for name, v in arrays.items() if name.startswith(f"{case}__")}
    with torch.no_grad():
        given = step(loaded[key], meta["cases"][case], array, stored, case in OURS)
    if array == "codes":
        assert torch.equal(given, stored[array].long())
        return
    limit = 10 * meta["cases"][case]["arrays"][array]["max_abs_error_float32_vs_float64"]
    torch.testing.assert_close(given, stored[array], atol=limit, rtol=0.0)


def step(voco: Voco[Any], case: dict[str, Any], array: str, stored: dict[str, Tensor], is_ours: bool) -> Tensor:
    """What the library gives for an array."""
    padded, network = golden_audio(case["audio"]), voco.network
    audio = padded[:, : max(row["n_samples"] for row in case["audio"]["rows"])] if is_ours else padded
    codes = stored["codes"].long()
    match array:
        case "codes":
            return voco.encode_codes(audio) if is_ours else voco.latents_to_codes(stored["latents"])
        case "quantized":
            return voco.codes_to_latents(codes)
        case "audio":
            return voco.decode_codes(codes)
        case "audio_k2":
            return voco.decode_codes(codes[..., :2])
        case "audio_unquantized":
            return voco.decode(stored["latents"])
        case "latents" if is_ours:
            return voco.encode(audio)
    x = rearrange(audio, "b n c -> b c n")
    shifted = F.pad(x, (160, 160)) if case["acoustic_branch_padded"] else x
    match array:
        case "semantic_mean":
            features = network.semantic(x)
        case "semantic":
            features = network.encoder_semantic(rearrange(stored["semantic_mean"], "b l c -> b c l"))
        case "acoustic":
            features = network.encoder(shifted)
        case _:
            features = network.join(network.encoder(shifted), network.encoder_semantic(network.semantic(x)))
    return rearrange(features, "b c l -> b l c")


def test_row_of_a_padded_batch_is_not_what_the_reference_makes_of_it(folders: dict[str, Path]) -> None:
    """It masks nothing, so that the padding of a short row changes all of it; ours is the row alone."""
    pytest.importorskip("transformers")
    meta, arrays = golden("xcodec-small")
    case, reference = meta["cases"]["ragged"], torch.from_numpy(arrays["ragged__codes"]).long()
    audio, lengths = golden_audio(case["audio"]), [row["n_samples"] for row in case["audio"]["rows"]]
    voco = get_voco("xcodec", weights=folders["xcodec"])
    mask = torch.arange(audio.shape[1]) < torch.tensor(lengths)[:, None]
    codes = voco.latents_to_codes(voco.encode(audio, mask=mask))
    assert torch.equal(codes[:1], reference[:1])
    frames = voco.encode_length(lengths[1])
    assert torch.equal(codes[1:, :frames], voco.encode_codes(audio[1:, : lengths[1]]))
    assert (codes[1, :frames] == reference[1, :frames]).float().mean() < 0.9


# Lengths and bandwidths


def test_every_length_has_its_own_frames_and_loses_nothing(listening: Voco[Any]) -> None:
    """Around the lengths at which the reference fails, loses the end or shifts its frames: 80, 312, 320 + 80..."""
    for samples in [*range(1, 20), *range(70, 90), *range(305, 330), *range(395, 405), *range(630, 645), 960, 961]:
        latents = listening.encode(noise(samples))
        frames = -(-samples // 320)
        assert latents.shape == (1, frames, 48)
        assert listening.encode_length(samples) == frames
        assert listening.decode(latents).shape[1] == listening.decode_length(frames) == 320 * frames >= samples


def test_zeros_up_to_the_hop_change_nothing(listening: Voco[Any]) -> None:
    audio = noise(1000)
    latents, same, other = (listening.encode(F.pad(audio, (0, 0, 0, zeros))) for zeros in (0, 280, 281))
    torch.testing.assert_close(latents, same, atol=1e-5, rtol=0.0)
    assert (latents - other[:, :4]).abs().max() > 0.01


@pytest.mark.parametrize(("bandwidth", "books"), [(0.5, 1), (1, 2), (1.5, 3), (2.0, 4), (4, 8)])
def test_bandwidths_are_prefixes_of_the_codes(bandwidth: float, books: int, listening: Voco[Any]) -> None:
    audio = noise(1000)
    codes = listening.encode_codes(audio, bandwidth=bandwidth)
    assert torch.equal(codes, listening.encode_codes(audio)[..., :books])
    assert listening.decode_codes(codes, length=1000).shape == (1, 1000, 1)


def test_bandwidths_and_rates_are_facts(small: Voco[Any]) -> None:
    assert (small.n_codebooks, small.codebook_size, small.bits_per_second) == (8, 1024, 4000.0)
    assert small.bandwidths == (0.5, 1.0, 1.5, 2.0, 4.0)
    with pytest.raises(InvalidInput, match=r"expected bandwidth as one of 0\.5, 1, 1\.5, 2, 4 kbps, got 3"):
        small.encode_codes(noise(1000), bandwidth=3)
    assert not small.is_loaded


def test_codes_are_searched_in_float32(small: Voco[Any]) -> None:
    """Of latents that 16 bits hold; the codebooks are those of the module, rounded."""
    latents = torch.randn(1, 50, 48, generator=torch.Generator().manual_seed(0)).bfloat16()
    half = copy.deepcopy(small).to(torch.bfloat16)
    exact = half.latents_to_codes(latents)
    assert torch.equal(copy.deepcopy(half).to(torch.float32).latents_to_codes(latents.float()), exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(half.latents_to_codes(latents), exact)


# With and without the package


def test_codes_are_decoded_without_transformers(deaf: Voco[Any], tmp_path: Path) -> None:
    sound = deaf.decode_codes(codes_of(5))
    assert sound.shape == (1, 1600, 1)
    latents = deaf.codes_to_latents(codes_of(5))
    assert torch.equal(deaf.decode(latents), sound)
    assert deaf.latents_to_codes(latents).shape == (1, 5, 8)
    deaf.to(torch.float64).to(torch.float32).save(tmp_path)
    again = get_voco("xcodec", weights=tmp_path)
    assert torch.equal(again.decode_codes(codes_of(5)), sound)


def test_encode_without_transformers_says_what_to_install_before_loading(deaf: Voco[Any]) -> None:
    for call in (deaf.encode, deaf.encode_codes):
        with pytest.raises(UnsupportedOperation, match=r"cannot be imported \(.*\); pip install 'transformers>=5'"):
            call(noise(1000))
    assert not deaf.is_loaded


def test_transformers_that_breaks_at_import_is_the_same_error(
    small: Voco[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "transformers.py").write_text("raise OSError('libfoo.so: cannot open shared object file')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnsupportedOperation, match=r"\(OSError: libfoo.so: .*\); pip install 'transformers>=5'"):
        small.encode(noise(1000))


def test_only_encoding_imports_transformers(folders: dict[str, Path], tmp_path: Path) -> None:
    program = f"""
import sys, torch
from vocos import get_voco
voco = get_voco("xcodec", weights={str(folders["xcodec"])!r})
voco.decode_codes(torch.zeros(1, 3, 8, dtype=torch.long))
voco.to(torch.float64).save({str(tmp_path)!r})
print("transformers" in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out == "False\n"


def test_halves_read_their_own_tensors_and_no_others(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder also from a file that has no others; at the published size these are 115 of 710 MB."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    whole = get_voco("xcodec", weights=folders["xcodec"])
    read: list[str] = []
    plain = TensorFile.read
    monkeypatch.setattr(TensorFile, "read", lambda file, name: read.append(name) or plain(file, name))
    half = get_voco("xcodec", weights=folders["xcodec"], part="decoder")
    sound = half.decode_codes(codes_of(5))
    assert len(read) == len(set(read)) == len(half.state_dict())
    assert all(name.startswith(("acoustic_decoder.", "fc2.", "quantizer.")) for name in read)
    decoding = set(read)
    read.clear()
    assert len(get_voco("xcodec", weights=folders["xcodec"], part="encoder").state_dict()) < len(read)  # a norm is two
    assert all(name.startswith("quantizer.") for name in decoding & set(read))
    assert torch.equal(sound, whole.decode_codes(codes_of(5)))

    def without_encoder(state: dict[str, Tensor]) -> None:
        for name in state.keys() - decoding:
            del state[name]

    folder = rewritten(folders["xcodec"], tmp_path, without_encoder)
    assert torch.equal(get_voco("xcodec", weights=folder, part="decoder").decode_codes(codes_of(5)), sound)


@pytest.mark.parametrize("kind", ["hubert", "wavlm"])
def test_names_and_shapes_are_those_of_transformers(kind: str) -> None:
    pytest.importorskip("transformers")
    sizes: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 6, "num_buckets": 20}
    sizes |= {"intermediate_size": 7, "conv_dim": (2, 3, 4, 5, 6, 7, 8), "num_conv_pos_embeddings": 9}
    config = SemanticConfig(semantic_model=kind, num_conv_pos_embedding_groups=2, **sizes)
    shapes = semantic_shapes(config)
    model = assembled(config, ParameterTree(shapes).requires_grad_(False))
    assert [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()] == list(shapes.items())
    assert not any(buffer.is_meta for buffer in model.buffers())
    assert not any(tensor.requires_grad or tensor.is_meta for tensor in model.parameters())


def test_weights_are_the_same_before_and_after_the_model_is_assembled(listening: Voco[Any], tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in listening.state_dict().items()}
    places = {tensor.data_ptr() for tensor in listening.state_dict().values()}
    random = torch.random.get_rng_state()
    with torch.inference_mode():
        listening.encode(noise(1000))
    assert torch.equal(torch.random.get_rng_state(), random)
    after = listening.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {tensor.data_ptr() for tensor in after.values()} == places  # no copy of 378 MB
    assert not any(parameter.requires_grad or parameter.is_inference() for parameter in listening.parameters())
    expected = listening.encode(noise(1000))
    listening.save(tmp_path)
    assert torch.equal(get_voco("xcodec", weights=tmp_path).encode(noise(1000)), expected)
    assert torch.equal(copy.deepcopy(listening).encode(noise(1000)), expected)
    moved = listening.to(torch.float64)
    assert moved.encode(noise(1000)).dtype == torch.float64


def test_two_threads_may_encode_first(listening: Voco[Any]) -> None:
    found: list[Tensor] = []
    barrier = threading.Barrier(4)

    def run() -> None:
        barrier.wait()
        found.append(listening.encode(noise(1000)))

    threads = [threading.Thread(target=run) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(found) == 4
    assert all(torch.equal(given, listening.encode(noise(1000))) for given in found)


def test_semantic_model_stays_in_eval_mode(listening: Voco[Any]) -> None:
    expected = listening.encode(noise(3000))
    assert torch.equal(listening.train().encode(noise(3000)), expected)
    assert listening.network.encoder.training
    assert not any(module.training for module in listening.network.semantic.modules())
    early = copy.deepcopy(listening).train()
    early.network.semantic.model.train()  # by a hand that reaches inside, and is undone by the next call
    early.eval().train()
    assert torch.equal(early.encode(noise(3000)), expected)


# Files


def rewritten(folder: Path, target: Path, change: Any) -> Path:
    """A copy of a checkpoint with other tensors."""
    state = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    change(state)
    save_file(state, target / "model.safetensors")
    (target / "config.json").write_text((folder / "config.json").read_text())
    return target


CONV = "semantic_model.encoder.pos_conv_embed.conv"
MAGNITUDE, DIRECTION = (f"{CONV}.parametrizations.weight.original{i}" for i in range(2))


def test_position_convolution_is_folded_along_the_last_axis(small: Voco[Any], folders: dict[str, Path]) -> None:
    key = "xcodec" if small.name == "xcodec" else "xcodec-wavlm"
    state = load_file(folders[key] / "model.safetensors")
    norm = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(32, 32, 16, groups=4), dim=2)
    norm.parametrizations.weight.original0.data = state[MAGNITUDE]
    norm.parametrizations.weight.original1.data = state[DIRECTION]
    folded = small.state_dict()["network.semantic.model.encoder.pos_conv_embed.conv.weight"]
    torch.testing.assert_close(folded, norm.weight.detach(), atol=1e-6, rtol=0.0)


def test_older_names_of_weight_norm_and_folded_weights_are_read(folders: dict[str, Path], tmp_path: Path) -> None:
    expected = get_voco("xcodec", weights=folders["xcodec"]).load()
    folded = expected.state_dict()["network.semantic.model.encoder.pos_conv_embed.conv.weight"]

    def older(state: dict[str, Tensor]) -> None:
        state[f"{CONV}.weight_g"], state[f"{CONV}.weight_v"] = state.pop(MAGNITUDE), state.pop(DIRECTION)

    def plain(state: dict[str, Tensor]) -> None:
        del state[MAGNITUDE], state[DIRECTION]
        state[f"{CONV}.weight"] = folded.clone()

    for change in (older, plain):
        voco = get_voco("xcodec", weights=rewritten(folders["xcodec"], tmp_path, change))
        assert all(torch.equal(tensor, voco.state_dict()[name]) for name, tensor in expected.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update({MAGNITUDE: torch.ones(32, 1, 1)}), r"\[32, 1, 1\] instead of \[1, 1, 16\]"),
        (lambda state: state.update({MAGNITUDE: torch.ones(1, 1, 1)}), r"\[1, 1, 1\] instead of \[1, 1, 16\]"),
        (lambda state: state.pop(MAGNITUDE), r"1 tensors missing \(.*original0\)"),
        (lambda state: state.pop("semantic_model.encoder.layer_norm.bias"), r"1 tensors missing \(semantic_model.enc"),
        (
            lambda state: state.update({"quantizer.quantizers.8.codebook.embed": torch.ones(1024, 48)}),
            r"1 tensors unexpected \(quantizer.quantizers.8.codebook.embed\)",
        ),
        (lambda state: state.update({"semantic_model.x": torch.ones(1)}), r"1 tensors unexpected \(semantic_model.x\)"),
        (
            lambda state: state.update({"fc2.weight": torch.ones(16, 47)}),
            r"fc2.weight \[16, 47\] instead of \[16, 48\]",
        ),
    ],
)
def test_tensors_are_read_strictly(change: Any, message: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """All of them, also those of the semantic model, without the package."""
    with pytest.raises(CheckpointError, match=message):
        get_voco("xcodec", weights=rewritten(folders["xcodec"], tmp_path, change)).load()


def test_tensors_of_training_may_be_missing(folders: dict[str, Path], tmp_path: Path) -> None:
    def bare(state: dict[str, Tensor]) -> None:
        training = ("fc1", "decoder_semantic", "semantic_model.masked")
        for name in [n for n in state if n.startswith(training) or n.endswith(("_avg", "cluster_size", "inited"))]:
            del state[name]

    folder = rewritten(folders["xcodec"], tmp_path, bare)
    assert get_voco("xcodec", weights=folder).decode_codes(codes_of(2)).shape == (1, 640, 1)


HUGE = 10**400
MOST_CALLS = 1_000_000  # 586 967 for the 256 layers of HuBERT that a config may ask for


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("semantic_model_config", {"model_type": "bert"}, "semantic model 'bert', only hubert and wavlm are known"),
        ("semantic_model_config", {"model_type": "os.system"}, "semantic model 'os.system'"),
        ("semantic_model_config", {"model_type": ["hubert"]}, "semantic_model must be a string"),
        ("semantic_model_config", {"do_stable_layer_norm": True}, "do_stable_layer_norm is True, only False"),
        ("semantic_model_config", {"feat_extract_norm": "layer"}, "feat_extract_norm is 'layer', only 'group'"),
        ("semantic_model_config", {"conv_stride": [5, 2, 2, 2, 2, 2, 1]}, "conv_stride is "),
        ("semantic_model_config", {"hidden_act": "relu"}, "hidden_act is 'relu', only 'gelu'"),
        ("semantic_model_config", {"num_attention_heads": 5}, "num_attention_heads 5 does not divide 32"),
        ("semantic_model_config", {"num_hidden_layers": 257}, "num_hidden_layers must be an integer from 1 to 256"),
        ("semantic_model_config", {"hidden_size": HUGE}, "hidden_size must be an integer from 1 to"),
        ("semantic_model_config", {"conv_dim": [16] * 6}, "conv_dim of 6 convolutions"),
        ("semantic_model_config", {"num_buckets": 3}, "num_buckets 3 up to a distance of 800"),
        ("semantic_model_config", {"layer_norm_eps": 0}, "layer_norm_eps 0.0"),
        ("acoustic_model_config", {"downsampling_ratios": [8, 5, 4]}, "different products"),
        ("acoustic_model_config", {"downsampling_ratios": [5, 4, 2], "upsampling_ratios": [40]}, "40 samples per"),
        ("acoustic_model_config", {"downsampling_ratios": [8, 5, 4, 2, 1]}, "a stride of 1"),
        ("acoustic_model_config", {"hidden_size": "x"}, "acoustic_dim must be an integer"),
        ("", {"target_bandwidths": [1e5]}, "expected 1 to 256 codebooks"),
        ("", {"target_bandwidths": [-1, 4]}, "expected 1 to 256 codebooks"),
        ("", {"target_bandwidths": []}, "target_bandwidths must be a list"),
        ("", {"codebook_size": 1}, "codebook_size 1 codes nothing"),
        ("", {"codebook_dim": 64}, "codebook_dim is 64, only 48 is supported"),
        ("", {"kernel_size": 5}, "kernel_size is 5, only 3 is supported"),
        ("", {"strides": [1, 2]}, "strides is "),
        ("", {"semantic_model_config": 5}, "no section 'semantic_model_config'"),
        ("", {"acoustic_model_config": None}, "no section 'acoustic_model_config'"),
    ],
)
def test_config_that_is_not_known_is_refused(
    section: str, values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = copy.deepcopy(golden("xcodec-small")[0]["config"])
    (config[section] if section else config).update(values)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        get_voco("xcodec", weights=tmp_path)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(XcodecConfig)])
def test_absurd_value_of_any_field_is_refused_at_once(field: str, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={OWN_MARK: "1"})
    kind = XcodecConfig.kinds[field]
    limit = int(kind.range.high) if kind.type is int else MAX_SIZE
    values = [2, limit, limit + 1, HUGE, -1, "x", [limit] * 7, [2] * 7, [HUGE], [1e300], [], {"a": HUGE}]
    for value in values:
        (tmp_path / "config.json").write_text(json.dumps({field: value}))
        with Calls() as calls, pytest.raises(CheckpointError) as caught:
            get_voco("xcodec", weights=tmp_path).load()
        assert len(str(caught.value)) < 1000
        assert calls.count < MOST_CALLS
