"""PyPI's vocos, in an interpreter of its own, for it has the name of this package.

A script: it reads one JSON request per line from stdin and answers each with one on stdout. Nothing of this package
can be imported here.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import resource
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any


class _Absent(types.ModuleType):
    """In the place of a compiled part: what is asked of it is a decorator that does nothing."""

    _IS_TORCHAUDIO_EXT_AVAILABLE = False

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda function: function


def allow_torchaudio() -> None:
    """Let torchaudio be imported without its compiled part, if that cannot be loaded.

    PyPI's is built for CUDA and cannot be loaded beside a CPU build of torch. The peers use its Python parts alone.
    """
    try:
        importlib.import_module("torchaudio")
    except OSError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio._extension"] = _Absent("torchaudio._extension")
    except ImportError:  # then the peers do without it, or say so
        pass


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under torch.compile with its weights frozen, for each shape anew: what serves a peer best."""
    torch = importlib.import_module("torch")
    config = importlib.import_module("torch._dynamo.config")
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # before torch 2.7
    setattr(config, limit, 64)  # of a layer's code, which every layer of its kind shares
    return torch.compile(function, options={"freezing": True}, dynamic=False)


def peak_during(function: Callable[[], object]) -> int:
    """Bytes of memory that a call needs at most, beyond those that the process had before."""
    try:
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
        function()
        return _resident("VmHWM") - before
    except OSError:  # no Linux: the peak of loading may hide that of the call
        unit = 1 if sys.platform == "darwin" else 1024
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        function()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


class Worker:
    """The model and its input, between requests."""

    def load(self, folder: str, threads: int | None) -> dict[str, str]:
        """Read the public files that ours wrote."""
        import torch

        if threads:
            torch.set_num_threads(threads)
        allow_torchaudio()
        model_class = importlib.import_module("vocos").Vocos  # PyPI's
        self.model = model_class.from_hparams(str(Path(folder, "config.yaml"))).eval()
        state = torch.load(Path(folder, "pytorch_model.bin"), weights_only=True)
        self.model.load_state_dict(state)
        self.decode: Callable[[Any], Any] = self.model.decode
        return {"name": f"PyPI vocos {importlib.metadata.version('vocos')}, torch {torch.__version__}"}

    def compile(self) -> None:
        """Decode under torch.compile from now on."""
        self.decode = compiled(self.model.decode)

    def prepare(self, path: str) -> None:
        """The input of the runs: latents `[B, C, L]`."""
        import torch

        self.latents = torch.load(path, weights_only=True)

    def run(self) -> dict[str, float]:
        """Decode once."""
        import torch

        start = time.perf_counter()
        with torch.inference_mode():
            self.audio = self.decode(self.latents)
        return {"seconds": time.perf_counter() - start}

    def peak(self) -> dict[str, int]:
        """Bytes that decoding needs."""
        return {"bytes": peak_during(self.run)}

    def output(self, path: str) -> None:
        """Write the last sound, `[B, N]`."""
        import torch

        torch.save(self.audio, path)


def main() -> None:
    """Answer requests until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what the model's code prints is no answer
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("call"))(**request) or {}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
