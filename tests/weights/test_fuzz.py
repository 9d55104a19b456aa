"""Thousands of damaged checkpoints: each loads or is refused with an exception of ours, and nothing else happens.

The damage follows from a seed, which a failure names: `damaged(kind, seed, folder)` makes the same folder again.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import OTHERS
from counting import Calls
from safetensors.torch import load_file, save_file
from torch import Tensor

from vocos import CheckpointError, WeightsUnavailable, get_voco
from vocos.codecs.dac import Dac, DacConfig
from vocos.codecs.vocos_mel import Mel, MelConfig
from vocos.weights.formats import OWN_MARK

SMALL = {
    "mel": MelConfig(n_mels=4, n_fft=16, hop_length=4, dim=4, intermediate_dim=4, num_layers=1),
    "dac": DacConfig(
        encoder_dim=2,
        encoder_rates=(2,),
        latent_dim=2,
        decoder_dim=2,
        decoder_rates=(2,),
        n_codebooks=1,
        codebook_size=4,
        codebook_dim=2,
    ),
}
# What a value may become: of another type, at a limit, beyond every limit, deep.
EXTREMES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 255, 1 << 15, (1 << 15) + 2, 1 << 20, (1 << 20) + 1, 1 << 31, 1 << 63, 1 << 64,
    -(1 << 63), 10**400, -(10**400), 0.0, -0.0, 0.5, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"),
    "", "x", "center", "same", "\x00", "\ud800", "9" * 5000, [], [0], [1], [1, 1], [2] * 32, [1 << 20] * 32, [10**400],
    [[]], [[[[1]]]], [None], ["x"], {}, {"x": 1}, {"": {"": []}},
]  # fmt: skip
MOST_CALLS = 400_000  # of functions while one file is read
KIBIBYTES = 500_000  # by which the process may grow


def write(name: str, folder: Path) -> None:
    """The smallest checkpoint of a codec, as `Voco.save` lays it out."""
    config, kind = SMALL[name], {"mel": Mel, "dac": Dac}[name]
    generator = torch.Generator().manual_seed(0)
    empty: dict[str, Tensor] = kind().build(config).state_dict()  # type: ignore[arg-type]
    state = {key: torch.randn(tensor.shape, generator=generator) for key, tensor in empty.items()}
    save_file(state, folder / "model.safetensors", metadata={OWN_MARK: "1"})
    (folder / "config.json").write_text(json.dumps(config.as_dict()))


def scrambled(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut out, doubled, or cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        at = rng.randrange(len(changed)) if changed else 0
        match rng.randrange(6):
            case 0:
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case 1 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 2:
                del changed[at : at + rng.choice([1, 2, 8, 100])]
            case 3:
                changed[at:at] = changed[at : at + rng.choice([1, 2, 8, 100])]
            case 4:
                changed[at:at] = rng.choice([b"9", b"-", b"0", b"1e9", b"[", b"{", b'"', b"\x00", b"\xff", b"&a *a "])
            case 5:
                del changed[at:]
    return bytes(changed)


def twisted(value: Any, rng: random.Random) -> Any:
    """A value of JSON with one part replaced, removed or doubled, at any depth."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        match rng.randrange(8):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return {rng.choice(["", "x", "model", "feature_extractor", "hidden_size"]) if k == key else k: v
                        for k, v in value.items()}  # fmt: skip
            case _:
                return {**value, key: twisted(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.6:
        at = rng.randrange(len(value))
        return rng.choice([value[:at], value + value, [*value[:at], twisted(value[at], rng), *value[at + 1 :]]])
    return rng.choice(EXTREMES)


def header(path: Path) -> tuple[bytes, bytes]:
    """The JSON of a safetensors file, and the numbers after it."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return data[8 : 8 + length], data[8 + length :]


# The kinds of damage


def header_bytes(folder: Path, rng: random.Random) -> None:
    path = folder / "model.safetensors"
    text, numbers = header(path)
    changed = scrambled(text, rng)
    length = rng.choice([len(changed)] * 6 + [len(text), 0, 1 << 63, rng.getrandbits(64), len(changed) + 1])
    path.write_bytes(struct.pack("<Q", length) + changed + numbers)


def header_values(folder: Path, rng: random.Random) -> None:
    path = folder / "model.safetensors"
    text, numbers = header(path)
    changed = json.dumps(twisted(json.loads(text), rng)).encode()
    path.write_bytes(struct.pack("<Q", len(changed)) + changed + numbers)


def file_bytes(folder: Path, rng: random.Random) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(scrambled(path.read_bytes(), rng))


def tensors(folder: Path, rng: random.Random) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    name = rng.choice(sorted(state))
    tensor = state.pop(name)
    changes: list[Callable[[], Any]] = [
        lambda: None,
        lambda: state.update({f"{name}{rng.choice(['.', 'x', '.weight', '_g'])}": tensor}),
        lambda: state.update({rng.choice(["", ".", "..", "network", "é" * 99, "\n"]): tensor}),
        lambda: state.update({name: tensor[None]}),
        lambda: state.update({name: tensor.flatten()}),
        lambda: state.update({name: tensor.new_zeros([0, *tensor.shape])}),
        lambda: state.update({name: tensor.new_zeros([])}),
        lambda: state.update({name: torch.cat([tensor, tensor])}),
        lambda: state.update({name: tensor.T.contiguous() if tensor.ndim == 2 else tensor}),
        lambda: state.update({name: tensor.to(rng.choice([torch.int8, torch.bool, torch.float16, torch.float64]))}),
        lambda: state.update({name: tensor.to(rng.choice([torch.float8_e4m3fn, torch.complex64, torch.bfloat16]))}),
        lambda: state.update({name: torch.full_like(tensor, rng.choice([float("nan"), float("inf"), 0.0, 1e38]))}),
    ]
    rng.choice(changes)()
    metadata = rng.choice([{OWN_MARK: "1"}, {OWN_MARK: "1"}, None, {"": ""}, {OWN_MARK: "\n" * 99}])
    save_file(state, path, metadata=metadata)


def config_text(folder: Path, rng: random.Random) -> None:
    path = folder / "config.json"
    path.write_bytes(scrambled(path.read_bytes(), rng))


def config_values(folder: Path, rng: random.Random) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for _ in range(rng.choice([1, 1, 2, 3])):
        config = twisted(config, rng)
    path.write_text(json.dumps(config))


def public_config_text(folder: Path, rng: random.Random) -> None:
    path = folder / "config.yaml"
    path.write_bytes(scrambled(path.read_bytes(), rng))


def public_config_values(folder: Path, rng: random.Random) -> None:
    path = folder / "config.yaml"
    path.write_text(json.dumps(twisted(yaml.safe_load(path.read_text()), rng)))  # JSON is YAML


def pickle_bytes(folder: Path, rng: random.Random) -> None:
    """Of the zip around the pickle and the numbers; most of it is the latter, so the ends are damaged more often."""
    (path,) = (path for path in folder.iterdir() if path.suffix in (".pth", ".bin"))
    data = path.read_bytes()
    low, high = rng.choice([(0, 2000), (0, 6000), (len(data) - 4000, len(data)), (0, len(data))])
    low, high = max(low, 0), min(high, len(data))
    path.write_bytes(data[:low] + scrambled(data[low:high], rng) + data[high:])


def old_pickle_bytes(folder: Path, rng: random.Random) -> None:
    pickle_bytes(folder, rng)


def pickle_values(folder: Path, rng: random.Random) -> None:
    """A pickle that is whole and holds something else."""
    path = folder / "weights.pth"
    content = torch.load(path, weights_only=True)
    config = content["metadata"]["kwargs"]
    match rng.randrange(4):
        case 0:
            content["metadata"]["kwargs"] = twisted(config, rng)
        case 1:
            content = twisted(content, rng)
        case 2:
            config[rng.choice(sorted(config))] = rng.choice([torch.zeros(2), {1: 2}, {3}, b"x", 1j, (1, 2)])
        case 3:
            state = content["state_dict"]
            name = rng.choice(sorted(state))
            tensor = state[name]
            state[name] = rng.choice(
                [tensor.expand(3, *tensor.shape), tensor.to_sparse(), torch.zeros(1).expand(1 << 40), tensor.long(),
                 tensor.tolist(), tensor.requires_grad_(), torch.nn.Parameter(tensor), tensor.to("meta"),
                 tensor.T if tensor.ndim == 2 else tensor[..., ::2], None]
            )  # fmt: skip
    torch.save(content, path)


# Which checkpoint each kind damages, and how often
KINDS: dict[str, tuple[Callable[[Path, random.Random], None], tuple[str, ...], int]] = {
    "header_bytes": (header_bytes, ("mel", "dac"), 400),
    "header_values": (header_values, ("mel", "dac"), 500),
    "file_bytes": (file_bytes, ("mel", "dac"), 300),
    "tensors": (tensors, ("mel", "dac"), 300),
    "config_text": (config_text, ("mel", "dac"), 400),
    "config_values": (config_values, ("mel", "dac"), 700),
    "public_config_text": (public_config_text, ("charactr-mel",), 150),
    "public_config_values": (public_config_values, ("charactr-mel",), 150),
    "pickle_bytes": (pickle_bytes, ("charactr-mel", "descript-dac"), 300),
    "old_pickle_bytes": (old_pickle_bytes, ("old",), 150),
    "pickle_values": (pickle_values, ("descript-dac",), 80),
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Whole checkpoints, by name."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("mel", "dac", "charactr-mel", "descript-dac", "old")}
    for name in SMALL:
        write(name, folders[name])
    for name in ("charactr-mel", "descript-dac"):
        OTHERS[name].write(folders[name])
    OTHERS["charactr-mel"].write(folders["old"])
    path = folders["old"] / "pytorch_model.bin"
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    return folders


def damaged(kind: str, seed: int, checkpoints: dict[str, Path], folder: Path) -> str:
    """Write a damaged checkpoint. Returns the name of its codec."""
    damage, choices, _ = KINDS[kind]
    rng = random.Random(f"{kind} {seed}")
    name = choices[seed % len(choices)]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(checkpoints[name], folder)
    damage(folder, rng)
    return "dac" if "dac" in name else "mel"


@pytest.mark.parametrize("name", ["mel", "dac", "charactr-mel", "descript-dac", "old"])
def test_what_is_not_damaged_loads(name: str, checkpoints: dict[str, Path]) -> None:
    assert get_voco("dac" if "dac" in name else "mel", weights=checkpoints[name]).load().is_loaded


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_with_an_exception_of_ours(
    kind: str, checkpoints: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, refused, escaped = tmp_path / "damaged", 0, []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(KINDS[kind][2]):
        name = damaged(kind, seed, checkpoints, folder)
        calls = Calls()
        try:
            with calls, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, on what it finds in a pickle
                get_voco(name, weights=folder).load()
        except (CheckpointError, WeightsUnavailable) as error:
            refused += 1
            if len(str(error)) > 10_000:
                escaped.append(f"seed {seed}: a message of {len(str(error))} characters: {str(error)[:300]!r}")
        except Exception as error:
            escaped.append(f"seed {seed}: {type(error).__name__}: {str(error)[:200]}")
        if calls.count > MOST_CALLS:
            escaped.append(f"seed {seed}: {calls.count} calls of functions")
    assert not escaped, f"{len(escaped)} of {kind}:\n" + "\n".join(escaped[:20])
    assert refused > KINDS[kind][2] // 10  # the damage is real
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KIBIBYTES
    assert capfd.readouterr().out == ""
