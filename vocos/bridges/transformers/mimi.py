"""A codec with the calls that `MimiModel` has, the codec of CSM; and the general kind of audio tokenizer."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.modeling_utils import PreTrainedAudioTokenizerBase
from transformers.models.mimi.modeling_mimi import MimiDecoderOutput, MimiEncoderOutput, MimiOutput

from vocos.bridges.transformers.view import View, codebook_count, column_count
from vocos.voco import Voco


class VocoTokenizerConfig(PreTrainedConfig):
    """The facts of a codec, under the names that models of transformers know them by."""

    model_type = "vocos"


def config_of(voco: Voco[Any]) -> VocoTokenizerConfig:
    """Of a codec."""
    columns = column_count(voco)
    return VocoTokenizerConfig(
        sampling_rate=voco.sampling_rate,
        audio_channels=voco.channel,
        hidden_size=voco.latent_dim,
        hop_length=voco.code_hop_length,
        downsampling_ratios=[voco.code_hop_length],
        frame_rate=voco.sampling_rate / voco.code_hop_length,
        codebook_size=voco.codebook_size,
        n_codebooks=columns,
        num_codebooks=columns,
        num_quantizers=columns,
    )


class VocoTokenizer(View, PreTrainedAudioTokenizerBase):
    """A codec as an audio tokenizer.

    Args:
        voco: the codec.
    """

    config_class = VocoTokenizerConfig
    main_input_name = "input_values"

    def __init__(self, voco: Voco[Any]) -> None:
        super().__init__(voco, config_of(voco))

    def encode(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        num_quantizers: int | None = None,
        return_dict: bool | None = None,
    ) -> MimiEncoderOutput | tuple[Tensor]:
        """Codes `[batch, codebooks, frames]` of audio.

        Args:
            input_values: float `[batch, channel, samples]` in [-1, 1].
            padding_mask: `[batch, samples]` or `[batch, channel, samples]`, true where real, padding on the right. Each
                row is then encoded as if it were alone; `get_audio_codes_mask` says which of its frames are real.
            num_quantizers: codes of a frame, of the first codebooks; None for all.
            return_dict: False for a tuple.

        Raises:
            InvalidInput: as of `Voco.encode_codes`.
        """
        mask = None if padding_mask is None else row_mask(padding_mask)
        codes = rearrange(
            self._codes(input_values, mask, n_codebooks=codebook_count(self.voco, num_quantizers)), "b l k -> b k l"
        )
        return MimiEncoderOutput(audio_codes=codes) if self._wants_dict(return_dict) else (codes,)

    def decode(
        self, audio_codes: Tensor, padding_mask: Tensor | None = None, return_dict: bool | None = None
    ) -> MimiDecoderOutput | tuple[Tensor]:
        """Audio `[batch, channel, samples]` of codes.

        Args:
            audio_codes: integers `[batch, codebooks, frames]`.
            padding_mask: what was encoded; the audio is cut to its length.
            return_dict: False for a tuple.

        Raises:
            InvalidInput: as of `Voco.decode_codes`.
        """
        audio = self._sound(audio_codes)
        if padding_mask is not None:
            audio = audio[..., : padding_mask.shape[-1]]
        return MimiDecoderOutput(audio_values=audio) if self._wants_dict(return_dict) else (audio,)

    def forward(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        num_quantizers: int | None = None,
        return_dict: bool | None = None,
    ) -> MimiOutput | tuple[Tensor, Tensor]:
        """Codes of audio, and the audio of those codes, as long as what was given; as of `encode` and `decode`."""
        codes = self.encode(input_values, padding_mask, num_quantizers, return_dict=False)[0]
        audio = self._sound(codes)[..., : input_values.shape[-1]]
        if not self._wants_dict(return_dict):
            return codes, audio
        return MimiOutput(audio_codes=codes, audio_values=audio)

    def get_encoded_length(self, input_length: Any) -> Any:
        """Frames of a number of samples, or of each of a tensor of them."""
        return self.voco.encode_length(input_length) // self.voco.code_frames

    def get_audio_codes_mask(self, padding_mask: Tensor, padding_side: str = "right") -> Tensor:
        """Which frames are real: bool `[batch, frames]`, for `[batch, samples]` as wide as its longest row."""
        lengths = self.get_encoded_length(row_mask(padding_mask).sum(dim=-1).clamp(min=1))
        mask = torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
        return mask if padding_side == "right" else mask.flip(dims=[-1])


def row_mask(mask: Tensor) -> Tensor:
    """A mask of samples as bool `[batch, samples]`, from one that may have channels."""
    return (mask[:, 0] if mask.ndim == 3 else mask).bool()
