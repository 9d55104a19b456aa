"""What PyPI calls models: backbones, features `[B, C, L]` -> hidden features `[B, L, dim]`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vocos.config import Count
from vocos.nn.conv import same_conv
from vocos.nn.dense import Dense
from vocos.nn.vocoder import NORM_EPSILON, channel_last
from vocos.pypi.checks import check_tensor, condition, untouched
from vocos.pypi.modules import AdaLayerNorm, ConvNeXtBlock, ResBlock1, WeightNormConv1d

HINT = "features[None] makes a batch of one, transpose(1, 2) swaps axes"


class Backbone(nn.Module):
    """What all backbones are, for those of one's own."""

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Hidden features."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")


class VocosBackbone(Backbone):
    """ConvNeXt blocks; see `vocos.nn.vocoder.Backbone`.

    Args:
        input_channels: of the features.
        dim: of the hidden features.
        intermediate_dim: channels inside a block.
        num_layers: number of blocks.
        layer_scale_init_value: that the factor of each block starts with; None for 1 / num_layers.
        adanorm_num_embeddings: entries of the tables of `AdaLayerNorm`; None for `nn.LayerNorm`.

    Shape: `[B, input_channels, L]` -> `[B, L, dim]`.
    """

    def __init__(
        self,
        input_channels: int,
        dim: int,
        intermediate_dim: int,
        num_layers: Count,
        layer_scale_init_value: float | None = None,
        adanorm_num_embeddings: int | None = None,
    ) -> None:
        super().__init__()
        self.input_channels = input_channels
        self.adanorm = adanorm_num_embeddings is not None
        self.embed = same_conv(input_channels, dim, 7)
        self.norm: nn.Module = nn.LayerNorm(dim, eps=NORM_EPSILON)
        if adanorm_num_embeddings is not None:
            self.norm = AdaLayerNorm(adanorm_num_embeddings, dim)
        scale = layer_scale_init_value or 1 / num_layers
        blocks = (ConvNeXtBlock(dim, intermediate_dim, scale, adanorm_num_embeddings) for _ in range(num_layers))
        self.convnext = nn.ModuleList(blocks)
        self.final_layer_norm = nn.LayerNorm(dim, eps=NORM_EPSILON)
        self.apply(self._init_weights)

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Hidden features; `bandwidth_id=` picks the entry of the tables of `AdaLayerNorm`, if there are any."""
        row = kwargs.get("bandwidth_id")
        if isinstance(self.norm, AdaLayerNorm):
            row = condition(row, self.norm.scale.num_embeddings)
        if untouched((nn.Conv1d,), self.embed):
            check_tensor(x, f"decode: expected features [batch, {self.input_channels}, frames]", self._sizes, HINT)
            y = channel_last(self.embed, x.to(self.embed.weight.dtype).mT, 3, 3)
        else:
            y = self.embed(x).mT
        y = (self.norm(y, cond_embedding_id=row) if self.adanorm else self.norm(y)).mT
        for block in self.convnext:
            y = block(y, cond_embedding_id=row)
        hidden: Tensor = self.final_layer_norm(y.mT)
        return hidden

    @property
    def _sizes(self) -> list[int | None]:
        return [None, self.input_channels, None]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Conv1d, Dense)):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class VocosResNetBackbone(Backbone):
    """Residual blocks of dilated convolutions, of the paper's ablation.

    Args:
        input_channels: of the features.
        dim: of the hidden features.
        num_blocks: number of `ResBlock1`.
        layer_scale_init_value: that the factors of the blocks start with; None for 1 / num_blocks / 3.

    Shape: `[B, input_channels, L]` -> `[B, L, dim]`.
    """

    def __init__(
        self, input_channels: int, dim: int, num_blocks: Count, layer_scale_init_value: float | None = None
    ) -> None:
        super().__init__()
        self.input_channels = input_channels
        self.embed = WeightNormConv1d(input_channels, dim, 3)
        scale = layer_scale_init_value or 1 / num_blocks / 3  # a block has three units
        self.resnet = nn.Sequential(*(ResBlock1(dim, layer_scale_init_value=scale) for _ in range(num_blocks)))

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Hidden features; a bandwidth is not looked at."""
        if untouched((WeightNormConv1d,), self.embed):
            sizes = [None, self.input_channels, None]
            check_tensor(x, f"decode: expected features [batch, {self.input_channels}, frames]", sizes, HINT)
            x = x.to(self.embed.bias.dtype if self.embed.bias is not None else x.dtype)
        hidden: Tensor = self.resnet(self.embed(x)).mT
        return hidden
