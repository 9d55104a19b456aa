"""From a location to named tensors in a network, and back to files.

`weights` is the object that a codec has. `source` describes public checkpoints, `location` says where a user has
weights, `hub`, `download`, `intact` and `refusals` bring files from the Hub, `configs`, `tensors`, `shards`,
`pickles` and `opcodes` read them as data and never as code, `formats` knows how public files keep their tensors, each
by one of the `rules`, `export` writes such files, `atomic` replaces files only by complete ones, `empty` builds
networks without values.
"""
