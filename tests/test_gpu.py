"""Every codec on a GPU against itself on the CPU; skipped where there is none."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import OTHERS

from vocos import Voco, Vocos, get_voco, kernels
from vocos.kernels import steps

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


@pytest.fixture
def _no_tf32() -> Iterator[None]:
    """Convolutions in float32, as the CPU has them; torch's default on a GPU is TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


ERRORS = [(torch.float32, False, 1e-3), (torch.float32, True, 0.02), (torch.float16, True, 0.02)]


@pytest.mark.usefixtures("_no_tf32")  # which restores it
@pytest.mark.parametrize(("dtype", "has_tf32", "error"), [*ERRORS, (torch.bfloat16, True, 0.1)])
def test_both_directions_agree_with_the_cpu(small: Voco[Any], dtype: torch.dtype, has_tf32: bool, error: float) -> None:
    torch.backends.cudnn.allow_tf32 = has_tf32
    options: dict[str, Any] = {"sample": False} if small.name == "oobleck" else {}
    audio = torch.rand(2, 3001, small.channel) - 0.5
    latents = small.encode(audio, **options)
    sound = small.decode(latents)
    small.to("cuda", dtype)
    given = small.encode(audio.cuda(), **options)
    assert (given.device.type, given.dtype) == ("cuda", dtype)
    if small.name != "mel":  # whose quietest bands are rounding
        assert (given.cpu().float() - latents).abs().max() < error * max(1.0, float(latents.abs().max()))
    heard = small.decode(latents.cuda())
    assert (heard.cpu().float() - sound).abs().max() < error * max(1.0, float(sound.abs().max()))


def test_vocos_of_pypi_agrees_with_the_cpu(tmp_path: Path) -> None:
    item = OTHERS["charactr-encodec"]
    item.write(tmp_path)
    vocos, audio = Vocos.from_pretrained(tmp_path, encodec_weights=tmp_path / "encodec"), torch.rand(2, 3001) - 0.5
    sound = vocos(audio, bandwidth_id=torch.tensor([2]))
    late = Vocos.from_pretrained(tmp_path, encodec_weights=tmp_path / "encodec").to("cuda")  # EnCodec is not there yet
    for given in (late, vocos.to("cuda")):
        heard = given(audio.cuda(), bandwidth_id=torch.tensor([2]).cuda())
        assert (heard.cpu() - sound).abs().max() < 1e-3 * max(1.0, float(sound.abs().max()))


SNAKES = ("dac", "dacvae", "oobleck")  # codecs whose networks the engine runs


@pytest.fixture(params=SNAKES)
def loaded(request: pytest.FixtureRequest, weights: Path) -> Voco[Any]:
    """A codec on the GPU that has decoded before, so that its kernels are compiled."""
    voco = get_voco(request.param, weights=weights, device="cuda").load()
    voco.decode(torch.randn(2, 9, voco.latent_dim, device="cuda"))
    return voco


def test_the_engine_on_a_gpu_is_triton() -> None:
    device = torch.device("cuda")
    if torch.cuda.get_device_capability() >= (8, 0):
        assert kernels.engine(device, torch.float16) == "triton"
    assert kernels.engine(device, torch.float64) == kernels.engine(device, torch.float16, True) == "reference"


@torch.inference_mode()
def test_decode_is_captured_in_a_graph_and_replayed_with_other_latents(loaded: Voco[Any]) -> None:
    latents = torch.randn(2, 9, loaded.latent_dim, device="cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        loaded.decode(latents)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        sound = loaded.decode(latents)
    latents.copy_(torch.randn_like(latents))
    graph.replay()
    torch.testing.assert_close(sound, loaded.decode(latents), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_nothing_waits_for_the_gpu(loaded: Voco[Any]) -> None:
    options: dict[str, Any] = {"sample": False} if loaded.name == "oobleck" else {}
    audio = torch.rand(2, 3001, loaded.channel, device="cuda") - 0.5
    latents = loaded.encode(audio, **options)
    torch.cuda.set_sync_debug_mode("error")
    try:
        loaded.decode(loaded.encode(audio, **options))
        loaded.decode(latents)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@torch.no_grad()
@pytest.mark.usefixtures("_no_tf32")
def test_decode_is_one_compiled_graph(loaded: Voco[Any]) -> None:
    torch._dynamo.reset()
    latents = torch.randn(1, 9, loaded.latent_dim, device="cuda")
    decode = torch.compile(loaded.decode, fullgraph=True)
    wanted = loaded.decode(latents)
    torch.testing.assert_close(decode(latents), wanted, rtol=0, atol=1e-3 * float(wanted.abs().max()))


def input_of(chain: kernels.Chain, half: str) -> torch.Tensor:
    first = chain[0]
    assert isinstance(first, kernels.Convolution)
    return torch.randn(1, first.weight.shape[1], 4096 if half == "encoder" else 9, device="cuda")


@torch.no_grad()
@pytest.mark.usefixtures("_no_tf32")
@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_full_rounding_is_kept_without_tf32(loaded: Voco[Any], half: str) -> None:
    chain = getattr(loaded.network, half).chain()
    x = input_of(chain, half)
    wanted = steps.run(chain, x)
    given = kernels.run(chain, x, kernels.Cache())
    torch.testing.assert_close(given, wanted, rtol=0, atol=2e-4 * float(wanted.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_the_engine_is_as_near_to_the_truth_as_eager_pytorch(loaded: Voco[Any], half: str, dtype: torch.dtype) -> None:
    stack = copy.deepcopy(getattr(loaded.network, half)).to(dtype)
    x = input_of(stack.chain(), half).to(dtype)
    given, eager = kernels.run(stack.chain(), x, kernels.Cache()), steps.run(stack.chain(), x)
    wanted = steps.run(stack.double().chain(), x.double())
    errors = [float((y.double() - wanted).square().mean() / wanted.square().mean()) for y in (given, eager)]
    assert errors[0] < 4 * errors[1] < 0.1  # 6 dB: float32 is TF32 here, torch's default
