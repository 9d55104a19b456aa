"""PyPI's `vocos.pretrained`: see `vocos.pypi`."""

from vocos.pypi.pretrained import ISTFTHead, Vocos, VocosBackbone

__all__ = ["ISTFTHead", "Vocos", "VocosBackbone"]
