"""The face of PyPI's `vocos`, which programs that were written for it import.

Its own import paths (`vocos.pretrained`, `vocos.feature_extractors`, ...) stand beside this folder as short modules.
"""
