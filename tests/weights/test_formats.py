"""Files that are not what they should be, and those that are the same in other words."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import STAND_INS
from safetensors.torch import load_file, save_file
from torch import Tensor

from vocos import CheckpointError, get_voco
from vocos.config import MAX_SIZE
from vocos.weights.configs import MAX_CONFIG_BYTES
from vocos.weights.tensors import open_tensors

Tensors = dict[str, Tensor]


@pytest.fixture
def folder(weights: Path, tmp_path: Path) -> Path:
    """A copy of the stand-in weights that a test may damage."""
    return Path(shutil.copytree(weights, tmp_path / "weights"))


def rewrite(path: Path, change: Callable[[Tensors], Any]) -> None:
    """Change the tensors of a file."""
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


def reconfigure(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class TestDamage:
    """Each gives CheckpointError, and the codec stays unloaded."""

    def refused(self, folder: Path, message: str, name: str = "oobleck") -> None:
        voco = get_voco(name, weights=folder)
        with pytest.raises(CheckpointError, match=message) as caught:
            voco.load()
        assert str(folder) in str(caught.value)
        assert isinstance(caught.value, RuntimeError)
        assert not voco.is_loaded

    @pytest.mark.parametrize("size", [0, 7, 8, 1000, -1])
    def test_truncated_file(self, size: int, folder: Path) -> None:
        path = folder / "oobleck.safetensors"
        path.write_bytes(path.read_bytes()[:size])
        self.refused(folder, r"not a complete safetensors file \(.*\); download or copy it again")

    def test_corrupt_header(self, folder: Path) -> None:
        path = folder / "oobleck.safetensors"
        path.write_bytes(path.read_bytes().replace(b'"F32"', b'"F3x"', 1))
        self.refused(folder, "not a complete safetensors file")

    def test_missing_tensors_are_counted_and_named(self, folder: Path) -> None:
        rewrite(
            folder / "oobleck.safetensors", lambda t: [t.pop(n) for n in list(t) if n.startswith("encoder.block.2")]
        )
        self.refused(folder, r"(\d+) tensors missing \(encoder.block.2.res_unit1.snake1.alpha, .*, .*, \.\.\.\)")

    def test_half_of_a_weight_norm_pair_is_missing(self, folder: Path) -> None:
        rewrite(folder / "oobleck.safetensors", lambda t: t.pop("decoder.conv2.weight_g"))
        self.refused(folder, r"1 tensors missing \(decoder.conv2.weight_g\)$")

    def test_unexpected_tensor_is_named(self, folder: Path) -> None:
        rewrite(folder / "oobleck.safetensors", lambda t: t.update({"decoder.conv2.bias": torch.zeros(2)}))
        self.refused(folder, r"1 tensors unexpected \(decoder.conv2.bias\)$")

    def test_misshapen_tensor_is_named_with_both_shapes(self, folder: Path) -> None:
        rewrite(folder / "oobleck.safetensors", lambda t: t.update({"encoder.conv1.bias": torch.zeros(17)}))
        self.refused(folder, r"1 tensors of another shape \(encoder.conv1.bias \[17\] instead of \[16\]\)$")

    def test_same_numbers_in_another_shape_are_those_of_another_format(self, folder: Path) -> None:
        """Of stable-audio-tools, whose snakes have `[C]`; here every format says its own."""
        name = "encoder.snake1.alpha"
        rewrite(folder / "oobleck.safetensors", lambda t: t.update({name: t[name].flatten()}))
        self.refused(folder, rf"1 tensors of another shape \({name} \[(\d+)\] instead of \[1, \1, 1\]\)$")

    def test_config_of_another_size(self, folder: Path) -> None:
        reconfigure(folder / "oobleck.json", decoder_channels=32)
        self.refused(folder, "tensors of another shape")

    def test_checkpoint_of_another_codec(self, folder: Path) -> None:
        shutil.copy(folder / "dac.safetensors", folder / "oobleck.safetensors")
        self.refused(folder, "not a checkpoint of oobleck: none of its 203 tensors .* is encoder.conv1.weight")

    def test_integers_in_the_place_of_numbers(self, folder: Path) -> None:
        rewrite(folder / "oobleck.safetensors", lambda t: t.update({"encoder.conv1.bias": torch.zeros(16).long()}))
        self.refused(folder, "encoder.conv1.bias holds torch.int64, expected floating-point numbers")

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_number_beyond_the_range_of_the_type_wanted(self, dtype: torch.dtype, folder: Path) -> None:
        """It would become infinite."""
        large = torch.full((16,), 1e308 if dtype == torch.float64 else 1e38, dtype=dtype)
        rewrite(folder / "oobleck.safetensors", lambda t: t.update({"encoder.conv1.bias": large}))
        wanted = torch.float32 if dtype == torch.float64 else torch.float16
        voco = get_voco("oobleck", weights=folder, dtype=wanted)
        with pytest.raises(
            CheckpointError, match=r"encoder.conv_in.bias has a number of 1e\+3.*, torch.float.* ends at"
        ):
            voco.load()

    @pytest.mark.parametrize("kind", ["F4", "F8_E8M0", "C64", "F6_E2M3"])
    def test_numbers_of_another_kind(self, kind: str, tmp_path: Path) -> None:
        size = {"F4": 4, "F8_E8M0": 8, "C64": 8 * 8, "F6_E2M3": 6}[kind]
        header = json.dumps({"x": {"dtype": kind, "shape": [8], "data_offsets": [0, size]}}).encode()
        path = tmp_path / "a.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
        with pytest.raises(
            CheckpointError,
            match="x holds torch.*, expected floating-point numbers|not a complete|x cannot be read by torch",
        ):
            open_tensors(path).read("x")

    def test_other_mel_filters_are_not_ignored(self, folder: Path) -> None:
        rewrite(folder / "mel.safetensors", lambda t: t["feature_extractor.mel_spec.mel_scale.fb"].mul_(0.5))
        self.refused(folder, "mel_scale.fb is not the constant that this codec computes", "mel")

    def test_file_that_is_no_checkpoint(self, folder: Path) -> None:
        save_file({"x": torch.zeros(1)}, folder / "oobleck.safetensors")
        self.refused(folder, "not a checkpoint of oobleck")


class TestConfig:
    """A config is read with get_voco, and refused there."""

    def refused(self, folder: Path, message: str, name: str = "oobleck") -> None:
        with pytest.raises(CheckpointError, match=message) as caught:
            get_voco(name, weights=folder)
        assert str(folder / name) in str(caught.value)

    @pytest.mark.parametrize("text", ["", "{", "[]", "1", '"x"', "\x00", "[" * 100_000])
    def test_not_an_object(self, text: str, folder: Path) -> None:
        (folder / "oobleck.json").write_text(text)
        self.refused(folder, "not a readable config|expected a mapping of names to values")

    def test_not_text(self, folder: Path) -> None:
        (folder / "oobleck.json").write_bytes(b"\xff\xfe\x00")
        self.refused(folder, "not a readable config")

    def test_too_large(self, folder: Path) -> None:
        (folder / "oobleck.json").write_text("{" + " " * MAX_CONFIG_BYTES + "}")
        self.refused(folder, "bytes are too many for a config")

    @pytest.mark.parametrize("value", [0, -1, 1.5, "128", True, [128], MAX_SIZE + 1, {}])
    def test_size_that_is_none(self, value: Any, folder: Path) -> None:
        reconfigure(folder / "oobleck.json", decoder_channels=value)
        self.refused(folder, "config: decoder_channels must be an integer from 1 to ")

    @pytest.mark.parametrize("value", [[], [2, 0], [2, "3"], 4, "2,3,4"])
    def test_strides_that_are_none(self, value: Any, folder: Path) -> None:
        reconfigure(folder / "oobleck.json", downsampling_ratios=value)
        self.refused(folder, "config: downsampling_ratios must be ")

    @pytest.mark.parametrize(
        ("name", "changes", "message"),
        [
            ("oobleck", {"channel_multiples": [1, 2]}, "2 channel_multiples for 3 downsampling_ratios"),
            ("dac", {"decoder_rates": [5, 4, 4]}, "have different products"),
            ("dac", {"decoder_dim": 7}, "decoder_dim 7 cannot be halved 3 times"),
        ],
    )
    def test_numbers_that_contradict_each_other(
        self, name: str, changes: dict[str, Any], message: str, folder: Path
    ) -> None:
        reconfigure(folder / f"{name}.json", **changes)
        self.refused(folder, message, name)

    def test_odd_rates_have_no_shortcut(self, folder: Path) -> None:
        path = folder / "dac-vae-small.json"
        reconfigure(path, encoder_rates=[2, 4, 7], decoder_rates=[7, 4, 2])
        with pytest.raises(CheckpointError, match=r"the shortcuts need even rates, got \(2, 4, 7, 7, 4, 2\)"):
            get_voco("dacvae", weights=folder)

    @pytest.mark.parametrize(
        ("part", "field", "value", "message"),
        [
            ("head", "n_fft", 512, "two values of n_fft, 256 and 512"),
            ("backbone", "input_channels", 21, "two values of input_channels, 20 and 21"),
            ("feature_extractor", "padding", "valid", "padding 'valid' is neither 'center' nor 'same'"),
            (
                "feature_extractor",
                "hop_length",
                512,
                "hop_length 512 is more than half of n_fft 256: frames must overlap",
            ),
        ],
    )
    def test_parts_of_a_vocos_config(self, part: str, field: str, value: Any, message: str, folder: Path) -> None:
        config = json.loads((folder / "mel.json").read_text())
        config[part]["init_args"][field] = value
        (folder / "mel.json").write_text(json.dumps(config))
        self.refused(folder, message, "mel")

    def test_class_path_is_compared_and_never_imported(self, folder: Path) -> None:
        config = json.loads((folder / "mel.json").read_text())
        config["head"]["class_path"] = "antigravity.ISTFTHead"
        (folder / "mel.json").write_text(json.dumps(config))
        assert get_voco("mel", weights=folder).load().is_loaded  # the last part is right, the package is not looked at
        config["head"]["class_path"] = "antigravity.Popen"
        (folder / "mel.json").write_text(json.dumps(config))
        self.refused(folder, "head is a 'Popen', this codec reads 'ISTFTHead'", "mel")
        assert "antigravity" not in sys.modules

    def test_unknown_and_null_keys_do_no_harm(self, folder: Path) -> None:
        reconfigure(folder / "oobleck.json", something_new=[1], sampling_rate=None)
        assert get_voco("oobleck", weights=folder).sampling_rate == 44100

    def test_latent_dim_of_dac_follows_from_the_strides_if_absent(self, folder: Path) -> None:
        reconfigure(folder / "dac.json", latent_dim=None)
        assert get_voco("dac", weights=folder).latent_dim == 8 * 2**3

    def test_encodec_that_is_another_one(self, folder: Path) -> None:
        config = json.loads((folder / "encodec.json").read_text())
        config["feature_extractor"]["init_args"]["encodec_model"] = "encodec_48khz"
        (folder / "encodec.json").write_text(json.dumps(config))
        self.refused(folder, "encodec_model 'encodec_48khz', this codec reads encodec_24khz", "encodec")


class TestWeightNorm:
    """One weight, stored in three ways."""

    @pytest.mark.parametrize("stored", ["weight_g", "parametrizations.weight.original0", "folded"])
    @pytest.mark.parametrize("name", ["dac", "dacvae", "oobleck"])
    def test_all_ways_give_the_same_network(self, name: str, stored: str, folder: Path) -> None:
        expected = get_voco(name, weights=folder).load().state_dict()
        expected = {key: tensor.clone() for key, tensor in expected.items()}

        def restore(tensors: Tensors) -> None:
            for g in [n for n in tensors if n.endswith((".weight_g", ".original0"))]:
                v = g.replace("weight_g", "weight_v").replace("original0", "original1")
                path = g.removesuffix(".weight_g").removesuffix(".parametrizations.weight.original0")
                magnitude, direction = tensors.pop(g), tensors.pop(v)
                if stored == "folded":
                    norm = direction.flatten(1).norm(dim=1)[:, None, None]
                    tensors[f"{path}.weight"] = direction * (magnitude / norm)
                else:
                    tensors[f"{path}.{stored}"] = magnitude
                    tensors[f"{path}.{stored.replace('_g', '_v').replace('0', '1')}"] = direction

        rewrite(folder / STAND_INS[name].weights, restore)
        given = get_voco(name, weights=folder).state_dict()
        for key, tensor in expected.items():
            torch.testing.assert_close(given[key], tensor, atol=1e-6, rtol=1e-6)

    def test_norm_is_over_all_axes_but_the_first(self, folder: Path) -> None:
        tensors = load_file(folder / "oobleck.safetensors")
        voco = get_voco("oobleck", weights=folder).load()
        for ours, theirs in (
            ("encoder.conv_in", "encoder.conv1"),
            ("decoder.blocks.0.conv", "decoder.block.0.conv_t1"),
        ):
            weight = voco.network.get_submodule(ours).weight
            norms = weight.flatten(1).norm(dim=1)
            torch.testing.assert_close(norms, tensors[f"{theirs}.weight_g"].flatten(), atol=1e-6, rtol=1e-6)

    def test_bfloat16_is_folded_in_float32(self, folder: Path) -> None:
        path = folder / "oobleck.safetensors"
        rewrite(path, lambda t: [t.update({n: v.bfloat16()}) for n, v in list(t.items())])
        low = load_file(path)
        weight = get_voco("oobleck", weights=folder).network.encoder.conv_in.weight
        v, g = low["encoder.conv1.weight_v"].double(), low["encoder.conv1.weight_g"].double()
        exact = v * (g / v.flatten(1).norm(dim=1)[:, None, None])
        assert weight.dtype == torch.float32
        assert (weight.double() - exact).abs().max() < 1e-6


class TestSave:
    """What `save` leaves behind."""

    @pytest.mark.parametrize("name", STAND_INS)
    def test_reads_back_equal(self, name: str, weights: Path, tmp_path: Path) -> None:
        voco = get_voco(name, weights=weights)
        voco.save(tmp_path / "new" / "folder")
        again = get_voco(name, weights=tmp_path / "new" / "folder")
        assert again.config == voco.config
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), voco.parameters(), strict=True))
        assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == ["config.json", "model.safetensors"]

    def test_onto_its_own_source(self, weights: Path, tmp_path: Path) -> None:
        get_voco("mel", weights=weights).save(tmp_path)
        voco = get_voco("mel", weights=tmp_path)
        expected = voco.decode(torch.ones(1, 4, 20))
        voco.save(tmp_path)
        assert torch.equal(voco.decode(torch.ones(1, 4, 20)), expected)
        assert torch.equal(get_voco("mel", weights=tmp_path).decode(torch.ones(1, 4, 20)), expected)

    def test_failure_leaves_the_old_files(self, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        voco = get_voco("mel", weights=weights).load()
        voco.save(tmp_path)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

        def full(tensors: Tensors, path: Path, metadata: dict[str, str]) -> None:
            path.write_bytes(b"half a file")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("vocos.weights.formats.save_file", full)
        with pytest.raises(OSError, match="No space left"):
            voco.save(tmp_path)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_mel_of_another_rate_with_slaney_filters(folder: Path, tmp_path: Path) -> None:
    """Other people train Vocos on other spectrograms; the file's own filter bank says whether we mean the same."""
    from vocos.nn.mel import MelScale

    config = json.loads((folder / "mel.json").read_text())
    config["feature_extractor"]["init_args"] |= {
        "sample_rate": 22050, "f_min": 40, "f_max": 8000, "norm": "slaney", "mel_scale": "slaney",
    }  # fmt: skip
    (folder / "mel.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="mel_scale.fb is not the constant"):
        get_voco("mel", weights=folder).load()
    filters = MelScale(22050, 20, 40.0, 8000.0, "slaney", "slaney").filters(256)
    name = "feature_extractor.mel_spec.mel_scale.fb"
    rewrite(folder / "mel.safetensors", lambda tensors: tensors.update({name: filters}))
    voco = get_voco("mel", weights=folder).load()
    assert voco.sampling_rate == 22050
    voco.export(tmp_path / "to", "charactr")
    assert get_voco("mel", weights=tmp_path / "to").load().config == voco.config


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio"),
    ],
)
def test_file_that_is_something_else_is_called_what_it_is(start: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(start)
    with pytest.raises(CheckpointError, match=f"{path}: this is {what}"):
        open_tensors(path)
