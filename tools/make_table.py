"""Write `vocos/codecs/table.json`, what `vocos list` says without importing torch, from the rows of the codecs.

python tools/make_table.py
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from typing import Any

import vocos.codecs
from vocos import Voco
from vocos.registry import TABLE
from vocos.weights.location import Location

FACTS = ("sampling_rate", "channel", "latent_dim", "hop_length", "n_codebooks", "codebook_size", "bits_per_second")
OF_SOURCE = ("license_url", "paper", "size_mb")


def table() -> dict[str, dict[str, Any]]:
    """The rows of all codecs, by registered name."""
    rows: dict[str, dict[str, Any]] = {}
    for module in sorted(found.name for found in pkgutil.iter_modules(vocos.codecs.__path__)):
        classes = vars(importlib.import_module(f"vocos.codecs.{module}")).values()
        for cls in classes:
            if isinstance(cls, type) and issubclass(cls, Voco) and cls.checkpoints:
                rows |= {name: row_of(f"{module}:{cls.__name__}", cls, name) for name in cls.checkpoints}
    return dict(sorted(rows.items()))


def row_of(target: str, cls: type[Voco[Any]], name: str) -> dict[str, Any]:
    """One row."""
    voco, checkpoint = cls(Location(name=name)), cls.checkpoints[name]
    facts = {fact: getattr(voco, fact) for fact in FACTS}
    known = {key: getattr(checkpoint.source, key, None) for key in OF_SOURCE}
    place = {"source": voco.source, "license": voco.license, **known, "restrictions": voco.restrictions}
    return {"target": target, "about": checkpoint.about, **facts, **place}


if __name__ == "__main__":
    TABLE.write_text(json.dumps(table(), indent=2) + "\n", encoding="utf-8")
