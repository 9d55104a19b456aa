"""Every public checkpoint at its published size: names and shapes alone, for the weights are elsewhere."""

from __future__ import annotations

import math

import pytest
import torch
from manifests import Listing, manifests

from vocos import get_voco, list_vocos
from vocos.codecs.vocos_encodec import COMPANIONS
from vocos.weights.formats import locate, recognise

# Sampling rate, hop and latent size that each has.
PUBLIC = {
    "mel": {
        "optimizerai-mel": (24000, 256, 100),
        "charactr-vocos-mel-24khz": (24000, 256, 100),
        "hf-audio-vocos-mel-24khz": (24000, 256, 100),
    },
    "encodec": {
        "optimizerai-encodec": (24000, 320, 128),
        "charactr-vocos-encodec-24khz": (24000, 320, 128),
        "hf-audio-vocos-encodec-24khz": (24000, 320, 128),
    },
    "dac": {
        "optimizerai-dac": (44100, 512, 128),
        "descript-original-44khz-8kbps": (44100, 512, 1024),
        "descript-original-44khz-16kbps": (44100, 512, 128),
        "descript-original-24khz": (24000, 320, 1024),
        "descript-original-16khz": (16000, 320, 1024),
        "descript-dac_44khz": (44100, 512, 1024),
        "descript-dac_24khz": (24000, 320, 1024),
        "descript-dac_16khz": (16000, 320, 1024),
    },
    "dac_44khz": {"descript-dac_44khz": (44100, 512, 1024), "descript-original-44khz-8kbps": (44100, 512, 1024)},
    "dac_24khz": {"descript-dac_24khz": (24000, 320, 1024), "descript-original-24khz": (24000, 320, 1024)},
    "dac_16khz": {"descript-dac_16khz": (16000, 320, 1024), "descript-original-16khz": (16000, 320, 1024)},
    "encodec_24khz": {"facebook-encodec_24khz": (24000, 320, 128), "original-encodec_24khz": (24000, 320, 128)},
    "encodec_32khz": {"facebook-encodec_32khz": (32000, 640, 128)},
    "encodec_48khz": {"facebook-encodec_48khz": (48000, 320, 129), "original-encodec_48khz": (48000, 320, 129)},
    "pocket_tts": {
        "eustlb-pocket-tts-audio-tokenizer": (24000, 1920, 32),
        "kyutai-pocket-tts-mimi": (24000, 1920, 32),
    },
    "wavtokenizer": {
        "swiss-ai-wavtokenizer-large-unify-40token": (24000, 600, 512),
        "novateur-WavTokenizer-large-unify-40token": (24000, 600, 512),
    },
    "wavtokenizer_large_speech_75token_v2": {"swiss-ai-wavtokenizer-large-speech-75token-v2": (24000, 320, 512)},
    "higgs_audio_v2": {"bosonai-higgs-audio-v2-tokenizer": (24000, 960, 1024)},
    "snac_24khz": {"hubertsiuzdak-snac_24khz": (24000, 512, 768)},
    "snac_32khz": {"hubertsiuzdak-snac_32khz": (32000, 384, 1024)},
    "snac_44khz": {"hubertsiuzdak-snac_44khz": (44100, 384, 1024)},
    "qwen3_tts": {"Qwen-Qwen3-TTS-Tokenizer-12Hz": (24000, 1920, 512)},
    "mimi": {"kyutai-mimi": (24000, 1920, 512), "kyutai-moshiko-mimi": (24000, 1920, 512)},
    "dacvae": {
        "optimizerai-dac-vae-small": (48000, 2048, 2048),
        "facebook-dacvae-watermarked": (48000, 1920, 128),
    },
    "oobleck": {
        "optimizerai-oobleck": (44100, 2048, 64),
        "diffusers-oobleck-stable-audio-open-1.0": (44100, 2048, 64),
        "stable-audio-tools-oobleck": (44100, 2048, 64),
        "stable-audio-tools-oobleck-autoencoder": (44100, 2048, 64),
        "acestep-oobleck-48khz": (48000, 1920, 64),
    },
    "xcodec": {
        "hf-audio-xcodec-hubert-librispeech": (16000, 320, 1024),
        "hf-audio-xcodec-wavlm-mls": (16000, 320, 1024),
    },
}
CASES = [(codec, name) for codec, names in PUBLIC.items() for name in names]


@pytest.mark.parametrize(("codec", "name"), CASES, ids=["-".join(case) for case in CASES])
def test_public_checkpoint_is_read_strictly(codec: str, name: str) -> None:
    voco = get_voco(codec)
    config = voco.parse(manifests()[name]["config"])
    facts = voco.describe(config)
    assert (facts.sampling_rate, facts.hop_length, facts.latent_dim) == PUBLIC[codec][name]
    known, file = recognise(Listing(name), voco.formats, codec)
    with torch.device("meta"):
        network = voco.build(config)
    held = locate(network, file, known, config)
    if known.lacks:
        for companion in ("facebook-encodec_24khz", "original-encodec_24khz"):
            other, listing = recognise(Listing(companion), COMPANIONS, "encodec_weights")
            rest = locate(network, listing, other, config, only=known.lacks)
            assert held.keys() | rest.keys() == network.state_dict().keys()
    else:
        assert held.keys() == network.state_dict().keys()


@pytest.mark.parametrize("name", PUBLIC["xcodec"])
def test_decoder_of_xcodec_is_a_sixth_of_its_file(name: str) -> None:
    voco = get_voco("xcodec", part="decoder")
    config, file = voco.parse(manifests()[name]["config"]), Listing(name)
    with torch.device("meta"):
        held = locate(voco.build(config), file, voco.formats[0], config, without=voco.weights.left_out)
    sizes = {tensor: 4 * math.prod(shape) for tensor, shape in file.shapes.items()}
    read = sum(sizes[part] for parts in held.values() for part in parts)
    assert (round(read / 1e6), round(sum(sizes.values()) / 1e6)) == (115, 710)


@pytest.mark.parametrize("codec", [codec for codec in PUBLIC if codec != "xcodec"])
def test_built_in_config_is_the_published_one(codec: str) -> None:
    """Of every file of the default weights, and of those that publish the same ones in another layout."""
    voco = get_voco(codec)
    owner = (voco.source or "").partition("/")[0]
    names = [name for name in PUBLIC[codec] if "khz" in codec or owner in name]
    assert names
    assert owner in names[0]
    for name in names:
        assert voco.parse(manifests()[name]["config"]) == voco.weights.row.config


@pytest.mark.parametrize("name", list_vocos("xcodec*"))
def test_built_in_config_of_xcodec_is_the_published_one(name: str) -> None:
    voco = get_voco(name)
    published = "hf-audio-xcodec-wavlm-mls" if "wavlm" in name else "hf-audio-xcodec-hubert-librispeech"
    assert voco.parse(manifests()[published]["config"]) == voco.weights.row.config
    with torch.device("meta"):
        network = voco.build(voco.weights.row.config)
    sizes = {part: sum(p.numel() for p in module.parameters()) for part, module in network.named_children()}
    assert sizes["fc2"] + sizes["decoder"] + sizes["quantizer"] == 28_852_033  # 115 MB of 710, enough to decode codes
