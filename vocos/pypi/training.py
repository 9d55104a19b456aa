"""The modules of PyPI's `vocos` that are for training, which this library does not do."""

from __future__ import annotations


def absent(module: str) -> ImportError:
    """The error for who imports one of them.

    Args:
        module: its name, as `vocos.loss`.
    """
    return ImportError(
        f"{module} is for training and not part of this package, which encodes and decodes; it is in PyPI's vocos "
        "0.1.0 (pip install vocos==0.1.0, in an environment of its own) and in github.com/gemelo-ai/vocos",
        name=module,
    )
