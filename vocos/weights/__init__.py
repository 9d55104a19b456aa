"""From a place to named tensors and back.

`source` says what is known of public checkpoints, `hub` finds files, `tensors` reads them as data, `formats` knows how
public checkpoints keep their tensors, each by one of the `rules`, `export` writes them again; `weights` is what a codec
has.
"""
