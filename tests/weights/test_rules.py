"""What public files keep in the place of our tensors: each rule forward, backward, and on files that do not fit it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vocos import CheckpointError, InvalidInput
from vocos.weights.export import Target, write
from vocos.weights.formats import Format, fill, recognise
from vocos.weights.rules import (
    NEW_STYLE,
    OLD_STYLE,
    Quotient,
    Reshaped,
    Rows,
    Rule,
    Rules,
    Same,
    WeightNorm,
    rule_of,
    weight_norm,
    written,
)
from vocos.weights.tensors import open_tensors

WIDTH, HEADS = 8, 2
FLOOR = 1e-5


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def interleaved(start: int, width: int, heads: int) -> list[int]:
    """Rows in pairs (0, 1), (2, 3), ... of each head, in the order of ours: all first of a pair, then all second."""
    rows = torch.arange(start, start + width).reshape(heads, -1, 2)
    return [int(row) for row in rows.transpose(1, 2).flatten()]


RULES: dict[str, tuple[Rule, tuple[int, ...]]] = {
    "same": (Same("a.weight"), (4, 3, 5)),
    "weight norm": (WeightNorm("a.weight"), (4, 3, 5)),
    "weight norm of one channel": (WeightNorm("a.weight"), (1, 3, 5)),
    "weight norm along the last axis": (WeightNorm("a.weight", axis=2, leaves=NEW_STYLE), (4, 3, 5)),
    "another shape": (Reshaped("a.alpha", (-1,)), (1, 6, 1)),
    "pointwise convolution": (Reshaped("a.weight", (4, 6, 1)), (4, 6)),
    "quotient": (Quotient("a.embed_sum", "a.cluster_usage", FLOOR), (4, 3)),
    "rows in another order": (Rows("a.weight", interleaved(0, 8, 2), 8), (8, 3)),
}


@pytest.mark.parametrize("name", RULES)
def test_what_is_written_is_read_back_to_the_bit(name: str) -> None:
    rule, shape = RULES[name]
    tensor = random(*shape)
    theirs = written([(rule, tensor)])
    needs = rule.needs(shape, theirs)
    assert {part: tuple(stored.shape) for part, stored in theirs.items()} == needs
    assert torch.equal(rule.read(shape, *(theirs[part] for part in needs)), tensor)


def test_norm_is_along_all_axes_but_one() -> None:
    magnitude, direction = random(1, 1, 5, seed=1), random(4, 3, 5)
    rule = Same("a.weight", axis=2)
    needs = rule.needs((4, 3, 5), {"a.weight_v"})
    assert needs == {"a.weight_g": (1, 1, 5), "a.weight_v": (4, 3, 5)}
    made = rule.read((4, 3, 5), magnitude, direction)
    for k in range(5):
        expected = direction[..., k] / direction[..., k].square().sum().sqrt() * magnitude[0, 0, k]
        torch.testing.assert_close(made[..., k], expected)


@pytest.mark.parametrize("leaves", [OLD_STYLE, NEW_STYLE])
@pytest.mark.parametrize("rule", [Same("a.weight"), WeightNorm("a.weight"), WeightNorm("a.weight", leaves=NEW_STYLE)])
def test_weight_norm_is_read_as_the_file_has_it(rule: Same, leaves: tuple[str, str]) -> None:
    assert rule.needs((4, 3, 5), ["a.weight"]) == {"a.weight": (4, 3, 5)}
    magnitude, direction = (f"a.{leaf}" for leaf in leaves)
    assert rule.needs((4, 3, 5), [magnitude]) == {magnitude: (4, 1, 1), direction: (4, 3, 5)}


def test_only_the_weights_of_convolutions_are_written_with_weight_norm() -> None:
    ours = {
        "conv.weight": random(4, 3, 5),
        "linear.weight": random(4, 3),
        "conv.bias": random(4),
        "x.y": random(1, 4, 1),
    }
    rules = weight_norm({"conv": "layers.0", "x": "z"})
    theirs = written((rule_of(name, rules), tensor) for name, tensor in ours.items())
    assert list(theirs) == ["layers.0.weight_g", "layers.0.weight_v", "linear.weight", "layers.0.bias", "z.y"]


def test_quotient_has_a_floor() -> None:
    sums, counts = random(3, 2), torch.tensor([2.0, 0.0, 1e-9])
    made = Quotient("s", "c", FLOOR).read((3, 2), sums, counts)
    assert torch.equal(made, torch.stack([sums[0] / 2.0, sums[1] / FLOOR, sums[2] / FLOOR]))


def test_pairs_of_rows_become_halves() -> None:
    """Rotary positions turn rows 0 and 1 of a head together in some code, rows 0 and d / 2 in other."""
    stored = torch.arange(16.0)[:, None]
    made = Rows("a", interleaved(8, 8, 2), 16).read((8, 1), stored)
    assert made[:, 0].tolist() == [8, 10, 9, 11, 12, 14, 13, 15]


def test_innermost_module_says_the_rule() -> None:
    rules: Rules = {"": "all", "a": "b", "a.c": WeightNorm("d"), "a.c.x.bias": Reshaped("e", (-1,))}
    assert rule_of("z.weight", rules) == Same("all.z.weight")
    assert rule_of("a.x.weight", rules) == Same("b.x.weight")
    assert rule_of("a.c.x.weight", rules) == WeightNorm("d.x.weight")
    assert rule_of("a.c.x.bias", rules) == Reshaped("e", (-1,))
    assert rule_of("ab.weight", {"a": "b"}) == Same("ab.weight")
    assert rule_of("a", {}) == Same("a")


def test_rule_of_one_tensor_is_not_that_of_a_module() -> None:
    with pytest.raises(TypeError, match="is for one tensor, and 'a' is a module"):
        rule_of("a.weight", {"a": Reshaped("b", (-1,))})


def test_rows_must_be_as_many_as_ours() -> None:
    with pytest.raises(ValueError, match=r"3 rows of a cannot make a tensor of shape \[4, 2\]"):
        Rows("a", range(3), 9).needs((4, 2), [])


class Attention(nn.Module):
    """Projections, which the public file fuses, beside a codebook and a snake."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.keys, self.values = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.entries = nn.Parameter(torch.empty(4, WIDTH))
        self.alpha = nn.Parameter(torch.empty(1, WIDTH, 1))


def rules(config: None) -> Rules:
    fused = "self_attn.in_proj_weight", 3 * WIDTH
    return {
        "queries.weight": Rows(fused[0], interleaved(0, WIDTH, HEADS), fused[1]),
        "keys.weight": Rows(fused[0], interleaved(WIDTH, WIDTH, HEADS), fused[1]),
        "values.weight": Rows(fused[0], range(2 * WIDTH, 3 * WIDTH), fused[1]),
        "entries": Quotient("codebook.embed_sum", "codebook.cluster_usage", FLOOR),
        "alpha": Reshaped("out.weight", (-1,)),
    }


FORMAT: Format[None] = Format("fused", marker="out", rules=rules, unused=("codebook.init*",))
TARGET: Target[None] = Target("fused", FORMAT, ("config.json", "model.safetensors"), lambda config: {})


def stored() -> dict[str, Tensor]:
    """A file of that format."""
    return {
        "self_attn.in_proj_weight": random(3 * WIDTH, WIDTH),
        "codebook.embed_sum": random(4, WIDTH, seed=1),
        "codebook.cluster_usage": torch.tensor([1.0, 2.0, 4.0, 0.0]),
        "codebook.initialized": torch.ones(1),
        "out.weight": random(WIDTH, seed=2),
    }


def filled(path: Path, dtype: torch.dtype = torch.float32) -> Attention:
    """The network that a file makes."""
    with torch.device("meta"):
        network = Attention()
    known, file = recognise(open_tensors(path), (FORMAT,), "attention")
    fill(network, file, known, None, {"device": "cpu", "dtype": dtype})
    return network


def test_network_of_a_file_with_all_rules_and_back(tmp_path: Path) -> None:
    save_file(stored(), tmp_path / "a.safetensors")
    network, theirs = filled(tmp_path / "a.safetensors"), stored()
    queries, keys, values = theirs["self_attn.in_proj_weight"].chunk(3)
    order = interleaved(0, WIDTH, HEADS)
    assert torch.equal(network.queries.weight, queries[order])
    assert torch.equal(network.keys.weight, keys[order])
    assert torch.equal(network.values.weight, values)
    counts = theirs["codebook.cluster_usage"].clamp(min=FLOOR)[:, None]
    assert torch.equal(network.entries, theirs["codebook.embed_sum"] / counts)
    for parameter in network.parameters():  # none keeps the fused one alive
        assert parameter.untyped_storage().nbytes() == parameter.nbytes

    write(tmp_path / "to", network.state_dict(), TARGET, None)
    again = load_file(tmp_path / "to" / "model.safetensors")
    for name in ("self_attn.in_proj_weight", "out.weight"):
        assert torch.equal(again[name], theirs[name])
    for name, tensor in filled(tmp_path / "to" / "model.safetensors").state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])


def test_quotient_of_low_precision_is_taken_in_float32(tmp_path: Path) -> None:
    save_file({name: tensor.bfloat16() for name, tensor in stored().items()}, tmp_path / "a.safetensors")
    sums = stored()["codebook.embed_sum"].bfloat16().float()
    counts = torch.tensor([3.0, 7.0, 1.5, 10.0])
    low = load_file(tmp_path / "a.safetensors") | {"codebook.cluster_usage": counts.bfloat16()}
    save_file(low, tmp_path / "a.safetensors")
    assert torch.equal(filled(tmp_path / "a.safetensors").entries, sums / counts[:, None])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("self_attn.in_proj_weight"), r"1 tensors missing \(self_attn.in_proj_weight\)$"),
        (lambda t: t.pop("codebook.cluster_usage"), r"1 tensors missing \(codebook.cluster_usage\)$"),
        (
            lambda t: t.update({"self_attn.in_proj_weight": torch.zeros(2 * WIDTH, WIDTH)}),
            r"1 tensors of another shape \(self_attn.in_proj_weight \[16, 8\] instead of \[24, 8\]\)$",
        ),
        (
            lambda t: t.update({"codebook.cluster_usage": torch.zeros(4, 1)}),
            r"1 tensors of another shape \(codebook.cluster_usage \[4, 1\] instead of \[4\]\)$",
        ),
        (
            lambda t: t.update({"out.weight": torch.zeros(1, WIDTH, 1)}),
            r"1 tensors of another shape \(out.weight \[1, 8, 1\] instead of \[8\]\)$",
        ),
        (lambda t: t.update({"codebook.embed": torch.zeros(4)}), r"1 tensors unexpected \(codebook.embed\)$"),
    ],
)
def test_file_that_does_not_fit_is_refused(
    change: Callable[[dict[str, Tensor]], Any], message: str, tmp_path: Path
) -> None:
    tensors = stored()
    change(tensors)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=message):
        filled(tmp_path / "a.safetensors")


def test_rows_that_no_tensor_of_ours_has_cannot_be_written(tmp_path: Path) -> None:
    save_file(stored(), tmp_path / "a.safetensors")
    state = filled(tmp_path / "a.safetensors").state_dict()
    del state["keys.weight"]
    expected = "cannot write self_attn.in_proj_weight: 8 of its 24 rows are of tensors that are not here"
    with pytest.raises(InvalidInput, match=expected):
        write(tmp_path / "to", state, TARGET, None)
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("second", [Same("a"), Rows("a", range(2), 2)])
def test_tensor_of_theirs_is_not_written_twice(second: Rule) -> None:
    with pytest.raises(InvalidInput, match="cannot write a: of the 2 tensors that make it, some make the same rows"):
        written([(Rows("a", range(2), 2), torch.ones(2)), (second, torch.zeros(2))])
    with pytest.raises(InvalidInput, match="cannot write a: of the 2 tensors that make it, some make the same rows"):
        written([(Same("a"), torch.ones(2)), (second, torch.zeros(2))])
