"""What all audio tokenizers of transformers that are codecs of ours have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from vocos.bridges.hooks import weights_in_place
from vocos.bridges.transformers import own_config
from vocos.errors import InvalidInput
from vocos.voco import Voco


class View(PreTrainedModel):
    """A model of transformers whose only part is a codec.

    A subclass is also of the class whose calls it has, and none of that class's weights are built.

    Args:
        voco: the codec.
        config: with the facts of the codec, under the names of the class.

    Attributes:
        voco: the codec itself, not a copy.
    """

    def __init__(self, voco: Voco[Any], config: PreTrainedConfig) -> None:
        PreTrainedModel.__init__(self, config)  # what the class itself would build are weights of its own
        self.all_tied_weights_keys: dict[str, str] = {}
        self.voco = voco
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are, or will be."""
        return self.voco.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are, or will be."""
        return self.voco.dtype

    def _init_weights(self, module: Any) -> None:
        """Nothing: the weights are the codec's, whatever model this is put into."""

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write the codec: as transformers reads it, where it is one of its models, or else as `voco.save` does.

        Either is read back by `get_voco(name, weights=save_directory)`.
        """
        self.voco.export(save_directory, "transformers" if own_config(self.voco) else "vocos")

    # Channel-first, as transformers has it, and with the weights in place

    def _codes(self, audio: Tensor, mask: Tensor | None = None, **rate: Any) -> Any:
        """Codes of audio `[B, C, N]` as the codec gives them, for what `encode_codes` is told of their rate."""
        if audio.ndim != 3:
            raise InvalidInput(
                f"encode: expected input_values [batch, {self.voco.channel}, samples], got {list(audio.shape)}"
            )
        with weights_in_place(self):
            audio = rearrange(audio.to(self.device), "b c n -> b n c")
            if mask is None:
                return self.voco.encode_codes(audio, **rate)
            return self.voco.latents_to_codes(self.voco.encode(audio, mask.to(self.device)), **rate)

    def _sound(self, codes: Tensor) -> Tensor:
        """Audio `[B, C, N]` of codes `[B, K, L]`."""
        if codes.ndim != 3:
            raise InvalidInput(f"decode: expected audio_codes [batch, codebooks, frames], got {list(codes.shape)}")
        with weights_in_place(self):
            audio = self.voco.decode_codes(rearrange(codes.to(self.device), "b k l -> b l k"))
        return rearrange(audio, "b n c -> b c n")

    def _sound_of_latents(self, latents: Tensor) -> Tensor:
        """Audio `[B, C, N]` of latents `[B, D, L]`."""
        with weights_in_place(self):
            audio = self.voco.decode(rearrange(latents.to(self.device), "b d l -> b l d"))
        return rearrange(audio, "b n c -> b c n")

    def _latents_of_codes(self, codes: Tensor) -> Tensor:
        """Latents `[B, D, L]` of codes `[B, K, L]`."""
        with weights_in_place(self):
            latents = self.voco.codes_to_latents(rearrange(codes.to(self.device), "b k l -> b l k"))
        return rearrange(latents, "b l d -> b d l")

    def _wants_dict(self, return_dict: bool | None) -> bool:
        return bool(self.config.return_dict if return_dict is None else return_dict)


def column_count(voco: Voco[Any]) -> int:
    """Codes of a frame: as many as there are codebooks, but for codecs whose codebooks run at several rates."""
    return voco.code_columns or 0


def codebook_count(voco: Voco[Any], columns: int | None) -> int | None:
    """The codebooks that so many codes of a frame are of; what fits none is left for `encode_codes` to refuse."""
    counts = {voco.columns_of(count): count for count in range(1, (voco.n_codebooks or 0) + 1)}
    return columns if columns is None else counts.get(columns, columns)
