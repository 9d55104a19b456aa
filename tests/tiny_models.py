"""Small models of other libraries with random weights: what the codecs are put into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderOobleck,
    EDMDPMSolverMultistepScheduler,
    StableAudioDiTModel,
    StableAudioPipeline,
    StableAudioProjectionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

OOBLECK = {
    "encoder_hidden_size": 12,
    "downsampling_ratios": [2, 4],
    "channel_multiples": [1, 2],
    "decoder_channels": 6,
    "decoder_input_channels": 6,
    "sampling_rate": 800,
}
FRAMES = 24  # of a whole clip of the pipeline


def oobleck(folder: Path) -> AutoencoderOobleck:
    """An autoencoder with random weights, written to a folder as diffusers does."""
    torch.manual_seed(0)
    model = AutoencoderOobleck(**OOBLECK).eval()
    model.save_pretrained(folder)
    return model


def tokenizer() -> PreTrainedTokenizerFast:
    """Of a few words."""
    words = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", "a", "dog", "barks"])}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=5
    )


def text_encoder() -> T5EncoderModel:
    """Random."""
    torch.manual_seed(1)
    return T5EncoderModel(T5Config(vocab_size=6, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).eval()


def pipeline(vae: Any, latent_dim: int = 6) -> StableAudioPipeline:
    """Stable Audio with random weights around a VAE; the same each time."""
    encoder = text_encoder()
    torch.manual_seed(2)
    transformer = StableAudioDiTModel(
        sample_size=FRAMES,
        in_channels=latent_dim,
        num_layers=1,
        attention_head_dim=4,
        num_attention_heads=2,
        num_key_value_attention_heads=2,
        out_channels=latent_dim,
        cross_attention_dim=4,
        time_proj_dim=8,
        global_states_input_dim=8,
        cross_attention_input_dim=4,
    )
    made = StableAudioPipeline(
        vae=vae,
        text_encoder=encoder,
        projection_model=StableAudioProjectionModel(text_encoder_dim=8, conditioning_dim=4, min_value=0, max_value=32),
        tokenizer=tokenizer(),
        transformer=transformer.eval(),
        scheduler=EDMDPMSolverMultistepScheduler(solver_order=2, sigma_min=0.3, sigma_max=500, sigma_data=1.0),
    )
    made.set_progress_bar_config(disable=True)
    return made


def sound(made: StableAudioPipeline, **options: Any) -> torch.Tensor:
    """What a pipeline makes of one prompt and one seed, in two steps."""
    output = made(
        prompt="a dog barks",
        negative_prompt="a",
        num_inference_steps=2,
        audio_end_in_s=FRAMES * made.vae.hop_length / made.vae.sampling_rate,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
        **options,
    )
    return output.audios
