"""What every codec is: a frozen module that *has* weights.

`lazy` says when they arrive, `codec` what the author of a codec gives, `interface` what a user calls; `checks` what bad
input gets, `batches` and `rows` how clips of several lengths run, `codes` what codes travel with.
"""

from vocos.voco.codec import Facts
from vocos.voco.interface import Voco

__all__ = ["Facts", "Voco"]
