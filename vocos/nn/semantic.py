"""HuBERT and WavLM, models of speech whose hidden states represent its content.

What they compute comes from the transformers package, which is imported when they first run. Until then a tree of
parameters under the names of that package holds their weights: reading, moving and writing them takes no package.

Papers: Hsu et al., "HuBERT", arXiv 2106.07447; Chen et al., "WavLM", arXiv 2110.13900.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vocos import kernels
from vocos.config import Config, Count, expect
from vocos.errors import UnsupportedOperation

CONV_KERNELS = (10, 3, 3, 3, 3, 2, 2)
CONV_STRIDES = (5, 2, 2, 2, 2, 2, 2)
HOP_LENGTH = math.prod(CONV_STRIDES)
PADDING = HOP_LENGTH // 2  # samples on each side; makes L frames of 320 L samples
GRU_GATES = 8  # outputs of WavLM's gate of relative positions

# The only values known of options that change what is computed, which are the defaults of the package too.
FIXED: dict[str, Any] = {
    "conv_kernel": list(CONV_KERNELS),
    "conv_stride": list(CONV_STRIDES),
    "conv_bias": False,
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "hidden_act": "gelu",
    "do_stable_layer_norm": False,
}
FIXED_OF: dict[str, dict[str, Any]] = {
    "hubert": {"feat_proj_layer_norm": True, "conv_pos_batch_norm": False},
    "wavlm": {"add_adapter": False},
}


@dataclass(frozen=True)
class SemanticConfig(Config):
    """Hyperparameters, named as in transformers, of the base size of HuBERT."""

    semantic_model: str = "hubert"  # or wavlm
    hidden_size: int = 768
    num_hidden_layers: Count = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    conv_dim: tuple[int, ...] = (512,) * len(CONV_KERNELS)
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    num_buckets: int = 320  # of relative positions, of WavLM; so is the next
    max_bucket_distance: int = 800
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        kind, width = self.semantic_model, self.hidden_size
        self.require(kind in FIXED_OF, f"semantic model {kind!r}, only {' and '.join(FIXED_OF)} are known")
        self.require(len(self.conv_dim) == len(CONV_KERNELS), f"conv_dim of {len(self.conv_dim)} convolutions")
        for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
            self.require(width % getattr(self, name) == 0, f"{name} {getattr(self, name)} does not divide {width}")
        buckets = self.num_buckets, self.max_bucket_distance
        self.require(buckets[1] > buckets[0] // 4 > 0, f"num_buckets {buckets[0]} up to a distance of {buckets[1]}")
        self.require(self.layer_norm_eps > 0, f"layer_norm_eps {self.layer_norm_eps}")

    @classmethod
    def of_transformers(cls, data: Mapping[str, Any]) -> Self:
        """The config that a config file of transformers describes.

        Raises:
            CheckpointError: as `parse`, or if an option has a value that is not known here.
        """
        config = cls.parse({**data, "semantic_model": data.get("model_type")})
        for name, value in (FIXED | FIXED_OF[config.semantic_model]).items():
            expect(data, name, value, value)
        return config


def semantic_shapes(config: SemanticConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights, as in transformers with the weight norm folded, in the order they have there."""
    width, heads = config.hidden_size, config.num_attention_heads
    shapes: dict[str, tuple[int, ...]] = {}

    def add(name: str, *shape: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = shape
        if bias:
            shapes[f"{name}.bias"] = shape[:1]

    for i, sizes in enumerate(zip(config.conv_dim, (1, *config.conv_dim), CONV_KERNELS, strict=False)):
        add(f"feature_extractor.conv_layers.{i}.conv", *sizes, bias=False)
        if i == 0:
            add("feature_extractor.conv_layers.0.layer_norm", config.conv_dim[0])
    add("feature_projection.layer_norm", config.conv_dim[-1])
    add("feature_projection.projection", width, config.conv_dim[-1])
    positions = "encoder.pos_conv_embed.conv"
    shapes[f"{positions}.bias"] = (width,)
    shapes[f"{positions}.weight"] = (
        width, width // config.num_conv_pos_embedding_groups, config.num_conv_pos_embeddings,
    )  # fmt: skip
    add("encoder.layer_norm", width)
    for i in range(config.num_hidden_layers):
        layer = f"encoder.layers.{i}"
        if config.semantic_model == "wavlm":
            shapes[f"{layer}.attention.gru_rel_pos_const"] = (1, heads, 1, 1)
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            add(f"{layer}.attention.{part}", width, width)
        if config.semantic_model == "wavlm":
            add(f"{layer}.attention.gru_rel_pos_linear", GRU_GATES, width // heads)
            if i == 0:
                add(f"{layer}.attention.rel_attn_embed", config.num_buckets, heads, bias=False)
        add(f"{layer}.layer_norm", width)
        add(f"{layer}.feed_forward.intermediate_dense", config.intermediate_size, width)
        add(f"{layer}.feed_forward.output_dense", width, config.intermediate_size)
        add(f"{layer}.final_layer_norm", width)
    return shapes


class ParameterTree(nn.Module):
    """A tree of modules that hold parameters under dotted names and cannot be called."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            *path, leaf = name.split(".")
            module: nn.Module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module.get_submodule(part)
            module.register_parameter(leaf, nn.Parameter(torch.empty(shape)))


class SemanticFeatures(kernels.Engined):
    """The mean of all hidden states of HuBERT or WavLM, the input of the first layer among them.

    The model that computes them is kept apart from the tree that has its weights: copies, pickles and whoever moves
    weights see the tree alone.

    Shape: `[B, 1, N]` -> `[B, hidden_size, floor((N + 240) / 320)]`.
    """

    uses_engine = False

    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        self.config = config
        self.model = ParameterTree(semantic_shapes(config))

    def _assembled(self, weights: tuple[Tensor, ...]) -> nn.Module:
        return assembled(self.config, self.model)

    def forward(self, audio: Tensor) -> Tensor:
        model = self.caches[0].ready(self._assembled, tuple(self.model.parameters()))
        states = model(F.pad(audio[:, 0], (PADDING, PADDING)), output_hidden_states=True).hidden_states
        return rearrange(torch.stack(states).mean(dim=0), "b l c -> b c l")

    def train(self, mode: bool = True) -> Self:
        """As of `nn.Module`, but always in eval mode: the other one drops layers and masks time."""
        return super().train(False)


def assembled(config: SemanticConfig, weights: nn.Module) -> nn.Module:
    """The model of transformers that computes with the parameters of a tree. It takes them over."""
    config_class, model_class = transformers_classes(config.semantic_model)
    sizes = {name: value for name, value in config.as_dict().items() if name != "semantic_model"}
    fixed = {**FIXED, **FIXED_OF[config.semantic_model]}
    no_masks = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}  # nor a weight for them
    wanted = [parameter.requires_grad for parameter in weights.parameters()]
    with torch.device("meta"):
        model: nn.Module = model_class(config_class(**sizes, **fixed, **no_masks)).requires_grad_(False).eval()
        parametrize.remove_parametrizations(model.get_submodule("encoder.pos_conv_embed.conv"), "weight")
        model.load_state_dict(weights.state_dict(keep_vars=True), assign=True)
    for parameter, is_wanted in zip(weights.parameters(), wanted, strict=True):
        parameter.requires_grad_(is_wanted)
    return model


def transformers_classes(kind: str) -> tuple[Any, Any]:
    """The classes of transformers for the config and for the model.

    Raises:
        UnsupportedOperation: if the package cannot be imported; the message says how to install it.
    """
    try:
        if kind == "wavlm":
            from transformers import WavLMConfig, WavLMModel

            return WavLMConfig, WavLMModel
        from transformers import HubertConfig, HubertModel

        return HubertConfig, HubertModel
    except Exception as error:  # what it imports in turn may be broken, and raise anything
        raise UnsupportedOperation(
            f"encode: the encoder needs {kind} from the package transformers, which cannot be imported "
            f"({type(error).__name__}: {error}); pip install 'transformers>=5' (decoding does without it)"
        ) from error
