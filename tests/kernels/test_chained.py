"""Chains are made once for a set of layers and parameters, and anew for another: each way that one becomes another.

Every change is made between two calls of a codec that has been used, whose result must then be that of the definition
on the changed module, and another than before.
"""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from counting import Calls
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vocos import Voco, get_voco
from vocos.kernels import steps
from vocos.kernels.chained import Chained
from vocos.nn.blocks import Stack

NAMES = ["dac", "encodec_24khz"]
CLOSE: dict[str, float] = {"atol": 2e-5, "rtol": 1e-4}  # two engines: measured below 3e-6


@pytest.fixture(params=NAMES)
def voco(request: pytest.FixtureRequest, weights: Path, folder: Callable[[str], Path]) -> Voco[Any]:
    """A loaded codec with chains, which has been used."""
    place = folder("transformers-encodec_24khz") if request.param == "encodec_24khz" else weights
    loaded = get_voco(request.param, weights=place).load()
    sound(loaded)
    return loaded


def sound(voco: Voco[Any]) -> Tensor:
    latents = torch.randn(1, 6, voco.latent_dim, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return voco.decode(latents)


def layer(voco: Voco[Any]) -> nn.Conv1d:
    """A convolution in the middle of a residual unit of the decoder."""
    found: nn.Conv1d = voco.network.decoder.get_submodule(path(voco))
    return found


def path(voco: Voco[Any]) -> str:
    decoder = voco.network.decoder
    inside = [name for name, module in decoder.named_modules() if isinstance(module, nn.Conv1d) and name.count(".") > 2]
    return inside[0]


def replace(voco: Voco[Any], module: nn.Module) -> None:
    parent, _, leaf = path(voco).rpartition(".")
    setattr(voco.network.decoder.get_submodule(parent), leaf, module)


def other(tensor: Tensor) -> Tensor:
    return (tensor * 1.02 + 0.001).detach()


class Wrapper(nn.Module):
    """What LoRA puts in the place of a layer."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base_layer = base

    def forward(self, x: Tensor) -> Tensor:
        base: Tensor = self.base_layer(x)
        return base + base.sin()


class Same(nn.Conv1d):
    """A class of the same layer that does more."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class Half(nn.Module):
    """A parametrisation: the weight is computed whenever it is read."""

    def forward(self, weight: Tensor) -> Tensor:
        return 0.5 * weight


def in_place(voco: Voco[Any]) -> None:
    with torch.no_grad():
        layer(voco).weight.mul_(1.5)


def copied(voco: Voco[Any]) -> None:
    with torch.no_grad():
        layer(voco).weight.copy_(other(layer(voco).weight))


def given_data(voco: Voco[Any]) -> None:
    layer(voco).weight.data = other(layer(voco).weight)


def given_data_twice(voco: Voco[Any]) -> None:
    """By way of another type: the numbers may come to lie where the first ones were."""
    weight = layer(voco).weight
    weight.data = other(weight).half()
    weight.data = weight.data.float()


def given_a_parameter(voco: Voco[Any]) -> None:
    layer(voco).weight = nn.Parameter(other(layer(voco).weight), requires_grad=False)


def without_bias(voco: Voco[Any]) -> None:
    layer(voco).bias = None


def loaded_state(voco: Voco[Any]) -> None:
    voco.load_state_dict({name: other(tensor) for name, tensor in voco.state_dict().items()})


def assigned_state(voco: Voco[Any]) -> None:
    voco.load_state_dict({name: other(tensor) for name, tensor in voco.state_dict().items()}, assign=True)


def rounded(voco: Voco[Any]) -> None:
    voco.to(torch.bfloat16).to(torch.float32)


def rounded_layer(voco: Voco[Any]) -> None:
    layer(voco).to(torch.bfloat16).to(torch.float32)


def replaced_layer(voco: Voco[Any]) -> None:
    given = copy.deepcopy(layer(voco))
    given.weight.data = other(given.weight)
    replace(voco, given)


def wrapped_layer(voco: Voco[Any]) -> None:
    replace(voco, Wrapper(layer(voco)))


def of_another_class(voco: Voco[Any]) -> None:
    layer(voco).__class__ = Same


def given_a_forward(voco: Voco[Any]) -> None:
    plain = layer(voco).forward
    layer(voco).forward = lambda x: plain(x) + 1  # type: ignore[method-assign]


def hooked(voco: Voco[Any]) -> None:
    layer(voco).register_forward_hook(lambda module, args, output: output + 1)


def hooked_before(voco: Voco[Any]) -> None:
    layer(voco).register_forward_pre_hook(lambda module, args: (args[0] + 1,))


def parametrized(voco: Voco[Any]) -> None:
    parametrize.register_parametrization(layer(voco), "weight", Half())


def parametrized_and_used(voco: Voco[Any]) -> None:
    parametrized(voco)
    sound(voco)
    with torch.no_grad():
        layer(voco).parametrizations.weight.original.mul_(3)  # type: ignore[union-attr, operator]


def swapped(voco: Voco[Any]) -> None:
    torch.utils.swap_tensors(layer(voco).weight, nn.Parameter(other(layer(voco).weight), requires_grad=False))


CHANGES = [
    in_place,
    copied,
    given_data,
    given_data_twice,
    given_a_parameter,
    without_bias,
    loaded_state,
    assigned_state,
    rounded,
    rounded_layer,
    replaced_layer,
    wrapped_layer,
    of_another_class,
    given_a_forward,
    hooked,
    hooked_before,
    parametrized,
    parametrized_and_used,
    swapped,
]


@pytest.mark.parametrize("change", CHANGES)
def test_change_between_two_calls_is_noticed(
    change: Callable[[Voco[Any]], None], voco: Voco[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sound(voco)
    change(voco)
    after = sound(voco)
    assert torch.equal(sound(voco), after)
    monkeypatch.setenv("VOCOS_KERNELS", "reference")
    fresh = copy.deepcopy(voco) if change is not swapped else voco
    torch.testing.assert_close(after, sound(fresh), **CLOSE)
    assert not torch.allclose(after, before, atol=1e-6, rtol=1e-6)


def test_hook_that_is_removed_leaves_nothing(voco: Voco[Any]) -> None:
    before = sound(voco)
    handle = layer(voco).register_forward_hook(lambda module, args, output: output + 1)
    assert not torch.allclose(sound(voco), before, **CLOSE)
    handle.remove()
    assert torch.equal(sound(voco), before)


def test_memory_of_an_engine_is_given_back_when_layers_are_called(voco: Voco[Any]) -> None:
    last = voco.network.decoder.caches[-1]  # of the chain that has the layer
    assert last._kept is not None
    hooked(voco)
    sound(voco)
    assert last._kept is None


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_scripted_layer_is_called(voco: Voco[Any]) -> None:
    before = sound(voco)
    replace(voco, torch.jit.script(layer(voco)))
    torch.testing.assert_close(sound(voco), before, **CLOSE)
    assert voco.network.decoder._made._kept is None


def test_layer_that_is_unwrapped_is_read_again(voco: Voco[Any]) -> None:
    before, plain = sound(voco), layer(voco)
    parent, _, leaf = path(voco).rpartition(".")
    unit = voco.network.decoder.get_submodule(parent)
    setattr(unit, leaf, Wrapper(plain))
    assert not torch.allclose(sound(voco), before, **CLOSE)
    setattr(unit, leaf, plain)
    assert torch.equal(sound(voco), before)


def test_gradients_that_are_wanted_after_a_call_without_are_given(voco: Voco[Any]) -> None:
    sound(voco)
    weight = layer(voco).weight.requires_grad_()
    latents = torch.randn(1, 6, voco.latent_dim)
    voco.decode(latents).square().mean().backward()
    assert weight.grad is not None and weight.grad.abs().sum() > 0
    latents.requires_grad_()
    weight.requires_grad_(False)
    voco.decode(latents).square().mean().backward()
    assert latents.grad is not None and latents.grad.abs().sum() > 0


def test_transform_of_functions_sees_the_parameters_that_it_is_given(voco: Voco[Any]) -> None:
    before = sound(voco)
    latents = torch.randn(1, 6, voco.latent_dim, generator=torch.Generator().manual_seed(0))
    decoder = voco.network.decoder
    name = f"{path(voco)}.weight"

    def loss(weight: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(decoder, {name: weight}, (latents.mT,)).square().mean()
        return found

    weight = decoder.get_parameter(name)
    gradient = torch.func.grad(loss)(weight.detach())
    assert gradient.abs().sum() > 0
    shifted = loss(weight.detach() + 1e-3 * gradient.sign())
    assert shifted > loss(weight.detach())
    assert torch.equal(sound(voco), before)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda voco: pickle.loads(pickle.dumps(voco))])
def test_copies_compute_with_their_own_weights(duplicate: Callable[[Any], Any], voco: Voco[Any]) -> None:
    before = sound(voco)
    twin = duplicate(voco).load()
    in_place(twin)
    assert not torch.allclose(sound(twin), before, **CLOSE)
    assert torch.equal(sound(voco), before)


def test_shallow_copy_whose_layers_are_replaced_is_another_module() -> None:
    first = Doubling()
    with torch.no_grad():
        first(torch.ones(1, 1, 4))
    second = copy.copy(first)
    second._parameters = {"weight": nn.Parameter(torch.full((1, 1, 1), 5.0), requires_grad=False)}
    with torch.no_grad():
        assert second(torch.ones(1, 1, 4)).unique().tolist() == [5.0]
        assert first(torch.ones(1, 1, 4)).unique().tolist() == [2.0]


class Doubling(Stack):
    """One convolution whose chain is counted when it is made."""

    made = 0

    def __init__(self, is_computed: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, 1, 1), 2.0), requires_grad=False)
        self.is_computed = is_computed

    def chain(self) -> steps.Chain:
        self.made += 1
        return (steps.Convolution(1 * self.weight if self.is_computed else self.weight, None),)


@torch.no_grad()
def test_chain_is_made_once() -> None:
    module = Doubling()
    for _ in range(3):
        module(torch.ones(1, 1, 4))
    assert module.made == 1
    module.forget()
    module(torch.ones(1, 1, 4))
    assert module.made == 2


@torch.no_grad()
def test_chain_of_computed_tensors_is_made_at_each_call() -> None:
    module = Doubling(is_computed=True)
    assert module(torch.ones(1, 1, 4)).unique().tolist() == [2.0]
    module.weight.data.mul_(2)
    assert module(torch.ones(1, 1, 4)).unique().tolist() == [4.0]


def test_threads_that_change_and_use_a_codec_end_with_the_changed_one(voco: Voco[Any]) -> None:
    start = threading.Barrier(3)
    failures: list[BaseException] = []

    def use() -> None:
        try:
            start.wait()
            for _ in range(20):
                sound(voco)
        except BaseException as error:  # a thread's own are not seen otherwise
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    start.wait()
    for _ in range(10):
        given_a_parameter(voco)
        in_place(voco)
    for thread in threads:
        thread.join()
    assert not failures
    assert torch.equal(sound(voco), sound(copy.deepcopy(voco)))


@pytest.mark.parametrize("compiled_first", [True, False])
def test_compiled_codec_sees_weights_that_change(compiled_first: bool, weights: Path) -> None:
    torch._dynamo.reset()
    voco = get_voco("dac", weights=weights).load()
    latents = torch.randn(1, 6, voco.latent_dim)
    compiled = torch.compile(voco.decode, backend="eager", fullgraph=True)
    with torch.no_grad():
        (compiled if compiled_first else voco.decode)(latents)
        for change in (in_place, given_a_parameter):
            change(voco)
            torch.testing.assert_close(compiled(latents), voco.decode(latents), **CLOSE)


def test_warm_call_makes_few_calls_of_ours(voco: Voco[Any]) -> None:
    sound(voco)
    for module in voco.network.modules():
        if isinstance(module, Chained) and module._made._kept:
            with Calls() as calls:
                module.ready_chain()
            assert calls.count < 40  # however many layers there are; 500 and more to make the chains
            return
    raise AssertionError("no chains were kept")
