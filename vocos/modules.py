"""PyPI's `vocos.modules`: see `vocos.pypi`."""

from vocos.pypi.modules import AdaLayerNorm, ConvNeXtBlock, ResBlock1, safe_log, symexp, symlog

__all__ = ["AdaLayerNorm", "ConvNeXtBlock", "ResBlock1", "safe_log", "symexp", "symlog"]
