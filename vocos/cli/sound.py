"""The commands of `vocos` that deal with audio. Each takes the arguments that `vocos.cli` has parsed."""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocos.cli.blocks import progress, silent_decoders, sound_for, written
from vocos.cli.jobs import Batch, Job, Kind, is_pipe, piped
from vocos.cli.lines import complain, tell
from vocos.errors import CheckpointError, InvalidInput, UnsupportedOperation, VocoError

# torch takes more than a second to import: the commands that do not need it answer without.
if TYPE_CHECKING:
    from torch import Tensor

    from vocos.voco import Voco
    from vocos.voco.flow import Flow


LATENTS = Kind("latents are", (".safetensors",))
SAME = 2e-5  # of the largest sample: float32 rounding; that of our codecs is within 2e-6


def encode(arguments: argparse.Namespace) -> int:
    """Audio files to latents."""
    from vocos.files import audio, latents
    from vocos.voco.flow import Flow

    batch = Batch(arguments, _sound(audio.READ), LATENTS)
    codecs = _Codecs(arguments)
    voco = codecs.first(arguments.voco, batch)

    def encoded(job: Job) -> tuple[str, list[str]]:
        flow = Flow(voco, "encode")
        with (
            sound_for(voco, job.source, arguments.quiet) as (sound, pieces),
            latents.writing(job.place(), voco) as file,
        ):
            for values in flow(pieces):
                file.write(values)
            file.samples = sound.samples
        seconds = sound.samples / voco.sampling_rate
        return f"{file.frames} frames of {voco.latent_dim}, {seconds:.2f} s", [*sound.done, *flow.remarks]

    return batch.each(encoded)


def decode(arguments: argparse.Namespace) -> int:
    """Latents to audio files."""
    from vocos.files import audio, latents
    from vocos.voco.flow import Flow

    batch = Batch(arguments, LATENTS, _sound(audio.WRITTEN))
    codecs = _Codecs(arguments)

    def decoded(job: Job) -> tuple[str, list[str]]:
        with latents.reading(job.source) as values:
            origin = values.origin
            voco = codecs.made(arguments.voco or origin.voco)
            if arguments.weights is None and origin.source != voco.source:
                raise CheckpointError(
                    f"{job.source}: made with the weights {origin.source}, not {voco.source}; pass --weights"
                )
            longest = values.frames * voco.hop_length
            if not 1 <= origin.samples <= longest:
                raise CheckpointError(
                    f"{job.source}: says {origin.samples} samples, its latents have at most {longest}"
                )
            _check_target(job, voco.sampling_rate)
            codecs.load(voco)
            flow = Flow(voco, "decode")
            with progress(origin.samples / voco.sampling_rate, arguments.quiet) as update:
                file = written(job, flow(values, lambda: origin.samples), voco, update)
        return f"{_heard(file.samples, voco.channel, voco.sampling_rate)} by {voco.name}", [
            *file.remarks,
            *flow.remarks,
        ]

    return batch.each(decoded)


def tokenize(arguments: argparse.Namespace) -> int:
    """Audio files to codes."""
    import torch

    from vocos.files import audio
    from vocos.files.codes import ENDINGS, levelled
    from vocos.files.codes.writer import writing
    from vocos.voco.flow import Flow

    first = f".{arguments.to}"
    batch = Batch(arguments, _sound(audio.READ), Kind("codes are", (first, *(e for e in ENDINGS if e != first))))
    codecs = _Codecs(arguments)
    count = codecs.made(arguments.voco).count_codebooks("tokenize", arguments.n_codebooks, arguments.bandwidth)
    voco = codecs.first(arguments.voco, batch)

    def tokenized(job: Job) -> tuple[str, list[str]]:
        flow, loudness, frames = Flow(voco, "encode_codes", {"n_codebooks": count}), None, 0
        with sound_for(voco, job.source, arguments.quiet) as (sound, pieces):
            if job.target.suffix.lower() == ".dac":  # whose loudness is that of the whole
                whole, loudness = levelled(torch.cat(list(pieces), dim=1), voco.sampling_rate)
            with writing(job.place(), voco, loudness) as file:
                for codes in flow(pieces if loudness is None else iter([whole])):
                    file.write(codes)
                    frames += codes.shape[1]
                file.samples = sound.samples
        seconds = sound.samples / voco.sampling_rate
        columns = voco.columns_of(count)
        rate = columns * math.log2(voco.codebook_size or 1) * voco.sampling_rate / voco.code_hop_length / 1000
        told = f"{frames} frames of {columns} codes, {seconds:.2f} s, {rate:.2f} kbit/s"
        return told, [*sound.done, *flow.remarks]

    return batch.each(tokenized)


def detokenize(arguments: argparse.Namespace) -> int:
    """Codes to audio files."""
    from vocos.files import audio
    from vocos.files.codes import ENDINGS, origin, reading
    from vocos.voco.flow import Flow

    batch = Batch(arguments, Kind("codes are", ENDINGS), _sound(audio.WRITTEN))
    codecs = _Codecs(arguments)
    asked = codecs.made(arguments.voco) if arguments.voco else None

    def detokenized(job: Job) -> tuple[str, list[str]]:
        with _warnings_on_stderr(job.source), reading(job.source, asked, strict=not arguments.damaged) as found:
            name = arguments.voco or found.codec
            if name is None:
                raise InvalidInput(f"{job.source}: does not say which codec its codes are of; pass --voco")
            voco = codecs.made(name)
            found.check(voco)
            if arguments.weights is None and found.source not in (None, origin(voco)[0]):
                raise CheckpointError(
                    f"{job.source}: made with the weights {found.source}, not {voco.source}; pass --weights"
                )
            _check_target(job, found.sampling_rate)
            codecs.load(voco)
            flow = Flow(voco, "decode_codes")
            with progress(found.samples / found.sampling_rate, arguments.quiet) as update:
                file = written(job, _sound_of(found, voco, flow), voco, update)
        told = f"{_heard(file.samples, voco.channel, found.sampling_rate)} by {voco.name}"
        return told, [*file.remarks, *flow.remarks]

    return batch.each(detokenized)


def roundtrip(arguments: argparse.Namespace) -> int:
    """Audio files to latents and back."""
    from vocos.files import audio
    from vocos.voco.flow import Flow

    batch = Batch(arguments, _sound(audio.READ), _sound(audio.WRITTEN))
    voco = _Codecs(arguments).first(arguments.voco, batch)

    def reconstructed(job: Job) -> tuple[str, list[str]]:
        _check_target(job, voco.sampling_rate)
        there, back = Flow(voco, "encode"), Flow(voco, "decode")
        with sound_for(voco, job.source, arguments.quiet) as (sound, pieces):
            file = written(job, back(there(pieces), lambda: sound.samples), voco)
        done = [*sound.done, *file.remarks, *dict.fromkeys(there.remarks + back.remarks)]
        return f"{_heard(file.samples, voco.channel, voco.sampling_rate)} by {voco.name}", done

    return batch.each(reconstructed)


def demo(arguments: argparse.Namespace) -> None:
    """Reconstruct the sample of the package."""
    from vocos.cli import picture
    from vocos.files import audio

    folder: Path = arguments.output
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder}: expected a folder, this is a file")
    codecs = _Codecs(arguments)
    voco = codecs.made(arguments.voco)
    without_chance = dict(voco.without_chance.get("decode", {}))
    obstacle = voco.stream_obstacle("decoder") if arguments.stream else None
    if obstacle is not None:
        raise UnsupportedOperation(
            f"demo: {voco.name} has no stream in this direction: {obstacle}; pass a codec that has, such as --voco "
            "encodec_24khz"
        )
    stream = voco.decode_stream(**without_chance) if arguments.stream else None
    codecs.load(voco)
    with as_file(files("vocos") / "assets" / "sample.flac") as sample:
        before, after, done = _reconstructed(voco, sample)
    if stream is not None:
        after = _pushed(voco, stream, before, without_chance)
    folder.mkdir(parents=True, exist_ok=True)
    tell("; ".join(["sample: speech over music, that comes with the package", *done]))
    for name, sound, what in (("original.wav", before, "what went in"), ("reconstruction.wav", after, "what came out")):
        clipped = audio.write(folder / name, sound, voco.sampling_rate)
        tell(
            f"{folder / name}: {'; '.join([what, _heard(sound.shape[1], voco.channel, voco.sampling_rate), *clipped])}"
        )
    panels = [sound[0].mean(dim=1).float().cpu().numpy() for sound in (before, after)]
    picture.write_spectrograms(folder / "spectrograms.png", panels)
    frames = voco.encode_length(before.shape[1])
    tell(f"{folder / 'spectrograms.png'}: original on top, reconstruction below, 0 to {voco.sampling_rate // 2} Hz")
    tell(
        f"{voco.name}: {frames} frames of {voco.latent_dim} numbers in between, {voco.frame_rate:.2f} frames per second"
    )


def _pushed(voco: Voco[Any], stream: Any, before: Tensor, options: dict[str, Any]) -> Tensor:
    """The reconstruction again, in pushes of one frame. Raises CheckpointError unless it is that of the whole."""
    import time

    import torch

    from vocos.voco.flow import Flow

    torch.manual_seed(0)  # of codecs that draw their latents
    with torch.inference_mode():
        latents = voco.encode(before.to(voco.device))
        whole = voco.decode(latents, length=before.shape[1], **options)
        start = time.perf_counter()
        frames = torch.split(latents, 1, dim=1)
        pushed = torch.cat(list(Flow(voco, "decode", options).streamed(frames, lambda: before.shape[1])), dim=1)
        seconds = time.perf_counter() - start
    error = float((pushed - whole).abs().max())
    if pushed.shape != whole.shape or error > SAME * max(1.0, float(whole.abs().max())):
        raise CheckpointError(f"demo: the stream differs from the whole by {error:.2g}; please report this")
    tell(
        f"{latents.shape[1]} pushes of one frame give the whole, to {error:.1g}: delay {stream.delay_samples} samples, "
        f"{stream.delay_seconds:.4f} s; {before.shape[1] / voco.sampling_rate / seconds:.1f} times real time"
    )
    return pushed


class _Codecs:
    """Codecs by name, each made and loaded once; one that cannot be loaded is not tried again for every file."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._made: dict[str, Voco[Any]] = {}
        self._failed: dict[str, VocoError] = {}

    def made(self, name: str) -> Voco[Any]:
        """The codec of that name, not loaded."""
        if name not in self._made:
            import torch

            from vocos.registry import get_voco

            options = self._arguments
            if options.seed is not None:
                torch.manual_seed(options.seed)
            dtype = getattr(torch, options.dtype)
            self._made[name] = get_voco(name, weights=options.weights, device=options.device, dtype=dtype)
        return self._made[name]

    def load(self, voco: Voco[Any]) -> Voco[Any]:
        """The codec, loaded."""
        if voco.name in self._failed:
            raise self._failed[voco.name]
        try:
            return voco.load()
        except VocoError as error:
            self._failed[voco.name] = error
            raise
        except (RuntimeError, AssertionError) as error:  # what torch raises for a device that is not there
            raise InvalidInput(f"--device {voco.device}: {error}") from error

    def first(self, name: str, batch: Batch) -> Voco[Any]:
        """The codec of a batch; loaded, so that what is wrong with it is told once, unless there is nothing to do."""
        voco = self.made(name)
        return self.load(voco) if batch.has_work else voco


def _sound(endings: tuple[str, ...]) -> Kind:
    return Kind("audio is", endings, flows=True)


def _read_for(voco: Voco[Any], path: Path) -> tuple[Tensor, list[str]]:
    """Audio of a file at the rate and with the channels of the codec, and remarks on what was converted."""
    from vocos.files import audio

    with (
        silent_decoders(),
        piped(path, "rb") as pipe,
        audio.reading(path, voco.sampling_rate, voco.channel, pipe) as sound,
    ):
        return sound.whole(), sound.done


def _check_target(job: Job, sampling_rate: int) -> None:
    """Raise InvalidInput unless the format of a file can hold the rate."""
    from vocos.files import audio

    if not is_pipe(job.target):
        audio.check_name(job.target, sampling_rate)


def _sound_of(found: Any, voco: Voco[Any], flow: Flow) -> Iterator[Tensor]:
    """The audio of a file of codes; what needs more than its codes, such as a loudness, is decoded whole."""
    import torch

    from vocos.files.codes import CodesFile

    if type(found).decode is CodesFile.decode and not found.damaged:
        yield from flow(found.codes, lambda: found.samples)
        return
    with torch.inference_mode():
        yield replace(found, codes=found.codes.whole() if hasattr(found.codes, "whole") else found.codes).decode(voco)


def _reconstructed(voco: Voco[Any], source: Path) -> tuple[Tensor, Tensor, list[str]]:
    """The audio that the codec was given, its reconstruction, and remarks on what was converted."""
    import torch

    sound, done = _read_for(voco, source)
    with torch.inference_mode():
        return sound, voco.decode(voco.encode(sound.to(voco.device)), length=sound.shape[1]), done


@contextmanager
def _warnings_on_stderr(path: Path) -> Iterator[None]:
    """Print each warning once, as a line on stderr that names the file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        complain(text if text.startswith(str(path)) else f"{path}: {text}")


def _heard(samples: int, channel: int, sampling_rate: int) -> str:
    return f"{samples / sampling_rate:.2f} s {'mono' if channel == 1 else 'stereo'} at {sampling_rate} Hz"
