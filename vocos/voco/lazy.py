"""A module whose weights arrive when they are first needed."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Self

import torch
from torch import Tensor, nn

from vocos import kernels
from vocos.errors import UnsupportedOperation
from vocos.voco import offload


class LazyModule(nn.Module):
    """A frozen module that holds no network until something reads or moves its weights.

    What loads: `load`, `network`, and by way of these methods of `nn.Module` everything that visits weights or modules
    (`to`, `state_dict`, `parameters`, `modules`, `apply`...), called here or on a parent module. What does not: `repr`,
    `train`, `eval`, pickling and copying; nor `load_state_dict`, if it is given every weight or none.

    Its weights stay what they are inside of a model that initialises all its modules, by `apply` or as transformers
    does: parameters that require no gradient keep their values.

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
        self._inside: tuple[nn.Module, ...] = ()  # the modules of the network, listed once
        self._witness: tuple[nn.Module, str] | None = None  # one of them, and a parameter that it has
        self._shown: dict[str, tuple[weakref.ref[Tensor], bool]] = {}  # see `_is_hf_initialized`
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
        if not self.is_loaded:
            return self._device or torch.device("cpu")
        device = self._example.device
        if device.type == "meta" and self._witness and offload.is_hooked(self._witness[0]):
            return offload.execution_device(self._witness[0]) or device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are, or will be."""
        if not self.is_loaded:
            return self._dtype or torch.float32
        # A hook may keep a layer's weights in a smaller type than it computes in.
        is_hooked = self._witness is not None and "forward" in self._witness[0].__dict__
        return self._anchor.dtype if is_hooked else self._example.dtype

    @property
    def _example(self) -> Tensor:
        """A tensor that is where the weights are and what they are."""
        if self._witness is None:
            return self._anchor
        module, name = self._witness
        parameter = module._parameters.get(name)
        return self._anchor if parameter is None else parameter

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
                    with kernels.apart():  # a caller's inference mode, and the like, would taint them for good
                        self._install(self._loaded_network())
        return self

    def _install(self, network: nn.Module) -> None:
        device = self._device or torch.device("cpu")
        if device.type != "meta" and any(parameter.is_meta for parameter in network.parameters()):
            raise UnsupportedOperation(
                "load: something that moves all parameters to the meta device is at work, such as accelerate's "
                "init_empty_weights; load the codec outside of it"
            )
        self._anchor = torch.empty(0, device=device, dtype=self._dtype or torch.float32)
        self._witness = None
        self._inside = tuple(network.modules())
        for module in self._inside:
            module._is_hf_initialized = True  # type: ignore[assignment]  # for transformers, which passes it by then
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    parameter._is_hf_initialized = True  # type: ignore[attr-defined]
                    self._witness = self._witness or (module, name)
        self._modules["network"] = network.requires_grad_(False).train(self.training)

    def _at_hand(self) -> AbstractContextManager[None]:
        """Within it, the weights are where they are needed: brought, if accelerate keeps them elsewhere."""
        if torch.compiler.is_compiling():  # which cannot look at every kind of module
            return offload.NOTHING
        is_hooked = offload.is_hooked(self) or any(map(offload.is_hooked, self._inside))
        return offload.brought(self) if is_hooked else offload.NOTHING

    # What nn.Module offers and the weights are needed for

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.load()
        # A move that changes nothing touches nothing: another thread may be computing.
        with torch.inference_mode(False):  # which would taint what is moved
            if not recurse or any(fn(tensor) is not tensor for tensor in self._tensors()):
                super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _tensors(self) -> Iterator[Tensor]:
        yield self._anchor
        for parameter in self.network.parameters():
            yield parameter
            if parameter.grad is not None:
                yield parameter.grad
        yield from self.network.buffers()

    def apply(self, fn: Callable[[nn.Module], None]) -> Self:
        """As of `nn.Module`; loads. Parameters that require no gradient keep their values."""
        frozen = [(p, p.detach().clone()) for p in self.network.parameters() if not (p.requires_grad or p.is_meta)]
        super().apply(fn)
        with torch.no_grad():
            for parameter, before in frozen:
                is_same_kind = (parameter.shape, parameter.dtype) == (before.shape, before.dtype)
                if is_same_kind and parameter.device == before.device and not torch.equal(parameter, before):
                    parameter.copy_(before)
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """As of `nn.Module`; loads."""
        self.load()
        self._shown = {name: (weakref.ref(p), p.requires_grad) for name, p in self.network.named_parameters()}
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

    # What transformers asks

    @property
    def _is_hf_initialized(self) -> bool:
        """Whether a `PreTrainedModel` is to leave this module alone: always.

        It asks after its `from_pretrained` has replaced the parameters that `state_dict` had shown: by those of the
        checkpoint, which have a mark, and require gradients; and by memory as it came, where the checkpoint lacks
        them. The former are frozen again, the latter get back the values that the codec comes with.
        """
        shown, self._shown = self._shown, {}
        lost = []
        for name, parameter in self.network.named_parameters() if shown and self.is_loaded else ():
            old, required = shown.get(name, (None, False))
            if old is not None and old() is not parameter:
                parameter.requires_grad_(required)
                if not getattr(parameter, "_is_hf_initialized", False):
                    lost.append((name, parameter))
        if lost:
            with kernels.apart():
                own = self._loaded_network()
                for name, parameter in lost:
                    parameter.copy_(own.get_parameter(name))
                    parameter._is_hf_initialized = True
        return True

    @_is_hf_initialized.setter
    def _is_hf_initialized(self, value: bool) -> None:
        pass

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
        with self._lock, kernels.apart():
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
                    self._install(empty.to_empty(device=self._device or torch.device("cpu")).to(self._dtype))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"} | {"_shown": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._lock = threading.RLock()
