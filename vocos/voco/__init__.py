"""What every codec is.

`interface` is what a user calls, and what the author of a codec gives stands above it. `lazy` says when weights arrive,
`checks` what bad input gets, `batches` and `rows` how clips of several lengths run, `codes` what codes travel with.
"""

from vocos.voco.facts import Facts
from vocos.voco.interface import Voco

__all__ = ["Facts", "Voco"]
