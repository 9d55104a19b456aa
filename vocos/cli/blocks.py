"""Audio files of the commands, read and written in blocks, with a bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocos.cli.jobs import Job, piped

if TYPE_CHECKING:
    from torch import Tensor

    from vocos.voco import Voco

SHOWN = "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}, {rate_fmt}]"


@contextmanager
def progress(seconds: float | None, is_quiet: bool) -> Iterator[Callable[[float], object]]:
    """A bar on a terminal, in seconds of audio; gives what is to be told how many more are done."""
    from tqdm import tqdm

    shown = {"bar_format": SHOWN} if seconds else {}
    with tqdm(total=seconds, unit="s", disable=is_quiet or None, leave=False, file=sys.stderr, **shown) as bar:
        yield bar.update


@contextmanager
def sound_for(voco: Voco[Any], path: Path, is_quiet: bool) -> Iterator[tuple[Any, Iterator[Tensor]]]:
    """The reader of a file for a codec, and what it gives, `[1, n, channel]` each, with a bar."""
    from vocos.files import audio

    with (
        silent_decoders(),
        ExitStack() as opened,
    ):
        pipe = opened.enter_context(piped(path, "rb"))
        sound = opened.enter_context(audio.reading(path, voco.sampling_rate, voco.channel, pipe))
        left = opened.pop_all()
    with left, progress(sound.seconds, is_quiet) as update:
        yield sound, _blocks(sound, voco.sampling_rate, update)


def _blocks(sound: Iterable[Tensor], rate: int, update: Callable[[float], object]) -> Iterator[Tensor]:
    """Blocks of audio, each as a batch of one."""
    source = iter(sound)
    while True:
        with silent_decoders():
            block = next(source, None)
        if block is None:
            return
        update(len(block) / rate)
        yield block[None]


def written(
    job: Job, pieces: Iterable[Tensor], voco: Voco[Any], update: Callable[[float], object] | None = None
) -> Any:
    """Write pieces of audio `[1, n, channels]` to where it belongs; gives the file, which knows how many they were."""
    from vocos.files import audio

    place = job.place()
    with piped(place, "wb") as pipe, audio.writing(place, voco.sampling_rate, voco.channel, pipe) as file:
        for sound in pieces:
            file.write(sound[0])
            if update is not None:
                update(sound.shape[1] / voco.sampling_rate)
    return file


@contextmanager
def silent_decoders() -> Iterator[None]:
    """Hide what libmpg123 prints to the stderr of the process about damage that it skips."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
