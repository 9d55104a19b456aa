"""The commands of `vocos` that deal with sound. Each takes the arguments that `vocos.cli` has parsed."""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocos.errors import CheckpointError, InvalidInput, VocoError

# torch takes more than a second to import: the commands that do not need it answer without.
if TYPE_CHECKING:
    from torch import Tensor

    from vocos.voco import Voco


@dataclass
class Job:
    """One file in, one file out."""

    source: Path
    target: Path


def _jobs(arguments: argparse.Namespace, ending: str) -> list[Job]:
    """What is to be done, checked before any work. One input goes to a file, or like several into a folder."""
    output: Path = arguments.output
    if len(arguments.inputs) == 1 and output.suffix and not output.is_dir():
        if not output.parent.is_dir():
            raise InvalidInput(f"{output}: the folder {output.parent} does not exist")
        jobs = [Job(arguments.inputs[0], output)]
    else:
        if output.exists() and not output.is_dir():
            raise InvalidInput(f"{output}: several inputs need a folder, this is a file")
        jobs = [Job(path, output / f"{path.stem}{ending}") for path in arguments.inputs]
    targets: dict[Path, Path] = {}
    for job in jobs:
        if not job.source.is_file():
            raise InvalidInput(f"{job.source}: no such file")
        if job.target in targets:
            raise InvalidInput(f"{targets[job.target]} and {job.source} would both become {job.target}")
        targets[job.target] = job.source
    return jobs


def _codec(arguments: argparse.Namespace, name: str) -> Voco[Any]:
    """The codec asked for, not loaded."""
    import torch

    from vocos.registry import get_voco

    if arguments.seed is not None:
        torch.manual_seed(arguments.seed)
    dtype = getattr(torch, arguments.dtype)
    return get_voco(name, weights=arguments.weights, device=arguments.device, dtype=dtype)


def _load(voco: Voco[Any]) -> None:
    try:
        voco.load()
    except VocoError:
        raise
    except (RuntimeError, AssertionError) as error:  # what torch raises for a device that is not there
        raise InvalidInput(f"--device {voco.device}: {error}") from error


def _progress(items: Iterable[Any], what: str) -> Iterable[Any]:
    from tqdm import tqdm

    bar: Iterable[Any] = tqdm(items, desc=what, unit="file", disable=None, leave=False)
    return bar


def _read_for(voco: Voco[Any], path: Path) -> tuple[Tensor, list[str]]:
    """Sound of a file as the codec wants it, and what was done to it."""
    from vocos.files import audio

    sound, sampling_rate = audio.read(path)
    converted, done = audio.convert(sound, sampling_rate, voco.sampling_rate, voco.channel)
    return converted, done


def _said(path: Path, what: str, done: list[str]) -> None:
    print(f"{path}: {'; '.join([what, *done])}")


def encode(arguments: argparse.Namespace) -> None:
    """Audio files to latents."""
    import torch

    from vocos.files import latents

    jobs = _jobs(arguments, ".safetensors")
    for job in jobs:
        if job.target.suffix != ".safetensors":
            raise InvalidInput(f"{job.target}: latents are written as .safetensors")
    voco = _codec(arguments, arguments.voco)
    _load(voco)
    for job in _progress(jobs, "encode"):
        sound, done = _read_for(voco, job.source)
        with torch.inference_mode():
            values = voco.encode(sound.to(voco.device))
        job.target.parent.mkdir(parents=True, exist_ok=True)
        latents.write(job.target, voco, values, sound.shape[1])
        seconds = sound.shape[1] / voco.sampling_rate
        _said(job.target, f"{values.shape[1]} frames of {voco.latent_dim}, {seconds:.2f} s", done)


def decode(arguments: argparse.Namespace) -> None:
    """Latents to audio files."""
    import torch

    from vocos.files import audio, latents

    jobs = _jobs(arguments, ".wav")
    for job in jobs:
        if job.target.parent.is_dir():  # else it is a folder to be made, for files of an ending that can be written
            audio.writable(job.target)
    vocos: dict[str, Voco[Any]] = {}
    for job in _progress(jobs, "decode"):
        values, origin = latents.read(job.source)
        name = arguments.voco or origin.voco
        voco = vocos[name] = vocos.get(name) or _codec(arguments, name)
        if arguments.weights is None and origin.source != voco.source:
            raise CheckpointError(
                f"{job.source}: made with the weights {origin.source}, not {voco.source}; pass --weights"
            )
        longest = values.shape[1] * voco.hop_length
        if not 1 <= origin.samples <= longest:
            raise CheckpointError(f"{job.source}: says {origin.samples} samples, its latents have at most {longest}")
        _load(voco)
        with torch.inference_mode():
            sound = voco.decode(values.to(voco.device), length=origin.samples)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        clipped = audio.write(job.target, sound, voco.sampling_rate)
        _said(job.target, f"{_heard(sound, voco.sampling_rate)} by {voco.name}", clipped)


def tokenize(arguments: argparse.Namespace) -> None:
    """Audio files to codes."""
    import torch

    from vocos.files.codes import ENDINGS, levelled, save_codes

    jobs = _jobs(arguments, f".{arguments.to}")
    for job in jobs:
        if job.target.suffix not in ENDINGS:
            raise InvalidInput(f"{job.target}: codes are written as {', '.join(ENDINGS)}")
    voco = _codec(arguments, arguments.voco)
    count = voco._book_count("tokenize", arguments.n_codebooks, arguments.bandwidth)
    _load(voco)
    for job in _progress(jobs, "tokenize"):
        sound, done = _read_for(voco, job.source)
        length, loudness = sound.shape[1], None
        if job.target.suffix == ".dac":
            sound, loudness = levelled(sound, voco.sampling_rate)
        with torch.inference_mode():
            codes = voco.encode_codes(sound.to(voco.device), count)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        save_codes(job.target, codes, voco, length, loudness=loudness)
        seconds = length / voco.sampling_rate
        rate = count * math.log2(voco.codebook_size or 1) * voco.frame_rate / 1000
        _said(job.target, f"{codes.shape[1]} frames of {count} codes, {seconds:.2f} s, {rate:.2f} kbit/s", done)


def detokenize(arguments: argparse.Namespace) -> None:
    """Codes to audio files."""
    import torch

    from vocos.files import audio
    from vocos.files.codes import load_codes, origin

    jobs = _jobs(arguments, ".wav")
    for job in jobs:
        if job.target.parent.is_dir():
            audio.writable(job.target)
    vocos: dict[str, Voco[Any]] = {}
    if arguments.voco:
        vocos[arguments.voco] = _codec(arguments, arguments.voco)
    for job in _progress(jobs, "detokenize"):
        with _warnings_on_stderr():
            found = load_codes(job.source, vocos.get(arguments.voco), strict=not arguments.damaged)
            name = arguments.voco or found.codec
            if name is None:
                raise InvalidInput(f"{job.source}: does not say which codec its codes are of; pass --voco")
            voco = vocos[name] = vocos.get(name) or _codec(arguments, name)
            found.check(voco)
            if arguments.weights is None and found.source not in (None, origin(voco)[0]):
                raise CheckpointError(
                    f"{job.source}: made with the weights {found.source}, not {voco.source}; pass --weights"
                )
            _load(voco)
            with torch.inference_mode():
                sound = found.decode(voco)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        clipped = audio.write(job.target, sound, found.sampling_rate)
        _said(job.target, f"{_heard(sound, found.sampling_rate)} by {voco.name}", clipped)


@contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """Warnings as lines for a user of the command, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        print(f"vocos: {text}", file=sys.stderr)


def _heard(sound: Tensor, sampling_rate: int) -> str:
    channels = {1: "mono", 2: "stereo"}.get(sound.shape[2], f"in {sound.shape[2]} channels")
    return f"{sound.shape[1] / sampling_rate:.2f} s {channels} at {sampling_rate} Hz"


def _reconstructed(arguments: argparse.Namespace, source: Path) -> tuple[Voco[Any], Tensor, Tensor, list[str]]:
    """The codec, the sound that goes in, what comes out, and what was done before."""
    import torch

    voco = _codec(arguments, arguments.voco)
    sound, done = _read_for(voco, source)
    _load(voco)
    with torch.inference_mode():
        return voco, sound, voco.decode(voco.encode(sound.to(voco.device)), length=sound.shape[1]), done


def roundtrip(arguments: argparse.Namespace) -> None:
    """An audio file to latents and back."""
    from vocos.files import audio

    audio.writable(arguments.output)
    voco, _, sound, done = _reconstructed(arguments, arguments.input)
    done += audio.write(arguments.output, sound, voco.sampling_rate)
    _said(arguments.output, f"{_heard(sound, voco.sampling_rate)} by {voco.name}", done)


def demo(arguments: argparse.Namespace) -> None:
    """Reconstruct the sample of the package."""
    from vocos.cli import picture
    from vocos.files import audio

    folder: Path = arguments.output
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder}: expected a folder, this is a file")
    with as_file(files("vocos") / "assets" / "sample.flac") as sample:
        voco, before, after, done = _reconstructed(arguments, sample)
    folder.mkdir(parents=True, exist_ok=True)
    _said(Path("sample"), "speech over music, that comes with the package", done)
    for name, sound, what in (("original.wav", before, "what went in"), ("reconstruction.wav", after, "what came out")):
        clipped = audio.write(folder / name, sound, voco.sampling_rate)
        _said(folder / name, what, [_heard(sound, voco.sampling_rate), *clipped])
    panels = [sound[0].mean(dim=1).float().cpu().numpy() for sound in (before, after)]
    picture.write_spectrograms(folder / "spectrograms.png", panels)
    frames = voco.encode_length(before.shape[1])
    print(f"{folder / 'spectrograms.png'}: original on top, reconstruction below, 0 to {voco.sampling_rate // 2} Hz")
    print(
        f"{voco.name}: {frames} frames of {voco.latent_dim} numbers in between, {voco.frame_rate:.2f} frames per second"
    )
