"""A codec inside of somebody else's model: their initialisers, loaders, hooks, transforms and defaults."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ALL, ENCODECS, STAND_INS
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from vocos import Voco, arrange_codes, get_voco, load_codes, save_codes
from vocos.errors import InvalidInput
from vocos.nn.semantic import SemanticFeatures

SECOND = 2600  # samples: more than one frame of every codec
NAMES = [
    *STAND_INS,
    *(name for name in ENCODECS if name.startswith("transformers")),
    "xcodec",
    "mimi",
    "qwen3_tts",
    "wavtokenizer",
    "higgs_audio_v2",
    "griffinlim",
]
CLOSE: dict[str, float] = {"atol": 2e-5, "rtol": 1e-4}  # two engines: measured below 3e-6


@pytest.fixture
def make(weights: Path, folder: Callable[[str], Path]) -> Callable[[str], Voco[Any]]:
    """A codec of small weights by its name, not loaded."""

    def made(name: str) -> Voco[Any]:
        if name == "griffinlim":
            return get_voco(name)
        if name in STAND_INS:
            return get_voco(name, weights=weights)
        return get_voco(ALL[name].name, weights=folder(name))

    return made


def inputs(voco: Voco[Any]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator("cpu").manual_seed(0)
    options: dict[str, Any] = {"generator": generator, "dtype": torch.float32, "device": "cpu"}
    audio = torch.rand(2, SECOND, voco.channel, **options) - 0.5
    return audio, 0.5 * torch.randn(2, voco.minimum_frames + 5, voco.latent_dim, **options)


def results(voco: Voco[Any]) -> dict[str, Tensor]:
    """What every call gives."""
    audio, latents = inputs(voco)
    options: dict[str, Any] = {"sample": False} if voco.name == "oobleck" else {}
    marked: dict[str, Any] = {"watermark": False} if voco.name == "dacvae" else {}
    found = {"encode": voco.encode(audio, **options), "decode": voco.decode(latents, **marked)}
    mask = torch.arange(SECOND, device="cpu") < torch.tensor([SECOND, 2000], device="cpu")[:, None]
    found["masked"] = voco.encode(audio, mask=mask, **options)
    found["batch"] = voco.encode_batch([audio[0]], **options)[0]
    if voco.n_codebooks is not None:
        codes = voco.encode_codes(audio)
        found["codes"] = getattr(codes, "codes", codes)
        found["scales"] = getattr(codes, "scales", torch.empty(0, dtype=torch.float32, device="cpu"))
        found["decode_codes"] = voco.decode_codes(codes)
    return found


def assert_same(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert given.keys() == wanted.keys()
    for call, tensor in given.items():
        torch.testing.assert_close(tensor, wanted[call], msg=lambda text, call=call: f"{call}: {text}", **CLOSE)


# transformers


class Config(PretrainedConfig):
    model_type = "has-a-codec"

    def __init__(self, codec: str = "", weights: str = "", is_loaded: bool = False, **options: Any) -> None:
        self.codec, self.weights, self.is_loaded = codec, weights, is_loaded
        super().__init__(**options)


class Model(PreTrainedModel):
    config_class = Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.linear = nn.Linear(4, 4)
        self.codec = get_voco(config.codec, weights=config.weights or None)
        if config.is_loaded:
            self.codec.load()
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        for parameter in module.parameters(recurse=False):
            nn.init.normal_(parameter)


def assert_frozen(voco: Voco[Any]) -> None:
    assert not any(parameter.requires_grad for parameter in voco.parameters())
    assert not any(module.training for module in voco.modules())


@pytest.fixture(params=[name for name in NAMES if name != "griffinlim"])
def config(request: pytest.FixtureRequest, make: Callable[[str], Voco[Any]]) -> Config:
    voco = make(request.param)
    return Config(voco.name, str(voco.weights.location.weights))


class TestTransformers:
    @pytest.mark.parametrize("is_loaded", [False, True])
    def test_post_init_leaves_the_codec_alone(self, config: Config, is_loaded: bool) -> None:
        config.is_loaded = is_loaded
        model = Model(config)
        wanted = get_voco(config.codec, weights=config.weights)
        assert_frozen(model.codec)
        for name, tensor in model.codec.state_dict().items():
            assert torch.equal(tensor, wanted.state_dict()[name]), name

    @pytest.mark.parametrize("is_loaded", [False, True])
    @pytest.mark.parametrize("keys", ["all", "none", "some"])
    def test_from_pretrained_gives_the_codec_its_weights(
        self, config: Config, keys: str, is_loaded: bool, tmp_path: Path
    ) -> None:
        config.is_loaded = is_loaded
        model = Model(config).eval()
        wanted = results(model.codec)
        model.save_pretrained(tmp_path)
        file = tmp_path / "model.safetensors"
        state = load_file(file)
        names = [name for name in state if name.startswith("codec.")]
        dropped = {"all": [], "none": names, "some": names[::2]}[keys]
        save_file({k: v for k, v in state.items() if k not in dropped}, file, metadata={"format": "pt"})
        again = Model.from_pretrained(tmp_path)
        assert_frozen(again.codec)
        assert all(parameter.requires_grad for parameter in again.linear.parameters())
        assert_same(results(again.codec), wanted)

    def test_weights_of_the_checkpoint_win(self, config: Config, tmp_path: Path) -> None:
        model = Model(config)
        with torch.no_grad():
            for parameter in model.codec.parameters():
                parameter.mul_(0.5)
        model.save_pretrained(tmp_path)
        again = Model.from_pretrained(tmp_path)
        for name, tensor in again.codec.state_dict().items():
            assert torch.equal(tensor, model.codec.state_dict()[name])

    def test_dtype_of_from_pretrained_is_that_of_the_codec(self, config: Config, tmp_path: Path) -> None:
        Model(config).save_pretrained(tmp_path)
        codec = Model.from_pretrained(tmp_path, dtype=torch.bfloat16).codec
        audio, latents = inputs(codec)
        assert {parameter.dtype for parameter in codec.parameters()} == {codec.dtype}
        assert codec.encode(audio).dtype == codec.decode(latents).dtype == codec.dtype

    def test_weights_that_are_nowhere_are_an_error(self, weights: Path, tmp_path: Path) -> None:
        for ending in ("json", "safetensors"):
            (tmp_path / f"mel.{ending}").write_bytes((weights / f"mel.{ending}").read_bytes())
        model = Model(Config("mel", str(tmp_path)))
        model.save_pretrained(tmp_path / "saved")
        file = tmp_path / "saved" / "model.safetensors"
        save_file({k: v for k, v in load_file(file).items() if "codec" not in k}, file, metadata={"format": "pt"})
        (tmp_path / "mel.safetensors").unlink()
        with pytest.raises(OSError, match="mel"):
            Model.from_pretrained(tmp_path / "saved")


# Initialisers


@pytest.mark.parametrize("name", NAMES)
def test_apply_of_a_parent_does_not_change_frozen_weights(name: str, make: Callable[[str], Voco[Any]]) -> None:
    voco = make(name)
    before = {name: tensor.clone() for name, tensor in voco.state_dict().items()}

    def initialise(module: nn.Module) -> None:
        for parameter in module.parameters(recurse=False):
            parameter.data.normal_()

    parent = nn.ModuleDict({"codec": voco, "linear": nn.Linear(2, 2)})
    weight = parent["linear"].weight.detach().clone()
    parent.apply(initialise)
    assert not torch.equal(parent["linear"].weight, weight)
    assert all(torch.equal(tensor, before[name]) for name, tensor in voco.state_dict().items())


def test_apply_initialises_what_is_trained(small: Voco[Any]) -> None:
    small.requires_grad_(True).apply(lambda module: [p.data.fill_(3.0) for p in module.parameters(recurse=False)])
    assert all((parameter == 3.0).all() for parameter in small.parameters())


def test_apply_reaches_every_module(small: Voco[Any]) -> None:
    seen: list[nn.Module] = []
    small.apply(seen.append)
    assert set(seen) == set(small.modules())


def test_empty_weights_of_accelerate_are_an_error_of_ours(small: Voco[Any]) -> None:
    from accelerate import init_empty_weights

    with init_empty_weights(), pytest.raises(NotImplementedError, match="load the codec outside of it"):
        small.load()
    assert small.load().is_loaded


# accelerate


@pytest.mark.parametrize("offload_buffers", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_cpu_offload_of_accelerate(name: str, offload_buffers: bool, make: Callable[[str], Voco[Any]]) -> None:
    from accelerate import cpu_offload

    wanted = results(make(name))
    voco = make(name).load()
    if not list(voco.parameters()):
        return
    cpu_offload(voco, execution_device=torch.device("cpu"), offload_buffers=offload_buffers)
    for _ in range(2):
        assert all(parameter.is_meta for parameter in voco.parameters())
        assert voco.device == torch.device("cpu")
        assert_same(results(voco), wanted)


@pytest.mark.parametrize("name", ["mel", "dac", "oobleck", "dacvae", "transformers-encodec_48khz", "xcodec"])
def test_dispatch_of_accelerate(name: str, make: Callable[[str], Voco[Any]], tmp_path: Path) -> None:
    from accelerate import dispatch_model

    wanted = results(make(name))
    parent = nn.ModuleDict({"codec": make(name).load(), "linear": nn.Linear(2, 2)})
    children = [f"codec.network.{child}" for child, _ in parent["codec"].network.named_children()]
    places = {child: ("disk" if k % 2 else "cpu") for k, child in enumerate(children)}
    dispatch_model(parent, {"linear": "cpu", **places}, main_device="cpu", offload_dir=str(tmp_path), force_hooks=True)
    assert_same(results(parent["codec"]), wanted)


@pytest.mark.filterwarnings("ignore:The following device_map keys")  # accelerate knows no keys of single tensors
@pytest.mark.parametrize("name", ["mel", "encodec", "oobleck", "transformers-encodec_48khz", "xcodec"])
def test_dispatch_of_accelerate_to_single_layers(name: str, make: Callable[[str], Voco[Any]], tmp_path: Path) -> None:
    from accelerate import dispatch_model

    wanted = results(make(name))
    parent = nn.ModuleDict({"codec": make(name).load()})
    places = {}
    for path, module in parent.named_modules():
        own = [tensor for tensor, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))]
        if own and not list(module.children()):
            places[path] = "disk" if len(places) % 2 else "cpu"
        else:
            places |= {f"{path}.{tensor}": "cpu" for tensor in own}
    dispatch_model(parent, places, main_device="cpu", offload_dir=str(tmp_path), force_hooks=True)
    for _ in range(2):
        assert_same(results(parent["codec"]), wanted)


def test_codec_is_saved_while_its_weights_are_elsewhere(small: Voco[Any], tmp_path: Path) -> None:
    from accelerate import cpu_offload

    wanted = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    cpu_offload(small, execution_device=torch.device("cpu"))
    small.save(tmp_path)
    again = get_voco(small.name, weights=tmp_path).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in wanted.items() if name in again)
    assert again.keys() == wanted.keys()
    assert all(parameter.is_meta for parameter in small.parameters())


def test_pipeline_hook_of_accelerate_moves_the_codec(small: Voco[Any]) -> None:
    from accelerate.hooks import ModelHook, add_hook_to_module

    calls: list[str] = []

    class Hook(ModelHook):
        def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            calls.append("before")
            return args, kwargs

        def post_forward(self, module: nn.Module, output: Any) -> Any:
            calls.append("after")
            return output

    add_hook_to_module(small.load(), Hook())
    small.decode(inputs(small)[1])
    assert calls == ["before", "after"]


# Hooks and wrappers of layers


def leaves(voco: Voco[Any], half: str) -> dict[str, nn.Module]:
    """The layers that a call goes through, by name."""
    kinds = (nn.Conv1d, nn.ConvTranspose1d, nn.Linear, nn.LayerNorm, nn.RMSNorm)
    parts = [part for part in (voco.halves or {})[half] if "quantizer" not in part]  # which only codes go through
    return {
        name: module
        for name, module in voco.network.named_modules()
        if isinstance(module, kinds) and name.split(".")[0] in parts and "semantic.model" not in name
    }


LAYERED = [name for name in NAMES if name not in ("griffinlim",)]


@pytest.mark.parametrize("name", LAYERED)
def test_hooks_on_layers_fire_once_a_call_and_change_nothing(name: str, make: Callable[[str], Voco[Any]]) -> None:
    voco = make(name).load()
    wanted = results(voco)
    latents = inputs(voco)[1]
    seen: list[str] = []
    watched = leaves(voco, "decoder")
    handles = [
        module.register_forward_hook(lambda module, args, output, name=name: seen.append(name))
        for name, module in watched.items()
    ]
    voco.decode(latents)
    pieces = max(seen.count(name) for name in watched)
    assert {seen.count(name) for name in watched} == {pieces}
    assert pieces == 1 or "48" in name
    assert_same(results(voco), wanted)
    for handle in handles:
        handle.remove()
    seen.clear()
    voco.decode(latents)
    assert not seen


@pytest.mark.parametrize("name", LAYERED)
def test_hook_may_change_what_a_layer_gives(name: str, make: Callable[[str], Voco[Any]]) -> None:
    voco = make(name).load()
    latents = inputs(voco)[1]
    before = voco.decode(latents)
    for path, module in leaves(voco, "decoder").items():
        handle = module.register_forward_hook(lambda module, args, output: output + output.sin())
        assert not torch.allclose(voco.decode(latents), before, **CLOSE), path
        handle.remove()
    assert torch.equal(voco.decode(latents), before)


def test_hook_on_a_block_sees_its_output(weights: Path) -> None:
    voco = get_voco("dac", weights=weights).load()
    latents = inputs(voco)[1]
    seen: list[torch.Size] = []
    block = voco.network.decoder.blocks[1]
    with block.register_forward_hook(lambda module, args, output: seen.append(output.shape)):
        voco.decode(latents)
    assert len(seen) == 1
    assert seen[0][1] == block.conv.out_channels


class Wrapper(nn.Module):
    """What LoRA puts in the place of a layer."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base_layer = base
        self.scale = nn.Parameter(torch.tensor(0.5))

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self.base_layer.weight  # type: ignore[assignment]
        return weight

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        base: Tensor = self.base_layer(x, *args, **kwargs)
        return base + self.scale * base.detach().sin()


@pytest.mark.parametrize("name", LAYERED)
def test_wrapped_layers_are_called_and_trained(name: str, make: Callable[[str], Voco[Any]]) -> None:
    voco = make(name).load()
    latents = inputs(voco)[1]
    before = voco.decode(latents)
    for path, module in leaves(voco, "decoder").items():
        parent, _, leaf = path.rpartition(".")
        setattr(voco.network.get_submodule(parent), leaf, Wrapper(module))
    sound = voco.decode(latents)
    assert not torch.allclose(sound, before, **CLOSE)
    sound.square().mean().backward()
    for path, module in voco.network.named_modules():
        if isinstance(module, Wrapper):
            assert module.scale.grad is not None, path


@pytest.mark.parametrize("name", ["dac", "mel", "encodec", "oobleck"])
def test_layerwise_casting_of_diffusers(name: str, make: Callable[[str], Voco[Any]]) -> None:
    from diffusers.hooks import apply_layerwise_casting

    voco = make(name).load()
    latents = inputs(voco)[1]
    rounded = copy.deepcopy(voco)
    apply_layerwise_casting(voco, storage_dtype=torch.float16, compute_dtype=torch.float32)
    for module in rounded.modules():
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d, nn.Linear)):
            module.half().float()
    torch.testing.assert_close(voco.decode(latents), rounded.decode(latents), **CLOSE)


def test_layer_that_can_only_be_read_refuses_a_hook(weights: Path) -> None:
    voco = get_voco("dac", weights=weights).load()
    voco.network.quantizer.quantizers[0].codebook.register_forward_hook(lambda *arguments: None)
    with pytest.raises(NotImplementedError, match="this Embedding is read and not called"):
        voco.encode_codes(inputs(voco)[0])


# torch.func and forward mode


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("direction", ["encode", "decode"])
@pytest.mark.parametrize("loaded", [False, True])
def test_forward_mode_gives_the_directional_derivative(
    name: str, direction: str, loaded: bool, make: Callable[[str], Voco[Any]]
) -> None:
    voco = make(name)
    if loaded:
        voco.load()
    x = inputs(voco)[direction == "decode"]
    options: dict[str, Any] = {"sample": False} if name == "oobleck" and direction == "encode" else {}
    options |= {"watermark": False} if name == "dacvae" and direction == "decode" else {}
    call = getattr(voco, direction)

    def function(x: Tensor) -> Tensor:
        y: Tensor = call(x, **options)
        return y

    tangent = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    try:
        y, forward = torch.func.jvp(function, (x,), (tangent,))
    except NotImplementedError as error:  # PyTorch has none of some layers: the LSTM, attention
        assert "forward AD" in str(error)
        assert any(isinstance(module, (nn.LSTM, SemanticFeatures)) for module in voco.modules())
        return
    x.requires_grad_()
    plain = function(x)
    cotangent = torch.randn(plain.shape, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad(plain, x, cotangent)
    torch.testing.assert_close(y, plain.detach(), **CLOSE)
    torch.testing.assert_close((forward * cotangent).sum(), (gradient * tangent).sum(), rtol=2e-3, atol=1e-3)
    assert torch.equal(function(x.detach()), make(name).__getattribute__(direction)(x.detach(), **options))


@pytest.mark.parametrize("name", NAMES)
def test_dual_numbers_of_autograd_are_not_ignored(name: str, make: Callable[[str], Voco[Any]]) -> None:
    voco = make(name)
    x = inputs(voco)[1]
    options: dict[str, Any] = {"watermark": False} if name == "dacvae" else {}
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        try:
            tangent = torch.autograd.forward_ad.unpack_dual(voco.decode(dual, **options)).tangent
        except NotImplementedError as error:
            assert "forward AD" in str(error)
        else:
            assert tangent is not None
            assert tangent.any()


@pytest.mark.parametrize("name", NAMES)
def test_vmap_and_grad_of_torch_func(name: str, make: Callable[[str], Voco[Any]]) -> None:
    voco = make(name)
    options: dict[str, Any] = {"watermark": False} if name == "dacvae" else {}
    x = inputs(voco)[1]
    wanted = make(name).decode(x, **options)
    try:
        rows = torch.func.vmap(lambda row: voco.decode(row[None], **options)[0])(x)
    except RuntimeError as error:  # PyTorch cannot map its LSTM and a few others
        assert "vmap" in str(error) or "Batching rule" in str(error)
    else:
        torch.testing.assert_close(rows, wanted, **CLOSE)
    gradient = torch.func.grad(lambda x: voco.decode(x, **options).square().sum())(x)
    x.requires_grad_()
    (plain,) = torch.autograd.grad(voco.decode(x, **options).square().sum(), x)
    torch.testing.assert_close(gradient, plain, rtol=1e-3, atol=1e-4)
    assert torch.equal(voco.decode(x.detach(), **options), wanted)


# The caller's defaults


@contextmanager
def defaults(kind: str) -> Iterator[None]:
    if kind == "meta":
        with torch.device("meta"):
            yield
    elif kind == "set_default_device":
        torch.set_default_device("meta")
        try:
            yield
        finally:
            torch.set_default_device(None)
    else:
        torch.set_default_dtype(getattr(torch, kind))
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", [*NAMES, "xcodec-wavlm"])
@pytest.mark.parametrize("kind", ["bfloat16", "float64", "meta", "set_default_device"])
def test_defaults_of_the_caller_change_nothing(
    name: str, kind: str, make: Callable[[str], Voco[Any]], tmp_path: Path
) -> None:
    wanted = results(make(name))
    voco = make(name)
    with defaults(kind):
        given = results(voco)
        if voco.n_codebooks is not None:
            codes = voco.encode_codes(inputs(voco)[0][:1])
            save_codes(tmp_path / "x.codes", codes, voco, SECOND)
            read = load_codes(tmp_path / "x.codes", voco).codes
            assert torch.equal(getattr(read, "codes", read), getattr(codes, "codes", codes))
            if hasattr(codes, "scales"):
                assert torch.equal(read.scales, codes.scales)
    assert {tensor.dtype for tensor in (*voco.parameters(), *voco.buffers())} <= {torch.float32}
    assert_same(given, wanted)


def test_watermark_is_not_drawn_on_the_default_device(folder: Callable[[str], Path]) -> None:
    voco = get_voco("dacvae", weights=folder("facebook-dacvae"), watermark=True)
    latents = inputs(voco)[1]
    bits = [0, 1] * (voco.config["nbits"] // 2)
    wanted = voco.decode(latents, message=bits)
    with torch.device("meta"):
        torch.testing.assert_close(voco.decode(latents, message=bits), wanted, **CLOSE)
        assert voco.decode(latents).isfinite().all()
        assert voco.decode_batch([latents[0]])[0].isfinite().all()


# Copies, threads, state dicts


@pytest.mark.parametrize("name", [*NAMES, "xcodec-wavlm"])
def test_codec_is_copied_pickled_and_saved_after_use(
    name: str, make: Callable[[str], Voco[Any]], tmp_path: Path
) -> None:
    voco = make(name)
    wanted = results(voco)
    for other in (copy.deepcopy(voco), pickle.loads(pickle.dumps(voco))):
        assert_same(results(other), wanted)
    torch.save(voco, tmp_path / "whole.pt")
    assert_same(results(torch.load(tmp_path / "whole.pt", weights_only=False)), wanted)
    if voco.source is not None:
        voco.save(tmp_path)
        assert json.loads((tmp_path / "config.json").read_text())
        assert_same(results(get_voco(voco.name, weights=tmp_path)), wanted)


@pytest.mark.parametrize("name", NAMES)
def test_move_that_changes_nothing_touches_nothing(
    name: str, make: Callable[[str], Voco[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    voco = make(name).load()
    touched: list[str] = []
    for module in list(voco.network.modules()):
        real = module._apply
        monkeypatch.setattr(module, "_apply", lambda *a, real=real, **k: (touched.append("x"), real(*a, **k))[1])
    for move in (lambda: voco.to("cpu"), voco.float, voco.cpu, lambda: nn.ModuleList([voco]).to(torch.float32)):
        move()
    assert not touched
    voco.to(torch.float64)
    assert touched or not list(voco.parameters())
    assert voco.dtype == torch.float64


def test_codec_that_was_moved_in_inference_mode_gives_gradients(small: Voco[Any]) -> None:
    with torch.inference_mode():
        small.load().to(torch.float64)
    latents = inputs(small)[1].double().requires_grad_()
    small.decode(latents).sum().backward()
    assert latents.grad is not None
    assert latents.grad.any()


def test_codec_that_is_moved_nowhere_can_be_used_meanwhile(make: Callable[[str], Voco[Any]]) -> None:
    voco = make("transformers-encodec_48khz").load()
    latents = inputs(voco)[1]
    wanted = voco.decode(latents)
    stop, failures = threading.Event(), []

    def move() -> None:
        while not stop.is_set():
            voco.to("cpu")

    thread = threading.Thread(target=move)
    thread.start()
    try:
        for _ in range(20):
            if not torch.allclose(voco.decode(latents), wanted, **CLOSE):
                failures.append("another sound")
    finally:
        stop.set()
        thread.join()
    assert not failures


@pytest.mark.parametrize("name", [name for name in NAMES if name != "griffinlim"])
def test_state_of_another_dtype_is_assigned_to_an_unloaded_codec(name: str, make: Callable[[str], Voco[Any]]) -> None:
    state = {key: tensor.to(torch.bfloat16) for key, tensor in make(name).state_dict().items()}
    voco = make(name)
    voco.load_state_dict(state, assign=True)
    assert voco.dtype == torch.bfloat16
    audio, latents = inputs(voco)
    assert voco.encode(audio).dtype == voco.decode(latents).dtype == torch.bfloat16
    assert_frozen(voco)


# Codes of every integer type


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int16, torch.int32])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("mel", "griffinlim", "dacvae", "oobleck")])
def test_codes_of_every_integer_type(
    name: str, dtype: torch.dtype, make: Callable[[str], Voco[Any]], tmp_path: Path
) -> None:
    voco = make(name)
    codes = voco.encode_codes(inputs(voco)[0][:1])

    def like(tensor: Tensor) -> Any:
        return tensor if not hasattr(codes, "scales") else type(codes)(tensor, codes.scales)

    plain = getattr(codes, "codes", codes) % 200
    narrow = like(plain.to(dtype))
    assert torch.equal(voco.decode_codes(narrow), voco.decode_codes(like(plain)))
    assert torch.equal(voco.codes_to_latents(narrow), voco.codes_to_latents(like(plain)))
    save_codes(tmp_path / "x.codes", narrow, voco, SECOND)
    read = load_codes(tmp_path / "x.codes", voco).codes
    assert torch.equal(getattr(read, "codes", read), plain)
    assert torch.equal(arrange_codes(plain.to(dtype), "batch frames codebooks"), plain)
    largest = (
        torch.full_like(plain, -1).to(torch.uint64)
        if dtype == torch.uint64
        else torch.full_like(plain, torch.iinfo(dtype).max).to(dtype)
    )
    if torch.iinfo(dtype).max >= (voco.codebook_size or 0):
        with pytest.raises(InvalidInput, match="expected codes from 0 to"):
            voco.decode_codes(like(largest))
