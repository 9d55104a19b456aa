"""Files of users: the only modules that open them.

`audio` reads and writes sound, `latents` latents, `codes` codes (our own format, `.ecdc` and `.dac`).
"""
