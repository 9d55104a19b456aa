"""Work that is bounded by counting it, which no machine does faster than another."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any


class Calls:
    """Counts the calls of functions, Python's and C's, inside of a `with`."""

    count = 0

    def _see(self, frame: FrameType, event: str, argument: Any) -> None:
        self.count += event in ("call", "c_call")

    def __enter__(self) -> Calls:
        self.count = 0
        sys.setprofile(self._see)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.setprofile(None)
