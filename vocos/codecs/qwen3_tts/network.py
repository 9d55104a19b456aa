"""The network of Qwen3-TTS' tokenizer: Mimi's encoder, and a decoder of a transformer and causal blocks like DAC's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from vocos.codecs.qwen3_tts.config import Qwen3TtsConfig
from vocos.kernels import Called, Chain, Grouped, Residual, Window
from vocos.nn.blocks import DILATIONS, Layers, SnakeBeta, Stack
from vocos.nn.dense import Dense
from vocos.nn.hooked import chain_of, is_changed, step_of
from vocos.nn.mimi import MimiEncoder
from vocos.nn.quantize import ProjectedRVQ, SplitRVQ
from vocos.nn.seanet import Resampled, SEANetConv, SEANetStyle, SEANetTransposed
from vocos.nn.transformer import Transformer
from vocos.nn.vocoder import ConvNeXtBlock, block_step
from vocos.voco import Steps

CAUSAL = SEANetStyle(pad_mode="constant", n_lstm=0)


class Upsampling(nn.Module):
    """A change of rate and a ConvNeXt block."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose1d(channels, channels, stride, stride)
        self.block = ConvNeXtBlock(channels, 4 * channels, is_causal=True)


class CausalUnit(Layers):
    """x + pointwise(snake(dilated convolution(snake(x)))), which looks back only: `[B, C, N]` -> `[B, C, N]`."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.act1 = SnakeBeta(channels)
        self.conv1 = SEANetConv(channels, channels, 7, dilation=dilation, style=CAUSAL)
        self.act2 = SnakeBeta(channels)
        self.conv2 = SEANetConv(channels, channels, 1, style=CAUSAL)

    def chain(self) -> Chain:
        layers = (self.act1, self.conv1, self.act2, self.conv2)
        return (Residual(tuple(step for layer in layers for step in chain_of(layer))),)


class CausalBlock(Layers):
    """A snake, a transposed convolution and three units, numbered as in the public file.

    Shape: `[B, inputs, L]` -> `[B, inputs / 2, stride L]`.
    """

    def __init__(self, inputs: int, stride: int) -> None:
        super().__init__()
        outputs = inputs // 2
        units = (CausalUnit(outputs, dilation) for dilation in DILATIONS)
        self.block = nn.ModuleList([SnakeBeta(inputs), SEANetTransposed(inputs, outputs, stride, CAUSAL), *units])

    def chain(self) -> Chain:
        return tuple(step for layer in self.block for step in chain_of(layer))


class CausalStack(Stack):
    """Features to audio: `[B, inputs, L]` -> `[B, 1, product(rates) L]`."""

    def __init__(self, inputs: int, width: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [SEANetConv(inputs, width, 7, style=CAUSAL)]
        for rate in rates:
            layers.append(CausalBlock(width, rate))
            width //= 2
        self.layers = nn.ModuleList([*layers, SnakeBeta(width), SEANetConv(width, 1, 7, style=CAUSAL)])

    def chain(self) -> Chain:
        return tuple(step for layer in self.layers for step in chain_of(layer))


class Qwen3TtsDecoder(nn.Module):
    """Features of codes to audio: `[B, hidden, L]` -> `[B, 1, hop L]`, in [-1, 1]."""

    def __init__(self, config: Qwen3TtsConfig) -> None:
        super().__init__()
        width, inside = config.decoder_latent_dim, config.decoder_hidden_size
        self.pre_conv = Resampled(SEANetConv(config.hidden_size, width, 3, style=CAUSAL))
        self.input_proj = Dense(width, inside)
        self.transformer = Transformer(config.decoder_transformer)
        self.norm = config.decoder_transformer.norm()
        self.output_proj = Dense(inside, width)
        stages = (Upsampling(width, stride) for stride in config.decoder_stages)
        self.upsampling: Sequence[Upsampling] = nn.ModuleList(stages)  # type: ignore[assignment]
        self.stack = CausalStack(width, config.decoder_dim, config.decoder_rates)

    def steps(self) -> Steps:
        """What the module computes, step by step."""
        found: list[Any] = [
            step_of(self.pre_conv),
            Window(lambda x: self.input_proj(x.mT).mT),
            step_of(self.transformer),
            Window(lambda x: self.output_proj(self.norm(x.mT)).mT),
        ]
        for stage in self.upsampling:
            is_called = is_changed(stage.up, nn.ConvTranspose1d)
            found += [
                Called(stage.up) if is_called else Grouped(stage.up, 1, stage.up.stride[0]),
                block_step(stage.block),
            ]
        return *found, step_of(self.stack), Window(lambda x: x.clamp(-1, 1))


class Qwen3TtsNetwork(nn.Module):
    """The halves, each with a quantiser of its own."""

    def __init__(self, config: Qwen3TtsConfig) -> None:
        super().__init__()
        counts, width = (1, config.n_codebooks - 1), config.hidden_size
        self.encoder = MimiEncoder(config)
        self.encoder_quantizer = SplitRVQ(
            *(
                ProjectedRVQ(width, config.codebook_dim, count, config.codebook_size, has_output=False)
                for count in counts
            )
        )
        self.decoder_quantizer = SplitRVQ(
            *(
                ProjectedRVQ(width, config.decoder_entries_dim, count, config.codebook_size, has_input=False)
                for count in counts
            )
        )
        self.decoder = Qwen3TtsDecoder(config)
