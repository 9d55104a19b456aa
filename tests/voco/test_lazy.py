"""What loads weights and what does not, from every side a pipeline may come."""

from __future__ import annotations

import builtins
import copy
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import STAND_INS
from safetensors.torch import save_file
from torch import nn

from vocos import Voco, get_voco

MASK = torch.ones(1, 2000, dtype=torch.bool)

LOADS: dict[str, Callable[[Any], Any]] = {
    "load": lambda v: v.load(),
    "encode": lambda v: v.encode(torch.zeros(1, 2000, v.channel)),
    "decode": lambda v: v.decode(torch.zeros(1, 4, v.latent_dim)),
    "network": lambda v: v.network,
    "to": lambda v: v.to("cpu"),
    "half": lambda v: v.half(),
    "cpu": lambda v: v.cpu(),
    "state_dict": lambda v: v.state_dict(),
    "parameters": lambda v: list(v.parameters()),
    "named_parameters": lambda v: list(v.named_parameters()),
    "buffers": lambda v: list(v.buffers()),
    "modules": lambda v: list(v.modules()),
    "children": lambda v: list(v.children()),
    "apply": lambda v: v.apply(lambda m: None),
    "requires_grad_": lambda v: v.requires_grad_(True),
    "get_submodule": lambda v: v.get_submodule("network"),
    "parent.to": lambda v: nn.ModuleList([v]).to("cpu"),
    "parent.parameters": lambda v: list(nn.ModuleList([v]).parameters()),
    "parent.state_dict": lambda v: nn.ModuleList([v]).state_dict(),
    "parent.modules": lambda v: list(nn.ModuleList([v]).modules()),
}

LOADS_NOTHING: dict[str, Callable[[Any], Any]] = {
    "facts": lambda v: (v.sampling_rate, v.channel, v.latent_dim, v.hop_length, v.frame_rate, v.config, v.name),
    "codes": lambda v: (v.n_codebooks, v.codebook_size, v.bits_per_second),
    "provenance": lambda v: (v.license, v.source, v.device, v.dtype),
    "encode_length": lambda v: v.encode_length(2000),
    "decode_length": lambda v: v.decode_length(4),
    "masks": lambda v: v.decode_mask(v.encode_mask(MASK)),
    "repr": repr,
    "str": str,
    "eval": lambda v: v.eval(),
    "train": lambda v: v.train(),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda v: pickle.loads(pickle.dumps(v)),
    "in a parent": lambda v: nn.ModuleDict({"voco": v}),
    "parent.eval": lambda v: nn.ModuleList([v]).eval(),
    "parent.repr": lambda v: repr(nn.ModuleList([v])),
    "parent.load_state_dict without it": lambda v: nn.ModuleList([v]).load_state_dict({}, strict=False),
    "bad input": lambda v: pytest.raises(ValueError, v.encode, torch.zeros(1)),
}


@pytest.mark.parametrize("operation", LOADS)
def test_operation_loads(operation: str, small: Voco[Any]) -> None:
    assert not small.is_loaded
    LOADS[operation](small)
    assert small.is_loaded


@pytest.mark.parametrize("operation", LOADS_NOTHING)
def test_operation_loads_nothing(operation: str, small: Voco[Any]) -> None:
    LOADS_NOTHING[operation](small)
    assert not small.is_loaded


@pytest.mark.parametrize("name", STAND_INS)
def test_default_checkpoint_is_neither_read_nor_fetched_for_facts(name: str) -> None:
    voco = get_voco(name)  # the test process is offline: a request would fail
    for operation in LOADS_NOTHING.values():
        operation(voco)
    assert not voco.is_loaded


@pytest.mark.parametrize("weights", [None, "org/name"])
def test_repr_and_facts_touch_no_disk(weights: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    voco = get_voco("oobleck", weights=weights)

    def touched(*arguments: object, **keywords: object) -> None:
        raise AssertionError(f"touched the disk: {arguments}")

    for module, name in ((os, "stat"), (os, "lstat"), (os, "open"), (builtins, "open")):
        monkeypatch.setattr(module, name, touched)
    text = repr(voco)
    copies = [copy.deepcopy(voco)]
    facts = [] if weights else [operation(voco) for name, operation in LOADS_NOTHING.items() if name != "bad input"]
    monkeypatch.undo()
    assert "is_loaded=False" in text
    assert copies
    assert weights or len(facts) > 10


def test_load_returns_the_codec(small: Voco[Any]) -> None:
    assert small.load() is small.load()


def test_threads_load_once_and_agree(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voco = get_voco("dac", weights=weights)
    calls = []
    real = type(voco)._loaded_network
    monkeypatch.setattr(type(voco), "_loaded_network", lambda self: (calls.append(1), real(self))[1])
    latents, results = torch.randn(1, 5, voco.latent_dim), []
    barrier = threading.Barrier(16)

    def work() -> None:
        barrier.wait()
        results.append(voco.decode(latents))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len(results) == 16
    for result in results:  # not to the bit: the engine's copies of the weights may be aligned differently
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-6)


def test_failed_load_can_be_tried_again(weights: Path, tmp_path: Path) -> None:
    for ending in ("json", "safetensors"):
        (tmp_path / f"mel.{ending}").write_bytes((weights / f"mel.{ending}").read_bytes())
    good = (tmp_path / "mel.safetensors").read_bytes()
    voco = get_voco("mel", weights=tmp_path)
    (tmp_path / "mel.safetensors").write_bytes(good[:100])
    with pytest.raises(RuntimeError, match="not a complete safetensors file"):
        voco.load()
    assert not voco.is_loaded
    (tmp_path / "mel.safetensors").write_bytes(good)
    assert voco.load().is_loaded


def test_two_codecs_are_independent(weights: Path) -> None:
    one, other = (get_voco("mel", weights=weights).load() for _ in range(2))
    one.to(torch.bfloat16)
    assert other.dtype == torch.float32
    assert {parameter.dtype for parameter in other.parameters()} == {torch.float32}


def test_context_of_the_caller_does_not_leak_into_the_weights(small: Voco[Any]) -> None:
    latents = torch.zeros(1, 4, small.latent_dim)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.device("meta"), torch.autocast("cpu", dtype=torch.bfloat16):
            small.load()
    finally:
        torch.set_default_dtype(default)
    for tensor in (*small.parameters(), *small.buffers()):
        assert tensor.device.type == "cpu"
        assert tensor.dtype == torch.float32
        assert not tensor.is_inference()
    small.decode(latents.requires_grad_()).sum().backward()
    assert latents.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype_of_get_voco_is_applied_at_load(dtype: torch.dtype, weights: Path) -> None:
    voco = get_voco("oobleck", weights=weights, dtype=dtype, device="cpu")
    assert voco.dtype == dtype
    assert not voco.is_loaded
    expected = get_voco("oobleck", weights=weights).to(dtype)
    for given, wanted in zip(voco.parameters(), expected.parameters(), strict=True):
        assert torch.equal(given, wanted)


@pytest.mark.parametrize("name", [*STAND_INS, "griffinlim"])
def test_device_of_get_voco_is_applied_at_load(name: str, weights: Path) -> None:
    voco = get_voco(name, weights=None if name == "griffinlim" else weights, device="meta")
    assert voco.device.type == "meta"
    assert not voco.is_loaded
    assert {tensor.device.type for tensor in (*voco.parameters(), *voco.buffers())} == {"meta"}


def test_spectral_constants_are_out_of_reach_and_in_float32(weights: Path) -> None:
    voco = get_voco("mel", weights=weights).to(torch.bfloat16)
    assert not list(voco.network.buffers())
    constants = voco.network.features.window, voco.network.features.filters, voco.network.head.istft.window
    assert [constant.dtype for constant in constants] == [torch.float32] * 3


def test_train_and_requires_grad_work(small: Voco[Any]) -> None:
    assert not small.training
    small.train()
    assert all(module.training for module in small.modules())
    small.eval().requires_grad_(True)
    small.decode(torch.randn(1, 4, small.latent_dim)).sum().backward()
    assert any(parameter.grad is not None for parameter in small.parameters())


class TestLoadStateDict:
    """Weights that come from a checkpoint of the whole pipeline."""

    def test_every_tensor_given_needs_no_file(self, weights: Path, tmp_path: Path) -> None:
        state = get_voco("oobleck", weights=weights).state_dict()
        (tmp_path / "oobleck.json").write_bytes((weights / "oobleck.json").read_bytes())
        (tmp_path / "oobleck.safetensors").write_bytes(b"nobody reads this")
        voco = get_voco("oobleck", weights=tmp_path)
        result = voco.load_state_dict(state)
        assert not result.missing_keys
        assert not result.unexpected_keys
        for name, tensor in voco.state_dict().items():
            assert torch.equal(tensor, state[name])
        assert not any(parameter.requires_grad for parameter in voco.parameters())

    def test_assign_takes_the_tensors_themselves(self, small: Voco[Any]) -> None:
        state = {name: tensor.clone() for name, tensor in copy.deepcopy(small).state_dict().items()}
        small.load_state_dict(state, assign=True)
        assert all(p.data_ptr() == state[name].data_ptr() for name, p in small.named_parameters())

    def test_some_tensors_change_those_only(self, small: Voco[Any]) -> None:
        before = copy.deepcopy(small).state_dict()
        name = next(iter(before))
        small.load_state_dict({name: torch.zeros_like(before[name])}, strict=False)
        after = small.state_dict()
        assert not after[name].any()
        assert all(torch.equal(after[other], before[other]) for other in before if other != name)

    def test_none_is_an_error_only_if_strict(self, small: Voco[Any]) -> None:
        parent = nn.ModuleDict({"voco": small})
        with pytest.raises(RuntimeError, match="Missing key"):
            parent.load_state_dict({})
        assert parent.load_state_dict({}, strict=False).missing_keys
        assert not small.is_loaded

    def test_wrong_shape_leaves_the_codec_as_it_was(self, small: Voco[Any]) -> None:
        state = copy.deepcopy(small).state_dict()
        name = next(name for name, tensor in state.items() if tensor.ndim == 1)
        with pytest.raises(RuntimeError, match="another shape"):
            small.load_state_dict({**state, name: torch.zeros(len(state[name]) + 1)})
        assert not small.is_loaded
        assert torch.equal(small.state_dict()[name], state[name])

    def test_device_and_dtype_asked_for_are_kept(self, weights: Path) -> None:
        state = get_voco("mel", weights=weights).state_dict()
        voco = get_voco("mel", weights=weights, dtype=torch.bfloat16)
        voco.load_state_dict(state)
        assert voco.dtype == torch.bfloat16
        assert {parameter.dtype for parameter in voco.parameters()} == {torch.bfloat16}


def _decode_in_worker(voco: Voco[Any], latents: torch.Tensor) -> tuple[bool, torch.Tensor]:
    was_loaded = voco.is_loaded
    return was_loaded, voco.decode(latents)


@pytest.mark.parametrize("loaded", [False, True])
def test_pickled_to_a_worker_it_gives_the_same_sound(loaded: bool, weights: Path) -> None:
    voco = get_voco("oobleck", weights=weights)
    latents = torch.randn(1, 4, voco.latent_dim)
    expected = get_voco("oobleck", weights=weights).decode(latents)
    if loaded:
        voco.load()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        was_loaded, sound = pool.apply(_decode_in_worker, (voco, latents))
    assert was_loaded == loaded
    torch.testing.assert_close(sound, expected, atol=1e-6, rtol=1e-5)


# The peak is read from /proc: that of `getrusage` begins with the peak of the process that started this one.
MEMORY = """
import re, sys
from pathlib import Path
from vocos import get_voco
import einops, safetensors.torch, torch
def peak_kib():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
voco = get_voco("oobleck", weights=sys.argv[1])
before = peak_kib()
voco.load()
print(peak_kib() - before, sum(p.nbytes for p in voco.parameters()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's peak of memory")
def test_loading_never_holds_the_weights_twice(tmp_path: Path) -> None:
    config = {"encoder_hidden_size": 64, "decoder_input_channels": 32, "decoder_channels": 64}
    voco = get_voco("oobleck")
    network = voco.build(voco.config_type.parse(config)).to_empty(device="cpu")
    tensors = {}
    for name, tensor in network.state_dict().items():  # stored with weight norm, as the public file
        path, _, leaf = name.rpartition(".")
        public = f"{voco.formats[0].rules(voco.config_type.parse(config))[path].name}.{leaf}"
        if leaf == "weight":
            tensors[f"{public}_g"] = torch.ones(tensor.shape[0], 1, 1)
            tensors[f"{public}_v"] = torch.ones_like(tensor)
        else:
            tensors[public] = torch.zeros_like(tensor)
    save_file(tensors, tmp_path / "oobleck.safetensors")
    (tmp_path / "oobleck.json").write_text(json.dumps(config))
    run = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=True)
    grown_kib, weights_bytes = map(int, run.stdout.split())
    assert weights_bytes > 100e6
    # Measured: 1.29, the largest tensor in two forms and what torch brings on first use included; 2.29 if all are read
    # before the first is folded.
    assert grown_kib * 1024 < 1.5 * weights_bytes


def test_loading_imports_no_compiler(weights: Path) -> None:
    """Parameters that are overwritten are not initialised first: on the meta device that imports 890 modules."""
    program = f"""
import sys
from vocos import get_voco
for name in ("mel", "encodec", "dac", "dacvae", "oobleck"):
    voco = get_voco(name, weights={str(weights)!r}).load()
print([name for name in ("torch._dynamo", "torch._inductor", "sympy", "transformers") if name in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
