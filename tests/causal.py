"""Goldens of the codecs that are made of Mimi's halves: what the library gives for each of their arrays."""

from __future__ import annotations

from typing import Any

import torch
from conftest import golden
from einops import rearrange
from golden_state import golden_audio
from torch import Tensor, nn

from vocos import Voco
from vocos.kernels import steps

# Of an array, the half whose output on the way it is, and how many steps of the half come after it.
INSIDE = {
    "mimi": {
        "seanet": ("encoder", 2),
        "transformer": ("encoder", 1),
        "upsampled": ("decoder", 2),
        "decoder_transformer": ("decoder", 1),
    },
    "qwen3_tts": {
        "seanet": ("encoder", 2),
        "transformer": ("encoder", 1),
        "pre_conv": ("decoder", 9),
        "pre_transformer": ("decoder", 6),
        "upsampled": ("decoder", 2),
    },
}
INSIDE["pocket_tts"] = INSIDE["mimi"] | {"projected": ("decoder", 3)}


def cases_of(name: str) -> list[tuple[str, str]]:
    """The cases of a golden with their arrays."""
    meta, arrays = golden(name)
    return [(case, array.split("__")[1]) for case in meta["cases"] for array in arrays if array.startswith(f"{case}__")]


def is_bare(meta: dict[str, Any], case: str) -> bool:
    """Whether the reference had the audio without the padding to a multiple of the hop."""
    return case.startswith("bare_") or meta["cases"][case].get("padded_to_hop") is False


def stored(name: str, case: str, array: str) -> Tensor:
    """An array of a golden."""
    return torch.from_numpy(golden(name)[1][f"{case}__{array}"])


def given(voco: Voco[Any], name: str, case: str, array: str) -> Tensor:
    """What the library gives, cut as the stored array is."""
    meta, arrays = golden(name)
    codes = stored(name, case, "codes").long() if f"{case}__codes" in arrays else None
    audio = None
    if "audio" in meta["cases"][case]:
        audio = golden_audio(meta["cases"][case]["audio"])
        rows = [row["n_samples"] for row in meta["cases"][case]["audio"]["rows"]]
        if len(set(rows)) == 1:
            audio = audio[:, : rows[0]]  # the library completes it by itself
    if audio is None and array == "codes":  # which are given
        assert codes is not None
        return codes
    found = _given(voco, audio, codes, array)
    if array == "codes":
        found = found[..., : stored(name, case, array).shape[2]]
    rule = rule_of(name, case, array)
    if "time_slice" in rule:
        found = found[:, slice(*rule["time_slice"])]
    if "stored_slice" in rule:  # such as [:, 0::23]
        start, _, step = rule["stored_slice"].strip("[:, ]").partition("::")
        found = found[:, int(start) :: int(step)]
    return found[..., :: rule.get("channel_stride", 1)]


def rule_of(name: str, case: str, array: str) -> dict[str, Any]:
    """What a golden says of an array."""
    rules = golden(name)[0]["cases"][case]["arrays"]
    found: dict[str, Any] = rules[array] if array in rules else rules[f"{case}__{array}"]
    return found


def _given(voco: Voco[Any], audio: Any, codes: Any, array: str) -> Tensor:
    base, _, count = array.partition("_k")
    some = codes if codes is None or not count else codes[..., : int(count)]
    if array in INSIDE[voco.name]:
        return inside(voco.load(), audio, codes, array)
    match base:
        case "latents":
            return voco.encode(audio)
        case "codes":
            return voco.encode_codes(audio)
        case "quantized":
            return voco.codes_to_latents(some)
        case "audio":
            return voco.decode(voco.encode(audio)) if some is None else voco.decode_codes(some)
        case "audio_unquantized":
            return voco.decode(voco.encode(audio))
    raise AssertionError(array)


def inside(voco: Voco[Any], audio: Any, codes: Any, array: str) -> Tensor:
    """The output of a module on the way."""
    part, following = INSIDE[voco.name][array]
    if part == "encoder":
        x, chain = audio, voco.encoder_steps(voco.network)
    else:
        x = voco.encode(audio) if codes is None else voco.codes_to_latents(codes)
        chain = voco.decoder_steps(voco.network)
    return rearrange(steps.run(chain[:-following], rearrange(x, "b n c -> b c n")), "b c n -> b n c")


def assert_close(name: str, case: str, array: str, found: Tensor) -> None:
    """Codes to the number, the rest to ten times what float32 was measured to be off, and not less than 1e-5."""
    wanted = stored(name, case, array)
    assert found.shape == wanted.shape
    if array == "codes":
        assert torch.equal(found, wanted.long())
        return
    error = rule_of(name, case, array)["max_abs_error_float32_vs_float64"]
    torch.testing.assert_close(found, wanted, atol=max(1e-5, 10 * error), rtol=0.0)


def parameters_of(module: nn.Module) -> int:
    """How many numbers a module has."""
    return sum(parameter.numel() for parameter in module.parameters())
