"""The command `vocos`. Results go to stdout, progress and errors to stderr.

Exit codes: 0, 1 for an error of ours (one line, no traceback), 2 for wrong usage, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocos import __version__
from vocos.errors import CheckpointError, InvalidInput, VocoError

if TYPE_CHECKING:
    from torch import Tensor

    from vocos.voco import Voco

DEFAULT = "griffinlim"  # the codec that needs no weights
DTYPES = ("float32", "float16", "bfloat16")


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of stdout has seen enough
        sys.stderr.close()
        return 1
    except (VocoError, OSError, MemoryError) as error:
        return _fail(str(error) or type(error).__name__, 1)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"vocos: {' '.join(message.split())}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vocos", description="Neural audio codecs: sound to latents and back.")
    parser.add_argument("--version", action="version", version=f"vocos {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], None], name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = command(_list, "list", "The codecs, with what is known of each without its weights.")
    sub.add_argument("pattern", nargs="?", help='such as "dac*"')
    sub.add_argument("--json", action="store_true", help="for machines")

    sub = command(_info, "info", "What is known of one codec. Downloads no weights.")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("--weights", help="Hub repository, folder or file; default: those of the codec")
    sub.add_argument("--json", action="store_true", help="for machines")

    sub = command(_encode, "encode", "Audio files to latents, one .safetensors each.")
    _add_codec(sub)
    sub.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="audio file of any sampling rate")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="file, or folder for several")

    sub = command(_decode, "decode", "Latents, as encode writes them, to audio files.")
    _add_codec(sub, default=None)
    sub.add_argument("inputs", nargs="+", type=Path, metavar="IN", help=".safetensors file")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="file, or folder for several")

    sub = command(_roundtrip, "roundtrip", "An audio file to latents and back, to hear what the codec keeps.")
    _add_codec(sub)
    sub.add_argument("input", type=Path, metavar="IN", help="audio file of any sampling rate")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="audio file")

    sub = command(_demo, "demo", "Reconstruct a sample that comes with the package; write the sound and a picture.")
    _add_codec(sub)
    sub.add_argument("-o", "--output", type=Path, default=Path("demo"), metavar="FOLDER", help="default: demo")
    return parser


def _add_codec(parser: argparse.ArgumentParser, default: str | None = DEFAULT) -> None:
    told = f"default: {default}" if default else "default: the one that made the latents"
    parser.add_argument("--voco", "--codec", default=default, metavar="NAME", help=f"one of `vocos list`; {told}")
    parser.add_argument("--weights", help="Hub repository, folder or file; default: those of the codec")
    parser.add_argument("--device", help="such as cuda; default: cpu")
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="default: float32")
    parser.add_argument("--seed", type=int, help="of codecs that draw their latents")


# What is known


def _list(arguments: argparse.Namespace) -> None:
    from vocos.registry import list_vocos

    rows = [_facts(name) for name in list_vocos(arguments.pattern)]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    header = ["name", "Hz", "channels", "latent size", "frames/s", "licence", "weights"]
    table = [header] + [[row["name"], *_described(row)] for row in rows]
    widths = [max(len(line[column]) for line in table if len(line) > column) for column in range(len(header))]
    for line in table:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=False)).rstrip())


def _facts(name: str) -> dict[str, Any]:
    """Facts of a codec: of a built-in one without importing torch; of a broken plugin, its error."""
    from vocos.registry import BUILT_IN, get_voco

    try:
        codec: Any = BUILT_IN[name] if name in BUILT_IN else get_voco(name)
        facts = {key: getattr(codec, key) for key in ("sampling_rate", "channel", "latent_dim", "hop_length")}
    except VocoError as error:
        return {"name": name, "error": str(error)}
    rate = facts["sampling_rate"] / facts["hop_length"]
    return {"name": name, **facts, "frame_rate": rate, "license": codec.license, "source": codec.source}


def _described(row: dict[str, Any]) -> list[str]:
    if "error" in row:
        return [row["error"]]
    numbers = [str(row[key]) for key in ("sampling_rate", "channel", "latent_dim")]
    licence = row["license"] or ("not stated" if row["source"] else "-")
    return [*numbers, f"{row['frame_rate']:.2f}", licence, row["source"] or "none needed"]


def _info(arguments: argparse.Namespace) -> None:
    from vocos.registry import get_voco

    voco = get_voco(arguments.name, weights=arguments.weights)
    facts: dict[str, Any] = {
        "name": voco.name,
        "sampling_rate": voco.sampling_rate,
        "channel": voco.channel,
        "latent_dim": voco.latent_dim,
        "hop_length": voco.hop_length,
        "frame_rate": voco.frame_rate,
        "n_codebooks": voco.n_codebooks,
        "codebook_size": voco.codebook_size,
        "bits_per_second": voco.bits_per_second,
        "license": voco.license,
        "source": voco.source,
        "config": voco.config,
    }
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        text = ", ".join(f"{name}={part}" for name, part in value.items()) if key == "config" else value
        print(f"{key}: {('not stated' if key == 'license' else 'none') if text is None else text}")


# Sound and latents


@dataclass
class Job:
    """One file in, one file out."""

    source: Path
    target: Path


def _jobs(arguments: argparse.Namespace, ending: str) -> list[Job]:
    """What is to be done, checked before any work. One input goes to a file, or like several into a folder."""
    output: Path = arguments.output
    if len(arguments.inputs) == 1 and output.suffix and not output.is_dir():
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
    if len(jobs) > 1 or jobs[0].target is not output:
        output.mkdir(parents=True, exist_ok=True)
    return jobs


def _codec(arguments: argparse.Namespace, name: str) -> Voco[Any]:
    """The codec asked for, its weights loaded."""
    import torch

    from vocos.registry import get_voco

    if arguments.seed is not None:
        torch.manual_seed(arguments.seed)
    dtype = getattr(torch, arguments.dtype)
    voco = get_voco(name, weights=arguments.weights, device=arguments.device, dtype=dtype)
    try:
        return voco.load()
    except VocoError:
        raise
    except (RuntimeError, AssertionError) as error:  # what torch raises for a device that is not there
        raise InvalidInput(f"--device {arguments.device}: {error}") from error


def _progress(items: Iterable[Any], what: str) -> Iterable[Any]:
    from tqdm import tqdm

    bar: Iterable[Any] = tqdm(items, desc=what, unit="file", disable=None, leave=False)
    return bar


def _read_for(voco: Voco[Any], path: Path) -> tuple[Tensor, list[str]]:
    """Sound of a file as the codec wants it, and what was done to it."""
    from vocos import audio

    sound, sampling_rate = audio.read(path)
    converted, done = audio.convert(sound, sampling_rate, voco.sampling_rate, voco.channel)
    return converted.to(voco.device), done


def _said(path: Path, what: str, done: list[str]) -> None:
    print(f"{path}: {'; '.join([what, *done])}")


def _encode(arguments: argparse.Namespace) -> None:
    import torch

    from vocos import latents

    jobs = _jobs(arguments, ".safetensors")
    for job in jobs:
        if job.target.suffix != ".safetensors":
            raise InvalidInput(f"{job.target}: latents are written as .safetensors")
    voco = _codec(arguments, arguments.voco)
    for job in _progress(jobs, "encode"):
        sound, done = _read_for(voco, job.source)
        with torch.inference_mode():
            values = voco.encode(sound)
        latents.write(job.target, voco, values, sound.shape[1])
        seconds = sound.shape[1] / voco.sampling_rate
        _said(job.target, f"{values.shape[1]} frames of {voco.latent_dim}, {seconds:.2f} s", done)


def _decode(arguments: argparse.Namespace) -> None:
    import torch

    from vocos import audio, latents

    jobs = _jobs(arguments, ".wav")
    for job in jobs:
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
        with torch.inference_mode():
            sound = voco.decode(values.to(voco.device), length=origin.samples)
        clipped = audio.write(job.target, sound, voco.sampling_rate)
        _said(job.target, f"{_heard(voco, sound)} by {voco.name}", clipped)


def _heard(voco: Voco[Any], sound: Tensor) -> str:
    channels = {1: "mono", 2: "stereo"}[voco.channel]
    return f"{sound.shape[1] / voco.sampling_rate:.2f} s {channels} at {voco.sampling_rate} Hz"


def _reconstructed(arguments: argparse.Namespace, source: Path) -> tuple[Voco[Any], Tensor, Tensor, list[str]]:
    """The codec, the sound that goes in, what comes out, and what was done before."""
    import torch

    voco = _codec(arguments, arguments.voco)
    sound, done = _read_for(voco, source)
    with torch.inference_mode():
        return voco, sound, voco.decode(voco.encode(sound), length=sound.shape[1]), done


def _roundtrip(arguments: argparse.Namespace) -> None:
    from vocos import audio

    audio.writable(arguments.output)
    voco, _, sound, done = _reconstructed(arguments, arguments.input)
    done += audio.write(arguments.output, sound, voco.sampling_rate)
    _said(arguments.output, f"{_heard(voco, sound)} by {voco.name}", done)


def _demo(arguments: argparse.Namespace) -> None:
    from vocos import audio, picture

    folder: Path = arguments.output
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder}: expected a folder, this is a file")
    with as_file(files("vocos") / "assets" / "sample.flac") as sample:
        voco, before, after, done = _reconstructed(arguments, sample)
    folder.mkdir(parents=True, exist_ok=True)
    _said(Path("sample"), "speech over music, that comes with the package", done)
    for name, sound, what in (("original.wav", before, "what went in"), ("reconstruction.wav", after, "what came out")):
        clipped = audio.write(folder / name, sound, voco.sampling_rate)
        _said(folder / name, what, [_heard(voco, sound), *clipped])
    panels = [sound[0].mean(dim=1).float().cpu().numpy() for sound in (before, after)]
    picture.write_spectrograms(folder / "spectrograms.png", panels)
    frames = voco.encode_length(before.shape[1])
    print(f"{folder / 'spectrograms.png'}: original on top, reconstruction below, 0 to {voco.sampling_rate // 2} Hz")
    print(
        f"{voco.name}: {frames} frames of {voco.latent_dim} numbers in between, {voco.frame_rate:.2f} frames per second"
    )


if __name__ == "__main__":
    sys.exit(main())
