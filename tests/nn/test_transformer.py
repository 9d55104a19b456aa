"""The transformer against its definition with one mask over all, and as a stream."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vocos.kernels import stream
from vocos.nn import transformer
from vocos.nn.transformer import Transformer, TransformerStyle

WINDOW = 7
STYLES = {
    "layer norm and gelu": TransformerStyle(32, 4, 8, 48, 2, WINDOW),
    "rms norm and a gate": TransformerStyle(24, 3, 16, 40, 2, WINDOW, has_rms_norm=True, activation="swiglu"),
    "everything seen": TransformerStyle(32, 4, 8, 48, 2, None, activation="gelu_tanh"),
}


def made(style: TransformerStyle) -> Transformer:
    torch.manual_seed(0)
    network = Transformer(style)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4)
    return network.requires_grad_(False)


def definition(network: Transformer, x: Tensor) -> Tensor:
    """Scores of all pairs, in float64, each rotated by complex numbers."""
    style, n = network.style, x.shape[1]
    position = torch.arange(n)
    distance = position[:, None] - position
    window = n if style.window is None else style.window
    seen = (distance < window) & ((distance >= 0) | torch.tensor(style.window is None))
    pairs = torch.arange(style.head_dim // 2, dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** (-2 * pairs / style.head_dim)
    turn = torch.polar(torch.ones_like(angle), angle)

    def norm(layer: nn.Module, x: Tensor) -> Tensor:
        if not style.has_rms_norm:
            return F.layer_norm(x, x.shape[-1:], layer.weight, layer.bias, 1e-5)
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.weight

    def heads(layer: nn.Module, x: Tensor) -> Tensor:
        return (x @ layer.weight.T).unflatten(-1, (style.n_heads, style.head_dim)).transpose(1, 2)

    def turned(x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        pair = torch.complex(first, second) * turn
        return torch.cat([pair.real, pair.imag], -1)

    for layer in network.double().layers:
        y, attention = norm(layer.input_layernorm, x), layer.self_attn
        q, k = turned(heads(attention.q_proj, y)), turned(heads(attention.k_proj, y))
        scores = (q @ k.mT / math.sqrt(style.head_dim)).masked_fill(~seen, -math.inf)
        y = (scores.softmax(-1) @ heads(attention.v_proj, y)).transpose(1, 2).flatten(2)
        x = x + layer.self_attn_layer_scale.scale * (y @ attention.o_proj.weight.T)
        y, inside = norm(layer.post_attention_layernorm, x), layer.mlp
        if style.activation == "swiglu":
            gate = y @ inside.gate_proj.weight.T
            y = (gate * gate.sigmoid() * (y @ inside.up_proj.weight.T)) @ inside.down_proj.weight.T
        else:
            y = F.gelu(y @ inside.fc1.weight.T, approximate="tanh" if "tanh" in style.activation else "none")
            y = y @ inside.fc2.weight.T
        x = x + layer.mlp_layer_scale.scale * y
    return x


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("n", [1, 2, WINDOW, WINDOW + 1, 60])
def test_blocks_of_queries_give_the_definition(
    style: TransformerStyle, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer, "QUERIES", 13)
    x = torch.randn(2, n, style.width)
    found = made(style)(x.mT).mT
    torch.testing.assert_close(found, definition(made(style), x.double()).float(), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("style", list(STYLES.values())[:2], ids=list(STYLES)[:2])
@given(sizes=st.lists(st.sampled_from((0, 1, 2, 5, WINDOW - 1, WINDOW, 23)), min_size=1, max_size=8))
@settings(deadline=None, max_examples=40)
def test_pieces_give_the_whole(style: TransformerStyle, sizes: list[int]) -> None:
    network = made(style)
    x = torch.randn(2, max(1, sum(sizes)), style.width)
    step = network.step()
    state, outputs = step.start(), []
    for piece in torch.split(x, sizes if sum(sizes) else [1], dim=1):
        y, state = step.advance(piece if piece.shape[1] else None, state, False)
        outputs += [] if y is None else [y]
    torch.testing.assert_close(torch.cat(outputs, 1), network(x.mT).mT, atol=1e-5, rtol=1e-5)
    assert all(keys.shape[2] == WINDOW - 1 for keys in state.keys)  # whatever the position


def test_rows_at_different_positions_go_on_together() -> None:
    network = made(STYLES["layer norm and gelu"])
    step = network.step()
    x = torch.randn(2, 40, 32)
    states, lengths = [], (3, 25)
    for row, n in enumerate(lengths):
        states.append(step.advance(x[row : row + 1, :n], step.start(), False)[1])
    assert stream.are_in_phase(states)
    more = torch.stack([x[row, n : n + 10] for row, n in enumerate(lengths)])
    y, _ = step.advance(more, stream.joined(states), False)
    whole = network(x.mT).mT
    for row, n in enumerate(lengths):
        torch.testing.assert_close(y[row], whole[row, n : n + 10], atol=1e-5, rtol=1e-5)


def test_positions_of_hours_are_exact() -> None:
    """A common offset of all positions changes no score: in float32, angles of a day would be wrong by 0.1."""
    network = made(STYLES["layer norm and gelu"])
    x = torch.randn(1, 30, 32)
    step = network.step()
    _, past = step.advance(x, step.start(), False)
    far = past._replace(position=past.position + 2_000_000)
    keys = tuple(
        transformer.rotated(keys, *_turn(network, 2_000_000)) for keys in past.keys
    )  # as they would have been at these positions
    y, _ = step.advance(x, past, False)
    late, _ = step.advance(x, far._replace(keys=keys), False)
    torch.testing.assert_close(late, y, atol=1e-5, rtol=1e-5)


def _turn(network: Transformer, steps: int) -> tuple[Tensor, Tensor]:
    pairs = torch.arange(0, network.style.head_dim, 2, dtype=torch.float64) / network.style.head_dim
    angles = steps * network.style.theta**-pairs
    return angles.cos().float(), angles.sin().float()
