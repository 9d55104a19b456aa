"""The version of the package, in one place that imports nothing."""

__version__ = "1.0.0.dev0"
