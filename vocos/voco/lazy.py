"""A module whose weights arrive when they are first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn


class LazyModule(nn.Module):
    """A frozen module that holds no network until something reads or moves its weights.

    What loads: `load`, `network`, and by way of these methods of `nn.Module` everything that visits weights or modules
    (`to`, `state_dict`, `parameters`, `modules`, `apply`...), called here or on a parent module. What does not: `repr`,
    `train`, `eval`, pickling and copying; nor `load_state_dict`, if it is given every weight or none.

    A subclass gives `_empty_network` and `_loaded_network`.

    Args:
        device: where the weights go when they are loaded, None for the CPU.
        dtype: what they become when they are loaded, None for float32.
    """

    _anchor: Tensor

    def __init__(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self._device, self._dtype = device, dtype
        self._modules["network"] = None
        self.register_buffer("_anchor", torch.empty(0, device="cpu"), persistent=False)  # goes where the weights go
        self._lock = threading.RLock()
        self.training = False

    def _empty_network(self, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
        """The network on the meta device, for tensors of these names and shapes, as far as they may choose."""
        raise NotImplementedError

    def _loaded_network(self) -> nn.Module:
        """The network with its weights, on the device and in the dtype asked for."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where the weights are, or will be."""
        return self._anchor.device if self.is_loaded else self._device or torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are, or will be."""
        return self._anchor.dtype if self.is_loaded else self._dtype or torch.float32

    @property
    def is_loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._modules["network"] is not None

    @property
    def network(self) -> Any:
        """The network with its weights, loaded if they were not yet."""
        return self.load()._modules["network"]

    def load(self) -> Self:
        """Bring the weights into memory unless they are there; once, however many threads ask.

        Raises:
            WeightsUnavailable: if they cannot be reached.
            CheckpointError: if what is found is damaged or does not fit.
        """
        if not self.is_loaded:
            with self._lock:
                if not self.is_loaded:
                    # A caller's inference mode would taint the weights for good.
                    with torch.inference_mode(False), torch.no_grad():
                        self._install(self._loaded_network())
        return self

    def _install(self, network: nn.Module) -> None:
        self._anchor = torch.empty(0, device=self._device or "cpu", dtype=self._dtype or torch.float32)
        self._modules["network"] = network.requires_grad_(False).train(self.training)

    # What nn.Module offers and the weights are needed for

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.load()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """As of `nn.Module`; loads."""
        self.load()
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        return state

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Module]]:
        """As of `nn.Module`; loads."""
        self.load()
        yield from super().named_modules(*args, **kwargs)

    def named_children(self) -> Iterator[tuple[str, nn.Module]]:
        """As of `nn.Module`; loads."""
        self.load()
        yield from super().named_children()

    # What must not load

    def train(self, mode: bool = True) -> Self:
        """As of `nn.Module`; does not load."""
        self.training = mode
        if self.is_loaded:
            self.network.train(mode)
        return self

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Prepare to receive weights, here or below a parent; nn.Module then goes on with the network's own modules.

        Every tensor given: an empty network is enough. Some: the others keep their own values, so it must be loaded.
        None: a checkpoint that leaves this module out, and it stays as it is.
        """
        with self._lock, torch.inference_mode(False):
            if not self.is_loaded:
                inside = f"{prefix}network."
                own = {k.removeprefix(inside): tuple(v.shape) for k, v in state_dict.items() if k.startswith(inside)}
                empty = self._empty_network(own)
                shapes = {f"{inside}{name}": tensor.shape for name, tensor in empty.state_dict().items()}
                given = [name for name in shapes if name in state_dict]
                wrong = [name for name in given if state_dict[name].shape != shapes[name]]
                if not given:
                    missing_keys.extend(shapes)
                elif len(given) < len(shapes):
                    self.load()
                elif wrong:
                    error_msgs.append(f"{len(wrong)} tensors of another shape than the config says, such as {wrong[0]}")
                else:
                    self._install(empty.to_empty(device=self._device or "cpu").to(self._dtype))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._lock = threading.RLock()
