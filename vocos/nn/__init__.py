"""Layers that two or more codecs share. Channel-first `[B, C, N]` inside, unless a docstring says otherwise."""
