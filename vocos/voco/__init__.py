"""What every codec is: a frozen module that *has* weights.

`codec` is what the author of a codec gives, `facts` its numbers, `interface` what a user calls, `lazy` when the weights
are loaded, `variational` a codec whose latents are drawn. `streams` are calls that are spread over time, `joining`
makes one of several, `flow` is a call for a clip that comes in pieces. `checks` refuses bad input, `batches` and `rows`
run clips of several lengths, `codes` holds types of codes, `offload` serves weights that accelerate keeps elsewhere.
"""

from vocos.voco.facts import Facts, Steps
from vocos.voco.interface import Voco
from vocos.voco.joining import join_streams
from vocos.voco.streams import Stream

__all__ = ["Facts", "Steps", "Stream", "Voco", "join_streams"]
