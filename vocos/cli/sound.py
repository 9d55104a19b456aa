"""The commands of `vocos` that deal with audio. Each takes the arguments that `vocos.cli` has parsed."""

from __future__ import annotations

import argparse
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocos.cli.jobs import Batch, Job, Kind, is_pipe, piped
from vocos.cli.lines import complain, tell
from vocos.errors import CheckpointError, InvalidInput, VocoError

# torch takes more than a second to import: the commands that do not need it answer without.
if TYPE_CHECKING:
    from torch import Tensor

    from vocos.voco import Voco


LATENTS = Kind("latents are", (".safetensors",))


def encode(arguments: argparse.Namespace) -> int:
    """Audio files to latents."""
    import torch

    from vocos.files import audio, latents

    batch = Batch(arguments, _sound(audio.READ), LATENTS)
    codecs = _Codecs(arguments)
    voco = codecs.first(arguments.voco, batch)

    def encoded(job: Job) -> tuple[str, list[str]]:
        sound, done = _read_for(voco, job.source)
        with torch.inference_mode():
            values = voco.encode(sound.to(voco.device))
        latents.write(job.place(), voco, values, sound.shape[1])
        seconds = sound.shape[1] / voco.sampling_rate
        return f"{values.shape[1]} frames of {voco.latent_dim}, {seconds:.2f} s", done

    return batch.each(encoded)


def decode(arguments: argparse.Namespace) -> int:
    """Latents to audio files."""
    import torch

    from vocos.files import audio, latents

    batch = Batch(arguments, LATENTS, _sound(audio.WRITTEN))
    codecs = _Codecs(arguments)

    def decoded(job: Job) -> tuple[str, list[str]]:
        values, origin = latents.read(job.source)
        voco = codecs.made(arguments.voco or origin.voco)
        if arguments.weights is None and origin.source != voco.source:
            raise CheckpointError(
                f"{job.source}: made with the weights {origin.source}, not {voco.source}; pass --weights"
            )
        longest = values.shape[1] * voco.hop_length
        if not 1 <= origin.samples <= longest:
            raise CheckpointError(f"{job.source}: says {origin.samples} samples, its latents have at most {longest}")
        _check_target(job, voco.sampling_rate)
        codecs.load(voco)
        with torch.inference_mode():
            sound = voco.decode(values.to(voco.device), length=origin.samples)
        clipped = _write(job, sound, voco.sampling_rate)
        return f"{_heard(sound, voco.sampling_rate)} by {voco.name}", clipped

    return batch.each(decoded)


def tokenize(arguments: argparse.Namespace) -> int:
    """Audio files to codes."""
    import torch

    from vocos.files import audio
    from vocos.files.codes import ENDINGS, levelled, save_codes

    first = f".{arguments.to}"
    batch = Batch(arguments, _sound(audio.READ), Kind("codes are", (first, *(e for e in ENDINGS if e != first))))
    codecs = _Codecs(arguments)
    count = codecs.made(arguments.voco).count_codebooks("tokenize", arguments.n_codebooks, arguments.bandwidth)
    voco = codecs.first(arguments.voco, batch)

    def tokenized(job: Job) -> tuple[str, list[str]]:
        sound, done = _read_for(voco, job.source)
        length, loudness = sound.shape[1], None
        if job.target.suffix.lower() == ".dac":
            sound, loudness = levelled(sound, voco.sampling_rate)
        with torch.inference_mode():
            codes = voco.encode_codes(sound.to(voco.device), count)
        save_codes(job.place(), codes, voco, length, loudness=loudness)
        seconds = length / voco.sampling_rate
        rate = count * math.log2(voco.codebook_size or 1) * voco.frame_rate / 1000
        return f"{codes.shape[1]} frames of {count} codes, {seconds:.2f} s, {rate:.2f} kbit/s", done

    return batch.each(tokenized)


def detokenize(arguments: argparse.Namespace) -> int:
    """Codes to audio files."""
    import torch

    from vocos.files import audio
    from vocos.files.codes import ENDINGS, load_codes, origin

    batch = Batch(arguments, Kind("codes are", ENDINGS), _sound(audio.WRITTEN))
    codecs = _Codecs(arguments)
    asked = codecs.made(arguments.voco) if arguments.voco else None

    def detokenized(job: Job) -> tuple[str, list[str]]:
        with _warnings_on_stderr(job.source):
            found = load_codes(job.source, asked, strict=not arguments.damaged)
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
            with torch.inference_mode():
                sound = found.decode(voco)
        clipped = _write(job, sound, found.sampling_rate)
        return f"{_heard(sound, found.sampling_rate)} by {voco.name}", clipped

    return batch.each(detokenized)


def roundtrip(arguments: argparse.Namespace) -> int:
    """Audio files to latents and back."""
    from vocos.files import audio

    batch = Batch(arguments, _sound(audio.READ), _sound(audio.WRITTEN))
    voco = _Codecs(arguments).first(arguments.voco, batch)

    def reconstructed(job: Job) -> tuple[str, list[str]]:
        _check_target(job, voco.sampling_rate)
        _, sound, done = _reconstructed(voco, job.source)
        done += _write(job, sound, voco.sampling_rate)
        return f"{_heard(sound, voco.sampling_rate)} by {voco.name}", done

    return batch.each(reconstructed)


def demo(arguments: argparse.Namespace) -> None:
    """Reconstruct the sample of the package."""
    from vocos.cli import picture
    from vocos.files import audio

    folder: Path = arguments.output
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder}: expected a folder, this is a file")
    codecs = _Codecs(arguments)
    voco = codecs.load(codecs.made(arguments.voco))
    with as_file(files("vocos") / "assets" / "sample.flac") as sample:
        before, after, done = _reconstructed(voco, sample)
    folder.mkdir(parents=True, exist_ok=True)
    tell("; ".join(["sample: speech over music, that comes with the package", *done]))
    for name, sound, what in (("original.wav", before, "what went in"), ("reconstruction.wav", after, "what came out")):
        clipped = audio.write(folder / name, sound, voco.sampling_rate)
        tell(f"{folder / name}: {'; '.join([what, _heard(sound, voco.sampling_rate), *clipped])}")
    panels = [sound[0].mean(dim=1).float().cpu().numpy() for sound in (before, after)]
    picture.write_spectrograms(folder / "spectrograms.png", panels)
    frames = voco.encode_length(before.shape[1])
    tell(f"{folder / 'spectrograms.png'}: original on top, reconstruction below, 0 to {voco.sampling_rate // 2} Hz")
    tell(
        f"{voco.name}: {frames} frames of {voco.latent_dim} numbers in between, {voco.frame_rate:.2f} frames per second"
    )


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
        _silent_decoders(),
        piped(path, "rb") as pipe,
        audio.reading(path, voco.sampling_rate, voco.channel, pipe) as sound,
    ):
        return sound.whole(), sound.done


def _check_target(job: Job, sampling_rate: int) -> None:
    """Raise InvalidInput unless the format of a file can hold the rate."""
    from vocos.files import audio

    if not is_pipe(job.target):
        audio.check_name(job.target, sampling_rate)


def _write(job: Job, sound: Tensor, sampling_rate: int) -> list[str]:
    """Write audio `[1, samples, channels]` to where it belongs. Returns remarks on what was done to it."""
    from vocos.files import audio

    place = job.place()
    with piped(place, "wb") as pipe, audio.writing(place, sampling_rate, sound.shape[2], pipe) as file:
        file.write(sound[0])
    return file.remarks


def _reconstructed(voco: Voco[Any], source: Path) -> tuple[Tensor, Tensor, list[str]]:
    """The audio that the codec was given, its reconstruction, and remarks on what was converted."""
    import torch

    sound, done = _read_for(voco, source)
    with torch.inference_mode():
        return sound, voco.decode(voco.encode(sound.to(voco.device)), length=sound.shape[1]), done


@contextmanager
def _silent_decoders() -> Iterator[None]:
    """Hide what libmpg123 prints to the stderr of the process about damage that it skips."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _warnings_on_stderr(path: Path) -> Iterator[None]:
    """Print each warning once, as a line on stderr that names the file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        complain(text if text.startswith(str(path)) else f"{path}: {text}")


def _heard(sound: Tensor, sampling_rate: int) -> str:
    channels = {1: "mono", 2: "stereo"}.get(sound.shape[2], f"in {sound.shape[2]} channels")
    return f"{sound.shape[1] / sampling_rate:.2f} s {channels} at {sampling_rate} Hz"
