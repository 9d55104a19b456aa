"""Hot operations, shared by the codecs.

`reference` defines each one in plain PyTorch; what is exported here is what the layers call.
"""

from vocos.kernels.reference import snake, snake_beta

__all__ = ["snake", "snake_beta"]
