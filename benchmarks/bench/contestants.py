"""What takes part in a comparison: a function in this process, or PyPI's vocos in another."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.pypi_worker import compiled, peak_during
from vocos.errors import InvalidInput, VocoError

WORKER = Path(__file__).parent / "pypi_worker.py"


class Contestant(Protocol):
    """Something that can be timed."""

    def prepare(self, given: Tensor) -> None:
        """Take the input of the runs, channel-first."""

    def run(self) -> float:
        """Work once. Returns the seconds it took."""

    def output(self) -> Tensor:
        """The result of the last run, channel-first."""

    def peak(self) -> int:
        """Work once. Returns the bytes of memory that this took, beyond what the process had before."""


class Local:
    """A function of a tensor `[B, C, N]`, in this process."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def prepare(self, given: Tensor) -> None:
        self.given = given

    @torch.inference_mode()
    def run(self) -> float:
        start = time.perf_counter()
        self.result = self.function(self.given)
        return time.perf_counter() - start

    def output(self) -> Tensor:
        return self.result

    def peak(self) -> int:
        return peak_during(self.run)

    def compiled(self) -> Local:
        """The same under torch.compile."""
        return Local(compiled(self.function))


class Remote:
    """PyPI's vocos decoding, in the interpreter that has it.

    Args:
        python: path of that interpreter.
        folder: with the public files of the weights.

    Raises:
        VocoError: if it cannot be started; and by every method if the worker fails.
    """

    def __init__(self, python: str, folder: Path) -> None:
        self.python, self.folder = python, folder
        # -I: neither this package's folder nor PYTHONPATH, where the name would be found again.
        command = [python, "-I", str(WORKER)]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        except OSError as error:
            raise InvalidInput(f"bench: {python!r}, for PyPI's vocos, cannot be run: {error}") from error
        self._scratch = tempfile.TemporaryDirectory()
        try:
            self.name: str = self._ask("load", folder=str(folder), threads=torch.get_num_threads())["name"]
        except BaseException:
            self.close()
            raise

    def _ask(self, call: str, **arguments: object) -> dict[str, Any]:
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise ValueError("the worker has no pipes")
        try:
            process.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # then there is no answer
        line = process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": f"it ended with code {process.wait()}"}
        if "error" in answer:
            raise VocoError(f"bench: PyPI's vocos in {self.python}: {answer['error']}")
        return answer

    def prepare(self, given: Tensor) -> None:
        path = Path(self._scratch.name, "given.pt")
        torch.save(given.clone(), path)
        self._ask("prepare", path=str(path))

    def run(self) -> float:
        return float(self._ask("run")["seconds"])

    def output(self) -> Tensor:
        path = Path(self._scratch.name, "output.pt")
        self._ask("output", path=str(path))
        sound: Tensor = torch.load(path, weights_only=True)
        return sound[:, None]

    def peak(self) -> int:
        return int(self._ask("peak")["bytes"])

    def compiled(self) -> Remote:
        """Another one, under torch.compile."""
        other = Remote(self.python, self.folder)
        other._ask("compile")
        return other

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()
        self._scratch.cleanup()
