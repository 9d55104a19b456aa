"""PyPI's `vocos.feature_extractors`: see `vocos.pypi`."""

from vocos.pypi.feature_extractors import EncodecFeatures, MelSpectrogramFeatures

__all__ = ["EncodecFeatures", "MelSpectrogramFeatures"]
