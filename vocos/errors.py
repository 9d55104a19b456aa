"""Every exception the library raises on purpose. Each is also the built-in kind a caller may already catch."""

__all__ = [
    "CheckpointError",
    "InvalidInput",
    "PluginError",
    "UnknownVoco",
    "UnsupportedOperation",
    "VocoError",
    "WeightsUnavailable",
]


class VocoError(Exception):
    """Root of the tree: `except VocoError` catches everything below and nothing else."""


class UnknownVoco(VocoError, ValueError):
    """No codec has this name."""


class PluginError(VocoError, ImportError):
    """A codec that another distribution registers cannot be used: it fails to import, or its name is taken twice."""


class InvalidInput(VocoError, ValueError):
    """An argument that the call cannot take: its rank, size, type or range is wrong."""


class UnsupportedOperation(VocoError, NotImplementedError):
    """The codec has no such operation, such as codes."""


class WeightsUnavailable(VocoError, OSError):
    """The weights cannot be reached: no such file or repository, no network, or no permission."""


class CheckpointError(VocoError, RuntimeError):
    """A file was found, but it is damaged or is not a checkpoint of this codec."""
