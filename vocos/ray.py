"""`vocos.ray.Encoder`, for pipelines of Ray Data: see `vocos.data.ray`."""

from vocos.data.ray import Encoder

__all__ = ["Encoder"]
