"""Rules that make a tensor of ours of those in a public file, and the reverse.

ours                                  theirs
encoder.conv_in.weight            <-  encoder.block.0.weight_g, encoder.block.0.weight_v     WeightNorm
encoder.snake.alpha  [1, C, 1]    <-  encoder.layers.6.alpha  [C]                            Reshaped
quantizer.books.0                 <-  ..._codebook.embed_sum / ..._codebook.cluster_usage    Quotient
attention.key.weight  [C, C]      <-  self_attn.in_proj_weight  [3 C, C], rows C to 2 C      Rows
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from vocos.errors import InvalidInput

Shape = tuple[int, ...]

# Under these leaves a public file keeps the magnitude and the direction of a weight-normalised `weight`.
OLD_STYLE = ("weight_g", "weight_v")
NEW_STYLE = ("parametrizations.weight.original0", "parametrizations.weight.original1")
WEIGHT_NORM = (OLD_STYLE, NEW_STYLE)


class Part(NamedTuple):
    """What a tensor of ours says of one of theirs: all of it or, of `total` rows, these."""

    tensor: Tensor
    rows: Sequence[int] | None = None
    total: int = 0


class Rule:
    """How one tensor of ours is stored."""

    def needs(self, shape: Shape, held: Container[str]) -> dict[str, Shape]:
        """Names and shapes of the tensors of theirs that it is made of.

        Args:
            shape: of ours.
            held: names of the tensors in the file, which may have a choice.
        """
        raise NotImplementedError

    def read(self, shape: Shape, *stored: Tensor) -> Tensor:
        """Ours, of this shape, made of the tensors that it needs, in the type of those."""
        raise NotImplementedError

    def write(self, tensor: Tensor) -> dict[str, Part]:
        """Theirs, of which `read` makes exactly this one."""
        raise NotImplementedError


@dataclass(frozen=True)
class Same(Rule):
    """The same tensor under another name.

    Weight norm is a way to store a `weight`, which training programs fold at the end or not: it is read in either way,
    as the file has it. It is written folded.

    Attributes:
        name: of theirs; of a module, if the rule is for one of ours.
        axis: of the weight, the one that a magnitude has; the norm is along the others.
    """

    name: str
    axis: int = 0

    def needs(self, shape: Shape, held: Container[str]) -> dict[str, Shape]:
        path, _, leaf = self.name.rpartition(".")
        if leaf == "weight" and self.name not in held and len(shape) > 1:
            magnitude = tuple(size if axis == self.axis else 1 for axis, size in enumerate(shape))
            for leaves in WEIGHT_NORM:
                names = [f"{path}.{name}" for name in leaves]
                if any(name in held for name in names):
                    return dict(zip(names, (magnitude, shape), strict=True))
        return {self.name: shape}

    def read(self, shape: Shape, *stored: Tensor) -> Tensor:
        """Theirs, or magnitude * direction / |direction|.

        Source: Salimans and Kingma, "Weight Normalization", arXiv 1602.07868.
        """
        if len(stored) == 1:
            return stored[0]
        magnitude, direction = stored
        return direction * (magnitude / self.norm(direction))

    def write(self, tensor: Tensor) -> dict[str, Part]:
        return {self.name: Part(tensor)}

    def norm(self, direction: Tensor) -> Tensor:
        """Along all axes but one; all are kept."""
        axes = tuple(axis for axis in range(direction.ndim) if axis != self.axis)
        return torch.linalg.vector_norm(direction, dim=axes, keepdim=True)


@dataclass(frozen=True)
class WeightNorm(Same):
    """The same, but the weights of convolutions, which have three axes, are written with weight norm.

    Attributes:
        name, axis: as of `Same`.
        leaves: names of the magnitude and the direction.
    """

    leaves: tuple[str, str] = OLD_STYLE

    def write(self, tensor: Tensor) -> dict[str, Part]:
        """The direction is the weight itself and the magnitude its norm, so that folding multiplies by one.

        A row of zeros has no direction, so it gets one, and the magnitude zero.
        """
        path, _, leaf = self.name.rpartition(".")
        if leaf != "weight" or tensor.ndim != 3:
            return super().write(tensor)
        norm = self.norm(tensor)
        direction = torch.where(norm == 0, torch.ones_like(tensor), tensor)
        return {f"{path}.{name}": Part(it) for name, it in zip(self.leaves, (norm, direction), strict=True)}


@dataclass(frozen=True)
class Reshaped(Rule):
    """The same numbers in another shape, of which one size may be -1: the one that is left."""

    name: str
    shape: Shape

    def needs(self, shape: Shape, held: Container[str]) -> dict[str, Shape]:
        return {self.name: tuple(torch.empty(shape, device="meta").reshape(self.shape).shape)}

    def read(self, shape: Shape, *stored: Tensor) -> Tensor:
        return stored[0].reshape(shape)

    def write(self, tensor: Tensor) -> dict[str, Part]:
        return {self.name: Part(tensor.reshape(self.shape))}


@dataclass(frozen=True)
class Quotient(Rule):
    """A mean that is kept as a sum and a count, such as the entries of a codebook that training moves.

    Attributes:
        numerator: name of the sums, which have our shape.
        denominator: name of the counts, one for each row.
        floor: what a count is at least.
    """

    numerator: str
    denominator: str
    floor: float

    def needs(self, shape: Shape, held: Container[str]) -> dict[str, Shape]:
        return {self.numerator: shape, self.denominator: shape[:1]}

    def read(self, shape: Shape, *stored: Tensor) -> Tensor:
        sums, counts = stored
        return sums / counts.clamp(min=self.floor).reshape(-1, *[1] * (sums.ndim - 1))

    def write(self, tensor: Tensor) -> dict[str, Part]:
        return {self.numerator: Part(tensor), self.denominator: Part(tensor.new_ones(len(tensor)))}


@dataclass(frozen=True)
class Rows(Rule):
    """Rows of a tensor: a part of a fused one, or the same in another order.

    Attributes:
        name: of theirs.
        rows: of theirs, one for each of ours.
        total: rows of theirs.
    """

    name: str
    rows: Sequence[int]
    total: int

    def needs(self, shape: Shape, held: Container[str]) -> dict[str, Shape]:
        if len(self.rows) != shape[0]:
            raise ValueError(f"{len(self.rows)} rows of {self.name} cannot make a tensor of shape {list(shape)}")
        return {self.name: (self.total, *shape[1:])}

    def read(self, shape: Shape, *stored: Tensor) -> Tensor:
        return stored[0][list(self.rows)]

    def write(self, tensor: Tensor) -> dict[str, Part]:
        return {self.name: Part(tensor, self.rows, self.total)}


# Of tensors and modules of ours; a string is short for the same under this name.
Rules = Mapping[str, str | Rule]


def rule_of(name: str, rules: Rules) -> Rule:
    """The rule of a tensor of ours.

    It is that of the tensor or of the innermost module around it that has one, under "" that of all others; the rest of
    the name is the same on both sides, and so is all of it where there is no rule.
    """
    path, rest = name, ""
    while path and path not in rules:
        path, _, leaf = path.rpartition(".")
        rest = f".{leaf}{rest}"
    found = rules.get(path, path)
    rule = Same(found) if isinstance(found, str) else found
    if not rest:
        return rule
    if not isinstance(rule, Same):
        raise TypeError(f"{rule} is for one tensor, and {path!r} is a module")
    return replace(rule, name=f"{rule.name}{rest}".removeprefix("."))


def weight_norm(names: Mapping[str, str], leaves: tuple[str, str] = OLD_STYLE) -> dict[str, str | Rule]:
    """Rules of a file that keeps all its convolutions with weight norm, those that have no other name too."""
    return {ours: WeightNorm(theirs, leaves=leaves) for ours, theirs in {"": "", **names}.items()}


def written(ours: Iterable[tuple[Rule, Tensor]]) -> dict[str, Tensor]:
    """Their tensors, by their names, of ours and the rule of each.

    Raises:
        InvalidInput: if ours do not make each of them once.
    """
    parts: dict[str, list[Part]] = {}
    for rule, tensor in ours:
        for name, part in rule.write(tensor).items():
            parts.setdefault(name, []).append(part)
    return {name: _joined(name, its) for name, its in parts.items()}


def _joined(name: str, parts: list[Part]) -> Tensor:
    if len(parts) == 1 and parts[0].rows is None:
        return parts[0].tensor
    rows, total = [row for part in parts for row in part.rows or ()], parts[0].total
    if any(part.rows is None for part in parts) or len(set(rows)) < len(rows):
        raise InvalidInput(f"cannot write {name}: of the {len(parts)} tensors that make it, some make the same rows")
    if len(rows) < total:
        raise InvalidInput(
            f"cannot write {name}: {total - len(rows)} of its {total} rows are of tensors that are not here"
        )
    return torch.cat([part.tensor for part in parts])[torch.tensor(rows).argsort()]
