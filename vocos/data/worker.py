"""What a worker process does: it makes the shards whose numbers come through stdin, and tells of each on stdout."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

PERIOD = 0.2  # seconds between two messages of progress


def main() -> None:
    """Run until stdin ends; a worker whose runner has gone ends at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, which the runner takes
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is not taken for a message
    numbers: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(numbers,), daemon=True).start()

    def tell(**message: Any) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    try:
        _work(Path(sys.argv[1]), sys.argv[2], numbers, tell)
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        from vocos.data.pool import KINDS

        if not isinstance(error, KINDS):
            raise
        is_named = isinstance(error, OSError) and error.filename
        text = f"{error.filename}: {error.strerror}" if is_named else str(error)  # type: ignore[union-attr]
        tell(error=next(number for number, kind in enumerate(KINDS) if isinstance(error, kind)), text=text)
    os._exit(0)  # without waiting for the thread that reads stdin


def _listen(numbers: queue.SimpleQueue[int | None]) -> None:
    """Take numbers from stdin, an empty line for the end."""
    for line in sys.stdin.buffer:
        numbers.put(int(line) if line.strip() else None)
    os._exit(1)  # the runner has gone without a word


def _work(folder: Path, device: str, numbers: queue.SimpleQueue[int | None], tell: Any) -> None:
    import torch

    from vocos.data.jobs import Maker

    torch.set_num_threads(1)
    maker = Maker(folder, device)
    waiting, last = 0.0, time.monotonic()

    def progress(seconds: float) -> None:
        nonlocal waiting, last
        waiting += seconds
        if time.monotonic() - last >= PERIOD:
            tell(seconds=waiting)
            waiting, last = 0.0, time.monotonic()

    while (number := numbers.get()) is not None:
        done = maker(number, progress)
        tell(seconds=waiting)
        waiting = 0.0
        tell(done=done)


if __name__ == "__main__":
    main()
