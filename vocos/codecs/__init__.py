"""The codecs: one file or folder per architecture, with its config, formats, network, checkpoints and class.

Codecs do not import each other; what two of them need is in `vocos.nn`. `table.json` holds the facts of all registered
checkpoints for those who do not want to import torch; `make table` writes it from the codecs.
"""
