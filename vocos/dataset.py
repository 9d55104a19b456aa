"""PyPI's `vocos.dataset` is not here: see `vocos.pypi.training`."""

from vocos.pypi.training import absent

raise absent(__name__)
