"""The device check: each codec on a device, compared with its plain definition on the CPU."""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vocos import kernels
from vocos.errors import InvalidInput, UnsupportedOperation, WeightsUnavailable
from vocos.registry import get_voco, list_vocos
from vocos.voco import Voco
from vocos.voco.variational import VariationalVoco

CPU_DTYPES = (torch.float32, torch.bfloat16)  # few CPUs have units for float16, and without them it takes minutes
DTYPES = (*CPU_DTYPES, torch.float16)
# The least that `vocos check` and `vocos bench` measured on CPUs: 53 dB in float16 (small stand-in weights), 35 dB in
# bfloat16 (those, and random ones of full size), 122 in float32 between fast kernels and plain ones. The rest is left
# for other weights. GPUs may run the convolutions of float32 in TF32, which is as precise as float16.
OK_DB = {torch.float32: 40.0, torch.float16: 40.0, torch.bfloat16: 20.0}
CPU_FLOAT32_DB = 80.0
BROKEN_DB = 10.0  # an error of a third of the signal is heard by anyone
VENDORS = {"cpu": ("oneDNN", "mkldnn"), "cuda": ("cuDNN", "cudnn")}  # whose convolutions; its name in torch.backends


@dataclass(frozen=True)
class Finding:
    """What was found for one codec in one dtype.

    Attributes:
        voco: name of the codec.
        device: where it ran.
        dtype: what it ran in.
        encode_db: signal-to-noise ratio of the latents, in dB; infinite if they are equal, None if there are none.
        decode_db: signal-to-noise ratio of the audio that the same latents give, in dB.
        verdict: "ok", "suspicious", "broken", or "unchecked" if the codec cannot run even as it is defined.
        reason: more about a verdict that is not "ok".
    """

    voco: str
    device: str
    dtype: str
    encode_db: float | None
    decode_db: float | None
    verdict: str
    reason: str = ""


def check(
    device: str | torch.device = "cpu",
    vocos: Iterable[str | Voco[Any]] | Voco[Any] | str | None = None,
    *,
    fetch: bool = False,
) -> list[Finding]:
    """Run a second of a fixed signal through codecs on a device, and compare with the plain definition on the CPU.

    Each direction is compared alone, on the same input, in float32, bfloat16 and float16 as far as the device has them.
    A codec that draws from a posterior gives its mean here. No codec given is moved or changed.

    Args:
        device: such as "cuda"; "cpu" holds the fast CPU kernels against the plain ones.
        vocos: codecs or their names; None for every one whose weights are on this machine.
        fetch: download weights that are not.

    Returns:
        For each codec, one finding per dtype.

    Raises:
        InvalidInput: if there is no such device on this machine.
        WeightsUnavailable: if a codec was named whose weights are not on this machine.
    """
    place = _present(device)
    named = [vocos] if isinstance(vocos, (str, Voco)) else vocos
    offered = CPU_DTYPES if place.type == "cpu" else DTYPES
    dtypes = [dtype for dtype in offered if _is_offered(place, dtype)]
    findings: list[Finding] = []
    for voco in _available(fetch) if named is None else (_loaded(item, fetch) for item in named):
        findings += _findings(voco, place, dtypes)
    return findings


def _present(device: str | torch.device) -> torch.device:
    try:
        place = torch.device(device)
        torch.ones(1, device=place).cpu()
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:  # all of these are torch's
        expected = "check: expected a device of this machine, such as 'cpu'"
        raise InvalidInput(f"{expected}, got {str(device)!r}: {' '.join(str(error).split())}") from error
    return place


def _is_offered(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the device convolves in a dtype at all."""
    try:
        F.conv1d(torch.ones(1, 1, 8, device=device, dtype=dtype), torch.ones(1, 1, 3, device=device, dtype=dtype)).cpu()
    except (RuntimeError, TypeError):
        return False
    return True


def _loaded(item: str | Voco[Any], fetch: bool) -> Voco[Any]:
    return (item if isinstance(item, Voco) else get_voco(item, local_files_only=not fetch)).load()


def _available(fetch: bool) -> Iterator[Voco[Any]]:
    for name in list_vocos():
        try:
            yield _loaded(name, fetch)
        except WeightsUnavailable:
            if fetch:
                raise


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Inside, every hot operation is done as it is defined."""
    before = os.environ.get(kernels.VARIABLE)
    os.environ[kernels.VARIABLE] = "reference"
    try:
        yield
    finally:
        del os.environ[kernels.VARIABLE]
        if before is not None:
            os.environ[kernels.VARIABLE] = before


# The inputs (audio, latents) of both directions, or their results (latents, audio); None for a half that is left out.
Pair = tuple[Tensor | None, Tensor | None]


def _findings(voco: Voco[Any], device: torch.device, dtypes: list[torch.dtype]) -> list[Finding]:
    twin = copy.deepcopy(voco).to("cpu", torch.float32)
    audio = None if twin.part == "decoder" else signal(twin)
    try:
        with plain_kernels():
            latents = _run(twin, (audio, None))[0]
    except UnsupportedOperation as error:  # a package that the codec needs is not installed
        return [Finding(twin.name, str(device), "-", None, None, "unchecked", str(error))]
    if latents is None:
        shape = (1, twin.minimum_frames + round(twin.frame_rate), twin.latent_dim)
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    given = audio, None if twin.part == "encoder" else latents
    return [_finding(twin, device, dtype, given) for dtype in dtypes]


def _finding(twin: Voco[Any], device: torch.device, dtype: torch.dtype, given: Pair) -> Finding:
    # Both get numbers that the dtype has, so that only what is computed of them is compared: a small change of its
    # input is a large one of the phases that griffinlim finds.
    given = _each(lambda x: x.to(dtype), given)
    with plain_kernels():
        expected = _run(twin, _each(Tensor.float, given))
    place, name = str(device), str(dtype).removeprefix("torch.")
    try:
        voco = copy.deepcopy(twin).to(device, dtype)
        ratios = _ratios(voco, given, expected)
    except Exception as error:  # what the libraries of a device raise is their own
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Finding(twin.name, place, name, None, None, "broken", reason)
    verdict, reason = _verdict(ratios, device, dtype), ""
    if verdict != "ok" and device.type in VENDORS:
        vendor, backend = VENDORS[device.type]
        # The warnings are about flags that are set to what they are.
        with warnings.catch_warnings(action="ignore"), getattr(torch.backends, backend).flags(enabled=False):
            without = _ratios(voco, given, expected)
        if _verdict(without, device, dtype) == "ok":
            reason = f"{_least(without):.0f} dB without {vendor} (torch.backends.{backend}.flags(enabled=False))"
    return Finding(twin.name, place, name, *ratios, verdict, reason)


def _each(function: Callable[[Tensor], Tensor], pair: Pair) -> Pair:
    audio, latents = (None if tensor is None else function(tensor) for tensor in pair)
    return audio, latents


@torch.inference_mode()
def _run(voco: Voco[Any], given: Pair) -> Pair:
    """Encode the audio and decode the latents, as far as each is given."""
    audio, latents = given
    encoded = decoded = None
    if audio is not None:
        encoded = voco.encode(audio, sample=False) if isinstance(voco, VariationalVoco) else voco.encode(audio)
    if latents is not None:
        with torch.random.fork_rng(devices=[]):  # a codec may draw here too, such as the bits of a watermark
            torch.default_generator.manual_seed(0)
            decoded = voco.decode(latents)
    return encoded, decoded


Ratios = tuple[float | None, float | None]


def _ratios(voco: Voco[Any], given: Pair, expected: Pair) -> Ratios:
    results = _run(voco, _each(lambda x: x.to(voco.device), given))
    latents, sound = (
        None if result is None or wanted is None else snr_db(result, wanted)
        for result, wanted in zip(results, expected, strict=True)
    )
    return latents, sound


def _least(ratios: Ratios) -> float:
    return min(ratio for ratio in ratios if ratio is not None)


def _verdict(ratios: Ratios, device: torch.device, dtype: torch.dtype) -> str:
    enough = CPU_FLOAT32_DB if (device.type, dtype) == ("cpu", torch.float32) else OK_DB[dtype]
    return "ok" if _least(ratios) >= enough else "broken" if _least(ratios) < BROKEN_DB else "suspicious"


def signal(voco: Voco[Any]) -> Tensor:
    """The fixed second: a rising tone, a steady chord and noise; the channels differ. `[1, samples, channel]`.

    There is noise throughout, for the logarithm of a silent band would say nothing but how silence is rounded.
    """
    rate, channel = voco.sampling_rate, voco.channel
    seconds = (torch.arange(max(rate, voco.minimum_samples), dtype=torch.float64) / rate)[:, None]
    pitch = 110.0 * (1 + torch.arange(channel) / 3)  # Hz
    rising = torch.sin(2 * math.pi * (2 * pitch * seconds + rate / 5 * seconds**2))  # up to 0.4 of the rate
    chord = sum(torch.sin(2 * math.pi * k * pitch * seconds) / k for k in range(1, 8))
    noise = torch.randn(len(seconds), channel, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (0.2 * rising + 0.2 * chord + 0.05 * noise).clamp(-1.0, 1.0).float()[None]


def snr_db(given: Tensor, expected: Tensor) -> float:
    """Power of what was expected over that of the error, in dB; -inf if something given is not finite."""
    reference = expected.detach().cpu().double()
    error = (given.detach().cpu().double() - reference).square().sum().item()
    power = reference.square().sum().item()
    if not math.isfinite(error) or power == 0.0 < error:
        return -math.inf
    return 10.0 * math.log10(power / error) if error else math.inf
