"""What every codec is: a frozen module that *has* weights.

`codec` is what the author of a codec gives, `interface` what a user calls, `lazy` when the weights are loaded,
`variational` a codec whose latents are drawn. `checks` refuses bad input, `batches` and `rows` run clips of several
lengths, `codes` holds the types of codes, `offload` serves weights that accelerate keeps elsewhere.
"""

from vocos.voco.codec import Facts
from vocos.voco.interface import Voco

__all__ = ["Facts", "Voco"]
