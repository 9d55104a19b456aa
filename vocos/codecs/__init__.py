"""One file per architecture. Codecs do not import each other; what two need is in `vocos.nn`."""
