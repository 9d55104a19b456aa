"""Files of users: the only modules that open them.

`audio` reads and writes audio, `latents` latents, `codes` codes (our own format, `.ecdc` and `.dac`).
"""
