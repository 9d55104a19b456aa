"""The classes of PyPI's `vocos.modules`: blocks of its backbones, channel-first as there, and logarithmic functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocos.nn import vocoder
from vocos.nn.dense import Dense
from vocos.nn.mel import LOG_FLOOR
from vocos.pypi.checks import check_floats, condition, untouched


class AdaLayerNorm(vocoder.AdaLayerNorm):
    """LayerNorm whose scale and shift are picked from tables by a condition.

    Args:
        num_embeddings: entries of the tables, one for each condition.
        embedding_dim: channels.
        eps: added to the variance.

    Shape: `[B, L, embedding_dim]` -> the same.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, eps: float = vocoder.NORM_EPSILON) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.eps, self.dim = eps, embedding_dim
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, cond_embedding_id: Tensor | int) -> Tensor:
        """Normalised features; the id is an integer, a tensor with one, or `[B, 1]` with one for each row."""
        row = condition(cond_embedding_id, self.scale.num_embeddings)
        if isinstance(row, int):
            return super().forward(x, row)
        return F.layer_norm(x, x.shape[-1:], eps=self.eps) * self.scale.weight[row] + self.shift.weight[row]


class ConvNeXtBlock(vocoder.ConvNeXtBlock):
    """x + gamma * pointwise(GELU(pointwise(norm(depthwise convolution(x))))).

    Args:
        dim: channels.
        intermediate_dim: channels between the pointwise layers.
        layer_scale_init_value: initial value of gamma; 0 for no gamma.
        adanorm_num_embeddings: entries of the tables of `AdaLayerNorm`; None for `nn.LayerNorm`.

    Shape: `[B, dim, L]` -> the same.
    """

    def __init__(
        self,
        dim: int,
        intermediate_dim: int,
        layer_scale_init_value: float,
        adanorm_num_embeddings: int | None = None,
    ) -> None:
        super().__init__(dim, intermediate_dim, 0)
        self.adanorm = adanorm_num_embeddings is not None
        self.act = nn.GELU()
        if adanorm_num_embeddings is not None:
            self.norm = AdaLayerNorm(adanorm_num_embeddings, dim)
        if layer_scale_init_value > 0:
            nn.init.constant_(self.gamma, layer_scale_init_value)
        else:
            self.register_parameter("gamma", None)

    def forward(self, x: Tensor, cond_embedding_id: Tensor | int | None = None) -> Tensor:
        """Features; the id as of `AdaLayerNorm`, which a block of `nn.LayerNorm` does not look at."""
        parts = (self.dwconv, self.norm, self.pwconv1, self.act, self.pwconv2)
        if self.gamma is not None and untouched(PARTS, *parts):
            norm = self.norm
            row = condition(cond_embedding_id, norm.scale.num_embeddings) if isinstance(norm, AdaLayerNorm) else 0
            if isinstance(row, int):
                return super().forward(x.mT, row).mT
        y = self.dwconv(x).mT
        y = self.norm(y, cond_embedding_id) if self.adanorm else self.norm(y)
        y = self.pwconv2(self.act(self.pwconv1(y)))
        return x + (y if self.gamma is None else self.gamma * y).mT


PARTS = (nn.Conv1d, nn.LayerNorm, AdaLayerNorm, Dense, nn.GELU)  # of a block whose forward may be fused


class WeightNormConv1d(nn.Conv1d):
    """A convolution that keeps the length, with weight = weight_g * weight_v / |weight_v|, |.| of each output channel.

    Shape: `[B, inputs, L]` -> `[B, outputs, L]`.
    """

    def __init__(self, inputs: int, outputs: int, kernel_size: int, dilation: int = 1) -> None:
        padding = ResBlock1.get_padding(kernel_size, dilation)
        super().__init__(inputs, outputs, kernel_size, padding=padding, dilation=dilation)
        weight = self.weight.detach()
        del self.weight
        self.weight_g = nn.Parameter(torch.linalg.vector_norm(weight, dim=(1, 2), keepdim=True))
        self.weight_v = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution."""
        return self._conv_forward(x, self._product() if "weight_g" in self._parameters else self.weight, self.bias)

    def remove_weight_norm(self) -> None:
        """Keep the product alone, as `weight`."""
        if "weight_g" in self._parameters:
            weight = self._product().detach()
            del self.weight_g, self.weight_v
            self.weight = nn.Parameter(weight)

    def _product(self) -> Tensor:
        return self.weight_v * (self.weight_g / torch.linalg.vector_norm(self.weight_v, dim=(1, 2), keepdim=True))


class ResBlock1(nn.Module):
    """Residual units of two convolutions, the first of each dilated, as HiFi-GAN has them; weights normed.

    Args:
        dim: channels.
        kernel_size: of all convolutions, odd.
        dilation: of the first convolution of each unit.
        lrelu_slope: of the activation before each convolution, on negative values.
        layer_scale_init_value: that the factor of each unit starts with; None or 0 for no factors.

    Shape: `[B, dim, L]` -> the same.

    Source: Kong et al., "HiFi-GAN", arXiv 2010.05646.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 3,
        dilation: tuple[int, ...] = (1, 3, 5),
        lrelu_slope: float = 0.1,
        layer_scale_init_value: float | None = None,
    ) -> None:
        super().__init__()
        self.lrelu_slope = lrelu_slope
        self.convs1 = nn.ModuleList(WeightNormConv1d(dim, dim, kernel_size, step) for step in dilation)
        self.convs2 = nn.ModuleList(WeightNormConv1d(dim, dim, kernel_size) for _ in dilation)
        scales = [
            nn.Parameter(torch.full((dim, 1), layer_scale_init_value)) for _ in dilation if layer_scale_init_value
        ]
        self.gamma = nn.ParameterList(scales or [None] * len(dilation))

    def forward(self, x: Tensor) -> Tensor:
        """Features."""
        for dilated, plain, gamma in zip(self.convs1, self.convs2, self.gamma, strict=True):
            y = dilated(F.leaky_relu(x, self.lrelu_slope))
            y = plain(F.leaky_relu(y, self.lrelu_slope))
            x = x + (y if gamma is None else gamma * y)
        return x

    def remove_weight_norm(self) -> None:
        """Fold the norms of the weights, for speed."""
        for conv in (*self.convs1, *self.convs2):
            assert isinstance(conv, WeightNormConv1d)  # noqa: S101  # for the type checker
            conv.remove_weight_norm()

    @staticmethod
    def get_padding(kernel_size: int, dilation: int = 1) -> int:
        """Zeros at each end that keep the length."""
        return (kernel_size - 1) * dilation // 2


def safe_log(x: torch.Tensor, clip_val: float = LOG_FLOOR) -> torch.Tensor:
    """Natural logarithm of the larger of x and `clip_val`."""
    check_floats(x, "safe_log: expected values")
    return x.clamp(min=clip_val).log()


def symlog(x: torch.Tensor) -> torch.Tensor:
    """sign(x) log(1 + |x|)."""
    return x.sign() * x.abs().log1p()


def symexp(x: torch.Tensor) -> torch.Tensor:
    """sign(x) (exp(|x|) - 1), the inverse of `symlog`."""
    return x.sign() * x.abs().expm1()
