"""The tokenizer of Qwen3-TTS: 24 kHz mono speech at 12.5 frames a second (its name says 12 Hz), 16 codebooks, causal.

Its encoder is Mimi's; its decoder has codebooks of its own, a transformer, and a causal network of the DAC family.
Papers: "Qwen3-TTS Technical Report", arXiv 2601.15621; Mimi: Defossez et al., arXiv 2410.00037.
Weights: Hub Qwen/Qwen3-TTS-Tokenizer-12Hz, Apache-2.0.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vocos.codecs.qwen3_tts.config import Qwen3TtsConfig
from vocos.codecs.qwen3_tts.network import Qwen3TtsNetwork
from vocos.kernels import Pad
from vocos.nn.blocks import DILATIONS
from vocos.nn.mimi import FLOOR, half_rules
from vocos.voco import Facts, Steps, Voco
from vocos.weights.formats import Format
from vocos.weights.rules import Quotient, Reshaped, Rule, Rules
from vocos.weights.source import Checkpoint, Source


def transformers_rules(config: Qwen3TtsConfig) -> Rules:
    """How the public file stores the modules."""
    encoder = {"seanet": "encoder", "transformer": "encoder_transformer", "downsample": "downsample"}
    rules = half_rules({f"encoder.{ours}": f"encoder.{theirs}" for ours, theirs in encoder.items()})
    stack = "decoder.decoder"
    rules |= {
        "decoder.pre_conv.layer": "decoder.pre_conv",
        "decoder.transformer": "decoder.pre_transformer",
        **{f"decoder.{part}": f"decoder.pre_transformer.{part}" for part in ("input_proj", "norm", "output_proj")},
        "decoder.stack.layers": stack,
    }
    for i in range(len(config.decoder_stages)):
        ours, theirs = f"decoder.upsampling.{i}", f"decoder.upsample.{i}"
        rules |= {f"{ours}.up": f"{theirs}.0.conv", f"{ours}.block": f"{theirs}.1"}
        rules[f"{ours}.block.dwconv"] = f"{theirs}.1.dwconv.conv"
    blocks = len(config.decoder_rates)
    snakes = [f"{blocks + 1}"]
    for j in range(1, blocks + 1):
        snakes += [f"{j}.block.0", *(f"{j}.block.{k}.act{n}" for k in range(2, 2 + len(DILATIONS)) for n in (1, 2))]
    for snake in snakes:
        rules |= {
            f"decoder.stack.layers.{snake}.{leaf}": Reshaped(f"{stack}.{snake}.{leaf}", (-1,))
            for leaf in ("alpha", "beta")
        }
    return rules | _books(config)


def _books(config: Qwen3TtsConfig) -> dict[str, str | Rule]:
    rules: dict[str, str | Rule] = {}
    encoder, decoder = "encoder.quantizer.{}_residual_vector_quantizer", "decoder.quantizer.rvq_{}"
    names = {
        "encoder_quantizer.semantic": (encoder.format("semantic"), "codebook.embed_sum", "codebook.cluster_usage"),
        "encoder_quantizer.acoustic": (encoder.format("acoustic"), "codebook.embed_sum", "codebook.cluster_usage"),
        "decoder_quantizer.semantic": (decoder.format("first"), "_codebook.embedding_sum", "_codebook.cluster_usage"),
        "decoder_quantizer.acoustic": (decoder.format("rest"), "_codebook.embedding_sum", "_codebook.cluster_usage"),
    }
    for ours, (theirs, sums, counts) in names.items():
        rules[ours] = theirs
        layers = f"{theirs}.vq.layers" if ours.startswith("decoder") else f"{theirs}.layers"
        for k in range(1 if ours.endswith("semantic") else config.n_codebooks - 1):
            rules[f"{ours}.books.{k}"] = Quotient(f"{layers}.{k}.{sums}", f"{layers}.{k}.{counts}", FLOOR)
    return rules


PAPER = "2601.15621"
TOKENIZER = Source(
    "Qwen/Qwen3-TTS-Tokenizer-12Hz",
    license="apache-2.0",
    paper=PAPER,
    size_mb=682.3,
    is_gated=False,
    is_commercial=True,
)


class Qwen3Tts(Voco[Qwen3TtsConfig]):
    """Speech to codes: one of a semantic codebook, 15 acoustic; and back by another network with codebooks of its own.

    Latents of `encode` are those before quantisation, those of `codes_to_latents` are what the decoder was trained on:
    two spaces of the same size. `decode(encode(audio))` is computed, and does not sound like the audio.
    """

    config_type = Qwen3TtsConfig
    halves = {"encoder": ("encoder", "encoder_quantizer"), "decoder": ("decoder", "decoder_quantizer")}
    checkpoints = {
        "qwen3_tts": Checkpoint(Qwen3TtsConfig(), TOKENIZER, "speech; the tokenizer of Qwen3-TTS, causal, 2.2 kbps")
    }
    known = (
        Source(
            "Qwen/Qwen3-TTS-12Hz-0.6B-Base",
            subfolder="speech_tokenizer",
            license="apache-2.0",
            paper=PAPER,
            size_mb=682.3,
            is_gated=False,
            is_commercial=True,
        ),
    )
    layouts = (("config.json", "model.safetensors"),)
    formats = (
        Format(
            "transformers",
            marker="decoder.pre_conv.conv",
            rules=transformers_rules,
            unused=("encoder.quantizer.*", "decoder.quantizer.*.input_proj.weight"),
        ),
    )

    def describe(self, config: Qwen3TtsConfig) -> Facts:
        return Facts(
            sampling_rate=config.sampling_rate,
            channel=1,
            latent_dim=config.hidden_size,
            hop_length=config.hop_length,
            n_codebooks=config.n_codebooks,
            codebook_size=config.codebook_size,
        )

    def build(self, config: Qwen3TtsConfig) -> nn.Module:
        return Qwen3TtsNetwork(config)

    def encoder_steps(self, network: Any) -> Steps:
        return Pad(0, 0, self.hop_length), self.cast, *network.encoder.steps()

    def decoder_steps(self, network: Any) -> Steps:
        return self.cast, *network.decoder.steps()

    def quantize(self, latents: Tensor, n_codebooks: int) -> Tensor:
        self.weights.require("encoder", "latents_to_codes")
        codes: Tensor = self.network.encoder_quantizer.encode(latents, n_codebooks)
        return codes

    def dequantize(self, codes: Tensor) -> Tensor:
        self.weights.require("decoder", "codes_to_latents")
        latents: Tensor = self.network.decoder_quantizer.decode(codes)
        return latents
