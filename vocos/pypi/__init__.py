"""The classes of PyPI's `vocos`, for programs that were written for it: same names, arguments, facts and numbers.

`pretrained` has `Vocos` itself; `feature_extractors`, `models`, `heads`, `modules` and `spectral_ops` its components.
The import paths that those programs use (`vocos.pretrained` and so on) stand beside this folder as short modules.
"""
