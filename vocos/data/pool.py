"""Worker processes that make shards. They are told numbers and tell results, as lines of JSON through their pipes.

A worker that dies takes its shard with it, which is then made by another one; a file that kills whoever reads it is so
found, too. A worker whose runner has died ends.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from vocos.data.shard import Progress
from vocos.errors import CheckpointError, InvalidInput, VocoError, WeightsUnavailable

TRIES = 3  # of a shard, before it is given up
KINDS = (InvalidInput, CheckpointError, WeightsUnavailable, OSError, MemoryError, VocoError)  # that a worker can tell


class Pool:
    """Workers for the shards of a dataset; a `with` ends them.

    Args:
        folder: of the dataset.
        devices: that they share.
        count: how many there are.
        progress: is told seconds of audio that are done.
    """

    def __init__(self, folder: Path, devices: Sequence[str], count: int, progress: Progress | None) -> None:
        self._folder, self._devices, self._count = folder, devices, count
        self._progress = progress or (lambda seconds: None)
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        self._selector.close()

    def run(self, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
        """What the index says of each shard, as it is finished.

        Raises:
            OSError, VocoError: what a worker could not go on with.
            RuntimeError: if workers have died at one shard again and again; the others are made before.
        """
        left, tries, lost = list(reversed(numbers)), dict.fromkeys(numbers, 0), []
        for index in range(self._count):
            self._start(self._devices[index % len(self._devices)], left)
        while any(worker.shard is not None for worker in self._workers):
            for key, _ in self._selector.select():
                worker: _Worker = key.data
                for message in worker.messages():
                    if "seconds" in message:
                        self._progress(message["seconds"])
                    elif "error" in message:
                        raise KINDS[message["error"]](message["text"])
                    else:
                        yield message["done"]
                        worker.take(left)
                if worker.is_alive:
                    continue
                self._selector.unregister(worker.stdout)
                self._workers.remove(worker)
                fate = worker.fate()
                worker.end()
                if (number := worker.shard) is not None:
                    tries[number] += 1
                    if tries[number] < TRIES:
                        left.append(number)
                    else:
                        lost.append((number, fate))
                    self._start(worker.device, left)
        if lost:
            told = "; ".join(f"shard {number} ({fate})" for number, fate in lost)
            raise RuntimeError(
                f"{self._folder}: workers died {TRIES} times at {told}; out of memory, or a file that kills its "
                "reader: with --workers 1 the end of the output tells"
            )

    def _start(self, device: str, left: list[int]) -> None:
        if left:
            worker = _Worker(self._folder, device)
            self._workers.append(worker)
            self._selector.register(worker.stdout, selectors.EVENT_READ, worker)
            worker.take(left)


class _Worker:
    """One process, and the shard that it is at."""

    def __init__(self, folder: Path, device: str) -> None:
        self.device = device
        self.shard: int | None = None
        self.is_alive = True
        self._rest = b""
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-m", "vocos.data.worker", str(folder), device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            },
        )

    @property
    def stdout(self) -> IO[bytes]:
        """Its end of the pipe."""
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        return self._process.stdout

    def take(self, left: list[int]) -> None:
        """Give it the next shard, or nothing more to do."""
        self.shard = left.pop() if left else None
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError):  # it has died, which `messages` finds
            self._process.stdin.write(b"\n" if self.shard is None else b"%d\n" % self.shard)
            self._process.stdin.flush()

    def messages(self) -> Iterator[dict[str, Any]]:
        """What it has told since."""
        data = os.read(self.stdout.fileno(), 1 << 16)
        self.is_alive = bool(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield json.loads(line)

    def fate(self) -> str:
        """How it has died."""
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def end(self) -> None:
        """End it now: what it was at is made again by whoever goes on."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
