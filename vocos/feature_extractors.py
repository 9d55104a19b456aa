"""PyPI's `vocos.feature_extractors`: see `vocos.pypi`."""

from vocos.pypi.feature_extractors import EncodecFeatures, FeatureExtractor, MelSpectrogramFeatures

__all__ = ["EncodecFeatures", "FeatureExtractor", "MelSpectrogramFeatures"]
