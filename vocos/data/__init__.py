"""Whole datasets: folders and lists of audio become latents or codes, in shards, and are read back.

Making one: `sources`, `lists` and `tars` find items (`items`), `plan` divides them into shards, `settings` says what is
made of them and writes the manifest, `shard` makes one shard: `sound` reads its audio ahead, `encoder` runs the codec,
`containers` are the files. `jobs` does that here, with `pool` and `worker` in several processes, `ray` on a cluster.
`estimate` says before what it will take, `verify`, `stats` and `merge` are for afterwards.

Reading one: `dataset` opens it, `reading` maps its files, `crops` cuts its items, `stream` orders them for training.
"""
