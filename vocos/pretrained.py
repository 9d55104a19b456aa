"""PyPI's `vocos.pretrained`: see `vocos.pypi`."""

from vocos.pypi.feature_extractors import EncodecFeatures, FeatureExtractor
from vocos.pypi.heads import FourierHead, ISTFTHead
from vocos.pypi.models import Backbone, VocosBackbone
from vocos.pypi.pretrained import Vocos, instantiate_class

__all__ = [
    "Backbone",
    "EncodecFeatures",
    "FeatureExtractor",
    "FourierHead",
    "ISTFTHead",
    "Vocos",
    "VocosBackbone",
    "instantiate_class",
]
