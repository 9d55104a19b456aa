"""Every array of the goldens, for every public format, each step on stored input."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import OTHERS, STAND_INS, StandIn, golden
from einops import rearrange
from golden_state import golden_audio
from torch import Tensor

from vocos import Voco, get_voco
from vocos.kernels import steps
from vocos.kernels.cache import tensors_of

ITEMS = STAND_INS | OTHERS
# What references store beside what a codec of ours does: other paddings, other ways to cut long audio, a mask.
# And two intermediate tensors that no module of ours has for output.
NOT_OURS = {"unpadded", "audio_chunked", "mean_chunked", "attention_mask"}
NOT_OURS |= {"message_seed0"}  # drawn inside decode: audio_watermarked_seed0 is right only if it is
NOT_OURS |= {"decoder.wm_model.msg_processor", "decoder.model.1.block.3"}
CHECKS = [
    (key, *array.split("__"))
    for key, item in ITEMS.items()
    for array in golden(item.golden)[1]
    if not array.startswith("const__") and not NOT_OURS & set(array.split("__"))
]


@pytest.mark.parametrize(("key", "case", "array"), CHECKS, ids=["-".join(check) for check in CHECKS])
def test_golden(key: str, case: str, array: str, folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    item = ITEMS[key]
    meta, arrays = golden(item.golden)
    want = torch.from_numpy(arrays[f"{case}__{array}"])
    voco = get_voco(item.name, weights=folder(key), **options(item, array, len(want), folder(key)))
    with torch.no_grad():
        given = tap(voco, item, array, monkeypatch) if case == "tap" else ours_of(voco, item, case, array)
    assert given.shape == want.shape
    rule = meta["cases"][case]["arrays"][f"{case}__{array}"]
    if array == "codes":
        assert torch.equal(given, want.long())
        return
    assert given.dtype == torch.float32
    if item.name == "mel" and array == "latents":
        linear = meta["tolerance"]["latents"]
        torch.testing.assert_close(given.exp(), want.exp(), atol=linear["linear_atol"], rtol=linear["linear_rtol"])
        loud = want > linear["log_above"]
        assert loud.any()
        torch.testing.assert_close(given[loud], want[loud], atol=linear["log_atol"], rtol=0.0)
    else:
        atol = rule.get("atol", meta["tolerance"]["atol"])
        torch.testing.assert_close(given, want, atol=atol, rtol=meta["tolerance"]["rtol"])


BANDWIDTHS = (1.5, 3.0, 6.0, 12.0)


def options(item: StandIn, array: str, size: int, folder: Path) -> dict[str, Any]:
    """Options of the codec that an array, whose first axis has this size, was made with."""
    found: dict[str, Any] = {}
    if item.companion:
        found["encodec_weights"] = folder / "encodec"
    if array == "codes" and item.name == "encodec":
        found["bandwidth"] = {16: 12.0, 8: 6.0}[size]
    if item.golden.startswith("dacvae-facebook"):
        found["watermark"] = array != "audio"
        if not array.endswith("seed0"):
            found["message"] = golden(item.golden)[0]["message"][:size]
    if "_id" in array:
        found["bandwidth"] = BANDWIDTHS[int(array[-1])]
    return found


def ours_of(voco: Voco[Any], item: StandIn, case: str, array: str) -> Tensor:
    """What the library gives for an array of an ordinary case."""
    meta, arrays = golden(item.golden)
    stored = {k.split("__")[1]: torch.from_numpy(v) for k, v in arrays.items() if k.startswith(f"{case}__")}
    if case == "decode_min":
        latents = torch.from_numpy(arrays["short__latents"])
        return voco.decode(latents[:, : voco.minimum_frames])
    audio = golden_audio(meta["cases"][case]["audio"])
    match array.rstrip("0123"):
        case "embeddings":
            return voco.encode(audio)
        case "codes" if item.name == "encodec":
            return rearrange(voco.latents_to_codes(stored["embeddings"]), "b l k -> k b l")
        case "features_id":
            return voco.codes_to_latents(rearrange(stored["codes"][: voco.n_codebooks], "k b l -> b l k"))
        case "audio_id":
            return voco.decode(stored[array.replace("audio", "features")] if item.companion else stored["latents"])
        case "latents":
            return voco.encode(audio)
        case "mean":
            return voco.encode(audio, sample=False)
        case "scale":
            return rearrange(voco.load().to_posterior(rearrange(audio, "b n c -> b c n"))[1], "b d l -> b l d")
        case "latents_seed":
            torch.manual_seed(0)
            return voco.encode(audio, sample=True)
        case "codes":
            return rearrange(voco.latents_to_codes(stored["latents"]), "b l k -> b k l")
        case "z_q" | "z_from_codes":
            return voco.codes_to_latents(rearrange(stored["codes"], "b k l -> b l k"))
        case "z_q_first":
            return voco.codes_to_latents(rearrange(stored["codes"][:, :2], "b k l -> b l k"))
        case "audio_watermarked_seed":
            torch.manual_seed(0)
            return voco.decode(stored["mean"])
        case "projected":
            return projected(voco, stored["latents"], stored["codes"])
        case "audio_q":
            return voco.decode(stored["z_q"])
        case "audio_tail":
            n_samples = voco.decode_length(stored["latents"].shape[1])
            return voco.decode(stored["latents"], length=n_samples + voco.hop_length)[:, n_samples:]
    return voco.decode(stored["mean"] if "mean" in stored else stored["latents"])


def projected(voco: Voco[Any], latents: Tensor, codes: Tensor) -> Tensor:
    """What each codebook of dac compares, given the codes of those before it."""
    residual, parts = rearrange(latents, "b l d -> b d l"), []
    for quantizer, chosen in zip(voco.network.quantizer.quantizers, codes.long().unbind(1), strict=True):
        parts.append(quantizer.in_proj(residual))
        residual = residual - quantizer.decode(chosen)
    return rearrange(torch.cat(parts, dim=1), "b d l -> b l d")


def tap(voco: Voco[Any], item: StandIn, array: str, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Output of the part whose tensors have this name in the file, on the main case."""
    meta, arrays = golden(item.golden)
    known, prefix = next(
        (known, prefix)
        for known in voco.formats
        for prefix in known.prefixes
        if any(
            name.startswith(f"{prefix}{known.marker}.weight") or f"{prefix}{known.marker}.param" in name
            for name in meta["tensors"]
        )
    )
    rules = known.rules(voco.hyperparameters)
    theirs = {f"{prefix}{getattr(rule, 'name', rule)}": ours for ours, rule in rules.items() if ours}
    inside = [ours for path, ours in theirs.items() if path == array or path.startswith(f"{array}.")]
    if ".block." not in array:  # of facebook's decoder: its blocks hold layers of the watermark too
        inside = [path for path in inside if not path.startswith("watermark.up") and "watermark.down" not in path]
    split = [path.split(".") for path in inside]
    ours = ".".join(
        same[0] for same in itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*split, strict=False))
    )
    assert ours, array
    ours = ours.removesuffix(".lstm") if isinstance(voco.network.get_submodule(ours), torch.nn.LSTM) else ours
    found: list[Tensor] = []
    module = voco.network.get_submodule(ours)
    own = {id(parameter) for parameter in module.parameters()}

    def run(chain: Sequence[steps.Step], x: Tensor) -> Tensor:
        for one in chain:
            x = steps.apply(one, x)
            tensors = {id(tensor) for tensor in tensors_of(one)}
            if tensors and tensors <= own:
                found.append(x)
        return x

    monkeypatch.setenv("VOCOS_KERNELS", "reference")
    monkeypatch.setattr(steps, "run", run)
    with module.register_forward_hook(lambda module, args, output: found.append(output)):
        if ours.startswith(("encoder", "in_proj")):
            voco.encode(golden_audio(meta["cases"]["main"]["audio"]))
        else:
            voco.decode(torch.from_numpy(arrays.get("main__mean", arrays.get("main__latents"))))
    return found[-1]


@pytest.mark.parametrize("key", ITEMS)
def test_lengths_that_were_measured_on_the_reference(key: str, folder: Any) -> None:
    meta, _ = golden(ITEMS[key].golden)
    voco = get_voco(ITEMS[key].name, weights=folder(key))
    truth = meta.get("lengths_true") or {"frames_of_n": {}, "samples_of_L": {}}
    for samples, frames in truth["frames_of_n"].items():
        assert voco.encode_length(int(samples)) == frames
    for frames, samples in truth["samples_of_L"].items():
        assert voco.decode_length(int(frames)) == samples
    for case in meta["cases"].values():
        if "n_frames" in case:
            assert voco.encode_length(case["n_samples"]) == case["n_frames"]
            assert voco.decode_length(case["n_frames"]) == case["n_samples_out"]


def test_goldens_are_whole() -> None:
    for item in ITEMS.values():
        meta, arrays = golden(item.golden)
        described = {key for case in meta["cases"].values() for key in case["arrays"]}
        assert described | set(meta.get("constant_arrays", {})) == set(arrays)
        assert all(np.isfinite(array).all() for array in arrays.values())
