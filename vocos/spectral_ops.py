"""PyPI's `vocos.spectral_ops`: see `vocos.pypi`."""

from vocos.pypi.spectral_ops import IMDCT, ISTFT, MDCT

__all__ = ["IMDCT", "ISTFT", "MDCT"]
