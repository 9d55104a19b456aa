"""What the command prints: lines, whatever is in a name or a message."""

from __future__ import annotations

import sys
from typing import TextIO

from vocos.errors import VocoError

# What ends a file or the command with one line; torch's out-of-memory errors are of the last.
FAILURES = (VocoError, OSError, MemoryError, RuntimeError)
LONGEST = 1000  # characters of a message


def reason(error: BaseException) -> str:
    """What an exception says, the file first."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or ("out of memory" if isinstance(error, MemoryError) else type(error).__name__)


def tell(text: str, stream: TextIO | None = None) -> None:
    """Print one line, to stdout if no other is given."""
    stream = stream or sys.stdout
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def complain(text: str) -> None:
    """Print one line of the command to stderr; of a long one, the beginning and the end."""
    text = " ".join(text.split())
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    tell(f"vocos: {text}", sys.stderr)
