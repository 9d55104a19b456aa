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
from transformers import (
    BarkConfig,
    BarkModel,
    CsmConfig,
    CsmForConditionalGeneration,
    DacConfig,
    DacModel,
    EncodecConfig,
    EncodecModel,
    MusicgenDecoderConfig,
    MusicgenForCausalLM,
    MusicgenForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

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


# transformers

BOOKS, ENTRIES = 4, 16  # of its codecs


def encodec(folder: Path, **options: Any) -> EncodecModel:
    """An EnCodec with random weights, written to a folder as transformers does: 8 samples per frame, 4 codebooks."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_filters": 4, "upsampling_ratios": [4, 2], "num_lstm_layers": 1}
    facts = {"sampling_rate": 800, "codebook_size": ENTRIES, "target_bandwidths": [1.6]}
    config = EncodecConfig(**{**sizes, **facts, **options})
    model = EncodecModel(config).eval()
    with torch.no_grad():
        sound = torch.randn(4, config.audio_channels, 80)
        spread = float(model.encoder(sound).std())
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_(std=spread)
    model.save_pretrained(folder)
    return model


def dac(folder: Path) -> DacModel:
    """A DAC with random weights, written to a folder as transformers does: 8 samples per frame, 9 codebooks as Dia."""
    torch.manual_seed(0)
    sizes = {"encoder_hidden_size": 4, "downsampling_ratios": [2, 4], "decoder_hidden_size": 16, "codebook_dim": 4}
    model = DacModel(DacConfig(**sizes, n_codebooks=9, codebook_size=ENTRIES, sampling_rate=800)).eval()
    model.save_pretrained(folder)
    return model


def musicgen(audio_encoder: Any) -> MusicgenForConditionalGeneration:
    """MusicGen with random weights around a codec; the same each time."""
    encoder = text_encoder()
    torch.manual_seed(1)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "ffn_dim": 8, "num_attention_heads": 2}
    decoder = MusicgenForCausalLM(
        MusicgenDecoderConfig(
            **sizes, vocab_size=ENTRIES, num_codebooks=BOOKS, pad_token_id=ENTRIES, bos_token_id=ENTRIES
        )
    )
    model = MusicgenForConditionalGeneration(
        text_encoder=encoder, audio_encoder=audio_encoder, decoder=decoder.eval()
    ).eval()
    for name in ("pad_token_id", "bos_token_id", "decoder_start_token_id"):
        setattr(model.generation_config, name, ENTRIES)
    model.generation_config.guidance_scale = 3.0
    return model


def bark() -> BarkModel:
    """Bark with random weights."""
    sizes = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "block_size": 32}
    part = {**sizes, "input_vocab_size": 20, "output_vocab_size": 20}
    codec = {"model_type": "encodec", "num_filters": 4, "hidden_size": 8, "upsampling_ratios": [4, 2]}
    return BarkModel(
        BarkConfig(semantic_config=part, coarse_acoustics_config=part, fine_acoustics_config=part, codec_config=codec)
    ).eval()


def csm() -> CsmForConditionalGeneration:
    """CSM with random weights that chooses no code beyond those of the codec."""
    torch.manual_seed(1)
    sizes = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "num_codebooks": BOOKS,
        "vocab_size": ENTRIES + 2,
        "pad_token_id": ENTRIES + 1,
    }
    depth = {**sizes, "backbone_hidden_size": 8, "max_position_embeddings": BOOKS + 1}
    config = CsmConfig(
        **sizes,
        text_vocab_size=24,
        max_position_embeddings=64,
        codebook_pad_token_id=ENTRIES + 1,
        codebook_eos_token_id=ENTRIES,
        bos_token_id=20,
        audio_token_id=21,
        audio_eos_token_id=22,
        eos_token_id=None,
        depth_decoder_config={**depth, "bos_token_id": None, "eos_token_id": None},
        codec_config={"model_type": "encodec", "num_filters": 4, "hidden_size": 8, "upsampling_ratios": [4, 2]},
    )
    model = CsmForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.lm_head.weight[ENTRIES:] = 0
        model.depth_decoder.codebooks_head.weight[..., ENTRIES:] = 0
    return model
