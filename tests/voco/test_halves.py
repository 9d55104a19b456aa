"""An encoder or decoder alone: what it reads, what it refuses, and what it is as a module."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CAUSALS, ENCODECS, HIGGS, OTHERS, SNACS, STAND_INS, WAVTOKENIZERS, XCODECS, StandIn
from safetensors.torch import load_file, save_file
from torch import Tensor

from vocos import (
    CheckpointError,
    InvalidInput,
    UnsupportedOperation,
    Voco,
    get_voco,
    list_vocos,
    register_voco,
    registry,
)
from vocos.codecs.dac import Dac
from vocos.codecs.dacvae import DacVaeConfig, WatermarkedConfig
from vocos.weights import hub
from vocos.weights.formats import HALVES
from vocos.weights.tensors import Section, TensorFile

ITEMS = STAND_INS | OTHERS | ENCODECS | XCODECS | CAUSALS | SNACS | WAVTOKENIZERS | HIGGS
QUANTISED = ["mimi", *(item.name for item in (ENCODECS | XCODECS | SNACS | WAVTOKENIZERS | HIGGS).values())]
SHARED = {"encodec": "codebook", "dac": "quantizer"} | dict.fromkeys(
    QUANTISED, "quantizer"
)  # what codes need in both directions
CONSTANTS = ("window", "mel_scale.fb")  # compared with what is computed, for whichever half


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """File and name of every tensor that is read from now on."""
    found: list[tuple[str, str]] = []
    real = TensorFile.read

    def read(self: TensorFile, name: str) -> Tensor:
        if not isinstance(self, Section):
            found.append((self.path.parent.name, name))
        return real(self, name)

    monkeypatch.setattr(TensorFile, "read", read)
    return found


def options(item: StandIn, folder: Path) -> dict[str, Any]:
    return {"encodec_weights": folder / "encodec"} if item.companion else {}


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of a file of weights."""
    if path.suffix == ".safetensors":
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
        change(tensors)
        save_file(tensors, path)
    else:
        content = torch.load(path, weights_only=True)
        change(content["state_dict"])
        torch.save(content, path)


class TestReading:
    """Which tensors of which file."""

    @pytest.mark.parametrize("key", ITEMS)
    def test_half_reads_its_own_tensors_only(self, key: str, reads: list[tuple[str, str]], tmp_path: Path) -> None:
        item = ITEMS[key]
        item.write(tmp_path)
        read: dict[str | None, set[tuple[str, str]]] = {}
        for part in (None, *HALVES):
            reads.clear()
            get_voco(item.name, weights=tmp_path, part=part, **options(item, tmp_path)).load()
            assert len(reads) == len(set(reads))
            read[part] = {name for name in reads if not name[1].endswith(CONSTANTS)}
        encoder, decoder = read["encoder"], read["decoder"]
        assert encoder | decoder == read[None]
        if item.name == "mel":
            assert not encoder
            return
        assert {name for name in read[None] if SHARED.get(item.name, "none") in name[1]} == encoder & decoder
        assert encoder < read[None]
        assert decoder < read[None]

    @pytest.mark.parametrize("key", ["charactr-encodec", "transformers-encodec"])
    def test_vocoder_alone_needs_no_encodec(self, key: str, tmp_path: Path) -> None:
        item = ITEMS[key]
        item.write(tmp_path)
        voco = get_voco(
            "encodec", weights=tmp_path, part="decoder"
        )  # EnCodec would be fetched, and the test is offline
        files = [tmp_path / str(item.config), tmp_path / item.weights]
        assert voco.fetch() == files
        whole = get_voco("encodec", weights=tmp_path, **options(item, tmp_path))
        codes = torch.randint(1024, (1, 5, 8))
        assert torch.equal(voco.decode_codes(codes), whole.decode_codes(codes))
        with pytest.raises(OSError, match=r"encodec_24khz.*not in the cache"):
            get_voco("encodec", weights=tmp_path, part="encoder").load()

    def test_vocoder_alone_does_not_know_the_strides_of_encodec(self, tmp_path: Path) -> None:
        item = ITEMS["charactr-encodec"]
        item.write(tmp_path)
        config = tmp_path / "config.yaml"
        text = config.read_text().replace("hop_length: 320", "hop_length: 160")
        config.write_text(text.replace("encodec_model:", "sample_rate: 12000\n    encodec_model:"))
        voco = get_voco("encodec", weights=tmp_path, part="decoder")
        assert voco.decode(torch.zeros(1, 3, 16)).shape == (1, 480, 1)
        with pytest.raises(CheckpointError, match="do not make hop_length 160"):
            get_voco("encodec", weights=tmp_path, **options(item, tmp_path)).load()

    def test_mel_encoder_needs_no_file(self, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "mel.json").write_bytes((weights / "mel.json").read_bytes())
        audio = torch.rand(1, 2000, 1)
        half = get_voco("mel", weights=tmp_path, part="encoder")
        assert torch.equal(half.encode(audio), get_voco("mel", weights=weights).encode(audio))
        assert half.fetch() == []
        assert not list(half.parameters())
        monkeypatch.setattr(hub, "find", lambda *arguments: pytest.fail(f"looked for {arguments}"))
        voco = get_voco("mel", part="encoder", dtype=torch.bfloat16)
        assert voco.encode(audio).dtype == torch.bfloat16
        assert voco.is_loaded


class TestStrictness:
    """A whole file is checked as a whole; a file of one half is enough for that half."""

    @pytest.mark.parametrize("part", HALVES)
    @pytest.mark.parametrize("key", ["dac", "encodec", "oobleck", "dacvae", "stable-audio-oobleck", "descript-dac"])
    @pytest.mark.parametrize("half", HALVES)
    def test_damage_in_either_half_is_found(self, key: str, part: str, half: str, tmp_path: Path) -> None:
        item = ITEMS[key]
        item.write(tmp_path)
        beginning = "backbone." if (item.name, half) == ("encodec", "decoder") else f"{half}."
        names: list[str] = []

        def unexpected(state: dict[str, Tensor]) -> None:
            names.extend(name for name in state if beginning in name and name.endswith("bias"))
            state[f"{names[-1]}2"] = state[names[-1]].clone()

        def another_shape(state: dict[str, Tensor]) -> None:
            del state[f"{names[-1]}2"]
            state[names[-1]] = state[names[-1]][1:].clone()

        for change, problem in (
            (unexpected, "unexpected"),
            (another_shape, "of another shape"),
            (lambda state: state.pop(names[-1]), "missing"),
        ):
            rewrite(tmp_path / item.weights, change)
            with pytest.raises(CheckpointError, match=f"1 tensors {problem}"):
                get_voco(item.name, weights=tmp_path, part=part).load()

    @pytest.mark.parametrize("part", HALVES)
    def test_saved_half_is_read_back_as_that_half(self, small: Voco[Any], part: str, tmp_path: Path) -> None:
        whole, name = small.state_dict(), small.name
        half = get_voco(name, weights=str(small.source), part=part)
        half.save(tmp_path)
        assert json.loads((tmp_path / "config.json").read_text())["part"] == part
        held = load_file(tmp_path / "model.safetensors")
        assert all(torch.equal(tensor, whole[f"network.{key}"]) for key, tensor in held.items())
        again = get_voco(name, weights=tmp_path, part=part)
        assert again.state_dict().keys() == {f"network.{key}" for key in held}
        if (name, part) == ("mel", "decoder"):  # which is all there is
            get_voco(name, weights=tmp_path).load()
            return
        (other,) = set(HALVES) - {part}
        for wanted in (None, other):
            if (name, wanted) == ("mel", "encoder"):
                continue
            with pytest.raises(CheckpointError, match=rf"it holds only the {part}: get_voco\(..., part='{part}'\)"):
                get_voco(name, weights=tmp_path, part=wanted).load()

    def test_public_layout_cannot_hold_a_half(self, weights: Path, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedOperation, match="only the decoder is there, and 'diffusers' holds both halves"):
            get_voco("oobleck", weights=weights, part="decoder").export(tmp_path / "to", "diffusers")
        assert not (tmp_path / "to").exists()


class TestCalls:
    """What is refused, and when."""

    def test_other_direction_is_refused_before_any_request(self) -> None:
        voco = get_voco("dac", weights="org/name", part="decoder")  # even its config would have to be fetched
        for call in (voco.encode, voco.encode_codes, voco.encode_batch):
            with pytest.raises(
                UnsupportedOperation,
                match=r"needs the encoder, and dac was asked for with part='decoder'; get_voco\('dac'\) has both",
            ):
                call(torch.zeros(1, 9, 1))
        for name in ("dac", "dacvae"):
            voco = get_voco(name, weights="org/name", part="encoder")
            for call in (voco.decode, voco.decode_codes, voco.decode_batch):
                with pytest.raises(UnsupportedOperation, match="needs the decoder"):
                    call(torch.zeros(1, 9, 1))

    @pytest.mark.parametrize("part", ["both", "", 1, ["encoder"]])
    def test_part_that_is_none_is_refused(self, part: Any) -> None:
        with pytest.raises(InvalidInput, match="expected part as 'encoder' or 'decoder', got"):
            get_voco("dac", part=part)

    def test_codec_that_does_not_say_its_halves_has_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry, "_registered", {})

        @register_voco("silent")
        class Silent(Dac):
            halves = None

        with pytest.raises(UnsupportedOperation, match="silent does not say which weights each half of it needs"):
            get_voco("silent", part="decoder")

    def test_facts_and_lengths_are_those_of_the_whole(self, small: Voco[Any]) -> None:
        for part in HALVES:
            half = get_voco(small.name, weights=str(small.source), part=part)
            assert half.config == small.config
            assert half.encode_length(1234) == small.encode_length(1234)
            assert half.decode_length(12) == small.decode_length(12)
            assert not half.is_loaded

    def test_every_attribute_that_is_declared_is_in_some_network(self) -> None:
        for name in list_vocos():
            voco = get_voco(name)
            configs = (DacVaeConfig(), WatermarkedConfig()) if name == "dacvae" else (voco.weights.row.config,)
            with torch.device("meta"):
                networks = [voco.build(config) for config in configs]
            assert voco.halves
            for path in (path for its in voco.halves.values() for path in its):
                assert any(hasattr(network, path) for network in networks), (name, path)


class TestModule:
    """A half among other modules."""

    @pytest.mark.parametrize("loaded", [False, True])
    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda voco: pickle.loads(pickle.dumps(voco))])
    def test_copies_are_halves(self, copied: Callable[[Any], Any], loaded: bool, weights: Path) -> None:
        half = get_voco("oobleck", weights=weights, part="decoder")
        other = copied(half.load() if loaded else half)
        assert other.is_loaded == loaded
        assert other.part == "decoder"
        assert other.state_dict().keys() == half.state_dict().keys()
        with pytest.raises(UnsupportedOperation, match="encode"):
            other.encode(torch.zeros(1, 9, 2))

    def test_repr_says_which(self, weights: Path) -> None:
        assert "part='decoder', is_loaded=False)" in repr(get_voco("dac", part="decoder"))
        assert "part" not in repr(get_voco("dac"))

    def test_half_takes_its_own_state_dict_without_a_file(self, weights: Path, tmp_path: Path) -> None:
        state = get_voco("dac", weights=weights, part="decoder").state_dict()
        (tmp_path / "dac.json").write_bytes((weights / "dac.json").read_bytes())
        half = get_voco("dac", weights=tmp_path, part="decoder")
        half.load_state_dict(state)
        assert all(torch.equal(tensor, state[name]) for name, tensor in half.state_dict().items())

    @pytest.mark.parametrize("loaded", [False, True])
    def test_half_takes_what_is_its_own_of_a_whole_state_dict(self, loaded: bool, small: Voco[Any]) -> None:
        state = {name: tensor + 1 for name, tensor in small.state_dict().items()}
        for part in HALVES:
            half = get_voco(small.name, weights=str(small.source), part=part)
            (half.load() if loaded else half).load_state_dict(state)
            held = half.state_dict()
            assert all(torch.equal(tensor, state[name]) for name, tensor in held.items())
            assert held.keys() < state.keys() or (small.name, part) == ("mel", "decoder")
            with pytest.raises(RuntimeError, match="Unexpected key"):
                half.load_state_dict({**state, "network.surprise": torch.zeros(1)})

    def test_whole_takes_the_state_dict_of_a_half_and_keeps_the_rest(self, weights: Path) -> None:
        state = {k: v + 1 for k, v in get_voco("dac", weights=weights, part="decoder").state_dict().items()}
        whole = get_voco("dac", weights=weights)
        before = {k: v.clone() for k, v in copy.deepcopy(whole).state_dict().items()}
        whole.load_state_dict(state, strict=False)
        after = whole.state_dict()
        assert all(torch.equal(after[name], state.get(name, before[name])) for name in before)

    def test_half_can_be_moved_and_cast(self, small: Voco[Any]) -> None:
        for part in HALVES:
            half = get_voco(small.name, weights=str(small.source), part=part).to(torch.bfloat16)
            assert {parameter.dtype for parameter in half.parameters()} <= {torch.bfloat16}
            assert all(not tensor.is_meta for tensor in (*half.parameters(), *half.buffers()))


# The peak is read from /proc: that of `getrusage` begins with the peak of the process that started this one.
MEMORY = """
import re, sys
from pathlib import Path
from vocos import get_voco
import einops, safetensors.torch, torch
def peak_kib():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
voco = get_voco("oobleck", weights=sys.argv[1], part=sys.argv[2] or None)
voco._empty_network({})  # what torch brings on first use
before = peak_kib()
voco.load()
print(peak_kib() - before, sum(p.nbytes for p in voco.parameters()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's peak of memory")
def test_small_half_of_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    config = {"encoder_hidden_size": 64, "decoder_input_channels": 32, "decoder_channels": 16}
    voco = get_voco("oobleck")
    network = voco.build(voco.config_type.parse(config)).to_empty(device="cpu")
    # In another dtype than it is held in: else the weights stay in the mapped file, whose pages come in large runs.
    stored = {name: torch.zeros_like(tensor, dtype=torch.float16) for name, tensor in network.state_dict().items()}
    save_file(stored, tmp_path / "model.safetensors", {"vocos": ""})
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-c", MEMORY, str(tmp_path), "decoder"]
    grown_kib, half_bytes = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    whole_bytes = 2 * (tmp_path / "model.safetensors").stat().st_size
    assert whole_bytes > 15 * half_bytes
    # Measured: 1.6 times the half; 1.2 times the whole if all of it is read.
    assert grown_kib * 1024 < 4 * half_bytes
