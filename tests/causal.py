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

# Of an array, the module whose output it is.
INSIDE = {
    "seanet": "encoder.seanet",
    "transformer": "encoder.transformer",
    "upsampled": "decoder.upsample",
    "decoder_transformer": "decoder.transformer",
}


def cases_of(name: str) -> list[tuple[str, str]]:
    """The cases of a golden with their arrays."""
    meta, arrays = golden(name)
    return [(case, array.split("__")[1]) for case in meta["cases"] for array in arrays if array.startswith(f"{case}__")]


def is_bare(meta: dict[str, Any], case: str) -> bool:
    """Whether the reference had the audio without the padding to a multiple of the hop."""
    return meta["cases"][case].get("padded_to_hop") is False


def stored(name: str, case: str, array: str) -> Tensor:
    """An array of a golden."""
    return torch.from_numpy(golden(name)[1][f"{case}__{array}"])


def given(voco: Voco[Any], name: str, case: str, array: str) -> Tensor:
    """What the library gives, cut as the stored array is."""
    meta, arrays = golden(name)
    audio = golden_audio(meta["cases"][case]["audio"])
    rows = [row["n_samples"] for row in meta["cases"][case]["audio"]["rows"]]
    if len(set(rows)) == 1:
        audio = audio[:, : rows[0]]  # the library completes it by itself
    codes = stored(name, case, "codes").long() if f"{case}__codes" in arrays else None
    found = _given(voco, audio, codes, array)
    if array == "codes":
        found = found[..., : stored(name, case, array).shape[2]]
    rule = meta["cases"][case]["arrays"][array]
    if "time_slice" in rule:
        found = found[:, slice(*rule["time_slice"])]
    return found[..., :: rule.get("channel_stride", 1)]


def _given(voco: Voco[Any], audio: Tensor, codes: Tensor | None, array: str) -> Tensor:
    base, _, count = array.partition("_k")
    some = codes if codes is None or not count else codes[..., : int(count)]
    if array in INSIDE:
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


def inside(voco: Voco[Any], audio: Tensor, codes: Tensor | None, array: str) -> Tensor:
    """The output of a module on the way."""
    part, _, _ = INSIDE[array].partition(".")
    if part == "encoder":
        x, chain = audio, voco.encoder_steps(voco.network)
    else:
        x = voco.encode(audio) if codes is None else voco.codes_to_latents(codes)
        chain = voco.decoder_steps(voco.network)
    following = {"seanet": 2, "transformer": 1, "upsampled": 2, "decoder_transformer": 1}[array]  # steps of its half
    return rearrange(steps.run(chain[:-following], rearrange(x, "b n c -> b c n")), "b c n -> b n c")


def assert_close(name: str, case: str, array: str, found: Tensor) -> None:
    """Codes to the number, the rest to ten times what float32 was measured to be off, and not less than 1e-5."""
    wanted = stored(name, case, array)
    assert found.shape == wanted.shape
    if array == "codes":
        assert torch.equal(found, wanted.long())
        return
    error = golden(name)[0]["cases"][case]["arrays"][array]["max_abs_error_float32_vs_float64"]
    torch.testing.assert_close(found, wanted, atol=max(1e-5, 10 * error), rtol=0.0)


def last_frame_differs(name: str, padded: str, bare: str) -> tuple[Tensor, Tensor]:
    """Codes of the same audio, padded and bare, all but whose last frames are equal."""
    first, second = stored(name, padded, "codes"), stored(name, bare, "codes")
    assert torch.equal(first[:, :-1], second[:, :-1])
    return first[:, -1], second[:, -1]


def parameters_of(module: nn.Module) -> int:
    """How many numbers a module has."""
    return sum(parameter.numel() for parameter in module.parameters())
