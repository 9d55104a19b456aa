"""The files of users, which no other modules open: audio, latents and codes.

`audio` reads, converts and writes audio, `latents` keeps latents in safetensors files, `codes` reads and writes files
of codes: our own format, EnCodec's `.ecdc` and Descript's `.dac`.
"""
