"""From a place to named tensors and back.

`source` says what is known of public checkpoints, `hub` finds files, `tensors` reads them as data, `formats` knows the
names that public checkpoints give their tensors, `export` writes them again; `weights` is what a codec has.
"""
