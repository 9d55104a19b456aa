"""Every array of the goldens of the original package's five codecs, each step on stored input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import STAND_INS, golden
from einops import rearrange
from golden_state import golden_audio
from torch import Tensor

from vocos import Voco, get_voco


def arrays_of(name: str) -> list[tuple[str, str]]:
    """Case and array of everything a golden stores."""
    return [tuple(key.split("__")) for key in golden(STAND_INS[name].golden)[1] if not key.startswith("const")]  # type: ignore[misc]


CHECKS = [(name, case, array) for name in STAND_INS for case, array in arrays_of(name)]


@pytest.mark.parametrize(("name", "case", "array"), CHECKS, ids=["-".join(check) for check in CHECKS])
def test_golden(name: str, case: str, array: str, weights: Path) -> None:
    meta, arrays = golden(STAND_INS[name].golden)
    want = torch.from_numpy(arrays[f"{case}__{array}"])
    with torch.no_grad():
        given = {"tap": tap, "decode_min": shortest}.get(case, step)(name, case, array, weights)
    assert given.shape == want.shape
    assert given.dtype == (torch.int32 if array == "codes" else torch.float32)
    rule = meta["cases"][case]["arrays"][f"{case}__{array}"]
    if array == "codes":
        assert torch.equal(given, want)
    elif name == "mel" and array == "latents":
        linear = meta["tolerance"]["latents"]
        torch.testing.assert_close(given.exp(), want.exp(), atol=linear["linear_atol"], rtol=linear["linear_rtol"])
        loud = want > linear["log_above"]
        assert loud.any()
        torch.testing.assert_close(given[loud], want[loud], atol=linear["log_atol"], rtol=0.0)
    else:
        atol = rule.get("atol", meta["tolerance"]["atol"])
        torch.testing.assert_close(given, want, atol=atol, rtol=meta["tolerance"]["rtol"])


def step(name: str, case: str, array: str, weights: Path) -> Tensor:
    """What the library gives for an array of an ordinary case."""
    meta, arrays = golden(STAND_INS[name].golden)
    voco = get_voco(name, weights=weights)
    stored = {
        key.split("__")[1]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith(f"{case}_")
    }
    audio = golden_audio(meta["cases"][case]["audio"])
    match array:
        case "latents":
            return voco.encode(audio)
        case "mean":
            return voco.encode(audio, sample=False)
        case "scale":
            return rearrange(voco.load()._posterior(rearrange(audio, "b n c -> b c n"))[1], "b d l -> b l d")
        case "latents_seed0":
            torch.manual_seed(0)
            return voco.encode(audio)
        case "codes":
            return rearrange(voco.latents_to_codes(stored["latents"]), "b l k -> b k l").int()
        case "z_q":
            return voco.codes_to_latents(rearrange(stored["codes"], "b k l -> b l k"))
        case "projected":
            return projected(voco, stored["latents"], stored["codes"])
        case "audio_q":
            return voco.decode(stored["z_q"])
        case "audio":
            return voco.decode(stored["mean"] if name == "oobleck" else stored["latents"])
        case "audio_tail":
            n_samples = voco.decode_length(stored["latents"].shape[1])
            return voco.decode(stored["latents"], length=n_samples + voco.hop_length)[:, n_samples:]
    bandwidth = {"audio_id0": 1.5, "audio_id2": 6.0, "audio_id3": 12.0}[array]
    return get_voco(name, weights=weights, bandwidth=bandwidth).decode(stored["latents"])


def projected(voco: Voco[Any], latents: Tensor, codes: Tensor) -> Tensor:
    """What each codebook of dac compares, given the codes of those before it."""
    residual, parts = rearrange(latents, "b l d -> b d l"), []
    for quantizer, chosen in zip(voco.network.quantizer.quantizers, codes.long().unbind(1), strict=True):
        parts.append(quantizer.in_proj(residual))
        residual = residual - quantizer.decode(chosen)
    return rearrange(torch.cat(parts, dim=1), "b d l -> b l d")


def shortest(name: str, case: str, array: str, weights: Path) -> Tensor:
    latents = torch.from_numpy(golden(STAND_INS[name].golden)[1]["short__latents"])
    return get_voco(name, weights=weights).decode(latents[:, :2])


def tap(name: str, case: str, array: str, weights: Path) -> Tensor:
    """Output of the part whose tensors have this name in the file, on the main case."""
    meta, arrays = golden(STAND_INS[name].golden)
    voco = get_voco(name, weights=weights).load()
    theirs = {path: ours for known in voco.formats for ours, path in known.modules(voco._hyperparameters).items()}
    inside = [ours for path, ours in theirs.items() if path == array or path.startswith(f"{array}.")]
    ours = inside[0] if len(inside) == 1 else block_of(inside)
    found: list[Tensor] = []
    handle = voco.network.get_submodule(ours).register_forward_hook(lambda module, args, output: found.append(output))
    with handle:
        if array.startswith("encoder"):
            voco.encode(golden_audio(meta["cases"]["main"]["audio"]))
        else:
            voco.decode(torch.from_numpy(arrays["main__mean" if name == "oobleck" else "main__latents"]))
    return found[0]


def block_of(paths: list[str]) -> str:
    """The block that holds all these modules, such as encoder.blocks.2."""
    (prefix,) = {".".join(path.split(".")[:3]) for path in paths}
    return prefix


@pytest.mark.parametrize("name", STAND_INS)
def test_lengths_that_were_measured_on_the_reference(name: str, weights: Path) -> None:
    meta, _ = golden(STAND_INS[name].golden)
    voco = get_voco(name, weights=weights)
    truth = meta.get("lengths_true", {"frames_of_n": {"6003": 19}, "samples_of_L": {"19": 6080}})
    for samples, frames in truth["frames_of_n"].items():
        assert voco.encode_length(int(samples)) == frames
    for frames, samples in truth["samples_of_L"].items():
        assert voco.decode_length(int(frames)) == samples


def test_goldens_are_whole() -> None:
    for item in STAND_INS.values():
        meta, arrays = golden(item.golden)
        described = {key for case in meta["cases"].values() for key in case["arrays"]}
        assert described | set(meta.get("constant_arrays", {})) == set(arrays)
        assert all(np.isfinite(array).all() for array in arrays.values())
        assert json.dumps(meta["config"])
