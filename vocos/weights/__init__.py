"""From a place to named tensors and back.

`hub` finds files, `tensors` reads them as data, `formats` knows the names that public checkpoints give their tensors,
`export` writes them again.
"""
