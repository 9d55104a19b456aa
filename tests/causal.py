"""Goldens of the codecs that are made of Mimi's halves: what the library gives for each of their arrays."""

from __future__ import annotations

from typing import Any

from conftest import golden
from einops import rearrange
from golden_state import golden_audio
from goldens import stored
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


def is_bare(meta: dict[str, Any], case: str) -> bool:
    """Whether the reference had the audio without the padding to a multiple of the hop."""
    return case.startswith("bare_") or meta["cases"][case].get("padded_to_hop") is False


def given(voco: Voco[Any], name: str, case: str, array: str) -> Tensor:
    """What the library gives."""
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


def parameters_of(module: nn.Module) -> int:
    """How many numbers a module has."""
    return sum(parameter.numel() for parameter in module.parameters())
