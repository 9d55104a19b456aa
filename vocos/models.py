"""PyPI's `vocos.models`: see `vocos.pypi`."""

from vocos.pypi.models import Backbone, VocosBackbone, VocosResNetBackbone

__all__ = ["Backbone", "VocosBackbone", "VocosResNetBackbone"]
