"""PyPI's `vocos.heads`: see `vocos.pypi`."""

from vocos.pypi.heads import FourierHead, IMDCTCosHead, IMDCTSymExpHead, ISTFTHead

__all__ = ["FourierHead", "IMDCTCosHead", "IMDCTSymExpHead", "ISTFTHead"]
