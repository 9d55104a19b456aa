"""torch.compile: one graph for many lengths, and the numbers of the eager codec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import einops
import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from vocos import Voco, get_voco

FOURIER = {"mel", "encodec"}  # codecs that the compiler of torch 2.6 cannot take: it has no Fourier transforms
IS_TORCH_2_6 = torch.__version__.startswith("2.6.")


@pytest.fixture(autouse=True)
def _known_to_the_compiler(request: pytest.FixtureRequest) -> None:
    if IS_TORCH_2_6 and "small" in request.fixturenames and request.getfixturevalue("small").name in FOURIER:
        pytest.skip("torch 2.6 compiles no Fourier transforms")


@pytest.mark.parametrize("loaded", [True, False])
def test_decode_is_one_graph_for_many_lengths(small: Voco[Any], loaded: bool) -> None:
    torch._dynamo.reset()
    if loaded:
        small.load()
    counter = CompileCounterWithBackend("eager")
    decode = torch.compile(small.decode, backend=counter, fullgraph=True)
    for frames in (7, 9, 12, 31):
        latents = torch.randn(2, frames, small.latent_dim)
        torch._dynamo.mark_dynamic(latents, 1)
        torch.testing.assert_close(decode(latents), small.decode(latents), atol=1e-4, rtol=1e-4)
    assert counter.frame_count == 1


def test_encode_compiles_where_there_is_no_lstm(small: Voco[Any]) -> None:
    torch._dynamo.reset()
    options: dict[str, Any] = {"sample": False} if small.name == "oobleck" else {}
    encode = torch.compile(small.encode, backend="eager", fullgraph=small.name != "encodec")
    for samples in (700, 811, 2000):
        audio = torch.rand(2, samples, small.channel) - 0.5
        torch.testing.assert_close(encode(audio, **options), small.encode(audio, **options), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("key", ["mimi", "snac_32khz"])
@pytest.mark.parametrize("call", ["encode", "decode"])
def test_attention_in_windows_is_one_graph_for_many_lengths(key: str, call: str, folder: Callable[[str], Path]) -> None:
    torch._dynamo.reset()
    options: dict[str, Any] = {"noise": False} if key.startswith("snac") else {}
    voco = get_voco(key, weights=folder(key), **options).load()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(getattr(voco, call), backend=counter, fullgraph=True)
    for frames in (7, 12, 31):
        audio = torch.rand(2, frames * voco.hop_length + 3, 1) - 0.5
        x = audio if call == "encode" else torch.randn(2, frames, voco.latent_dim)
        torch._dynamo.mark_dynamic(x, 1)
        torch.testing.assert_close(compiled(x), getattr(voco, call)(x), atol=1e-4, rtol=1e-4)
    assert counter.frame_count == 1


@torch.no_grad()
def test_eager_calls_leave_alone_what_graphs_are_guarded_by(small: Voco[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[type, Any] = {}  # the classes that einops has met: with one more, all graphs are compiled again
    monkeypatch.setattr(einops._backends, "_type2backend", seen)
    small.encode(torch.rand(1, 900, small.channel) - 0.5)
    small.decode(torch.randn(1, 7, small.latent_dim))
    assert torch.Tensor in seen
    assert nn.Parameter not in seen
