"""Codecs as the audio tokenizers of models of transformers, beside the codecs of transformers with the same weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tiny
import torch
from accelerate import cpu_offload
from torch import nn
from transformers import (
    AutoModelForAudioTokenization,
    DacModel,
    DiaFeatureExtractor,
    DiaProcessor,
    DiaTokenizer,
    EncodecModel,
    PreTrainedConfig,
)
from transformers.modeling_utils import PreTrainedAudioTokenizerBase, PreTrainedModel

from vocos import InvalidInput, UnsupportedOperation, Voco, get_voco
from vocos.bridges.transformers import audio_tokenizer

FLOAT32 = 1e-6  # of sound up to 0.5; measured: 1e-7
STEREO = {  # as EnCodec at 48 kHz: chunks of one second, each of its own loudness
    "audio_channels": 2,
    "norm_type": "time_group_norm",
    "use_causal_conv": False,
    "normalize": True,
    "chunk_length_s": 0.1,
    "overlap": 0.3,
}


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """Models of transformers and the folders that hold their weights."""
    place = tmp_path_factory.mktemp("models")
    made: dict[str, Any] = {
        "encodec_24khz": tiny.encodec(place / "encodec_24khz"),
        "encodec_48khz": tiny.encodec(place / "encodec_48khz", **STEREO),
        "dac": tiny.dac(place / "dac"),
    }
    return {name: (model, place / name) for name, model in made.items()}


@pytest.fixture
def pair(written: dict[str, tuple[Any, Path]]) -> Any:
    """Gives a model of transformers and the codec of its weights as a bridge."""

    def made(name: str, like: str | None = None) -> tuple[Any, Any]:
        model, place = written[name]
        return model, audio_tokenizer(get_voco(name, weights=place), like)

    return made


# What it is


@pytest.mark.parametrize(("name", "kind"), [("encodec_24khz", EncodecModel), ("dac", DacModel)])
def test_it_is_of_the_type_that_is_asked_for_and_loads_nothing(pair: Any, name: str, kind: type) -> None:
    original, bridge = pair(name)
    assert isinstance(bridge, kind) and isinstance(bridge, PreTrainedAudioTokenizerBase)
    theirs = {
        item: value for item, value in original.config.to_dict().items() if item not in ("architectures", "dtype")
    }
    assert theirs.items() <= bridge.config.to_dict().items()
    assert (bridge.device, bridge.dtype) == (torch.device("cpu"), torch.float32)
    assert not bridge.voco.is_loaded and not bridge.training


def test_it_is_a_view(pair: Any) -> None:
    _, bridge = pair("dac")
    assert {tensor.data_ptr() for tensor in bridge.voco.parameters()} == {t.data_ptr() for t in bridge.parameters()}
    assert bridge.to(torch.bfloat16).dtype == bridge.voco.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["encodec", "xcodec"])
def test_a_codec_that_is_neither_gets_the_general_kind(weights: Path, folder: Any, name: str) -> None:
    voco = get_voco(name, weights=weights if name == "encodec" else folder(name))
    bridge = audio_tokenizer(voco)
    audio = noise(2, 1, 5 * voco.hop_length + 3)
    codes = bridge.encode(audio).audio_codes
    assert torch.equal(codes.transpose(1, 2), voco.encode_codes(audio.transpose(1, 2)))
    assert torch.equal(bridge.decode(codes).audio_values.transpose(1, 2), voco.decode_codes(codes.transpose(1, 2)))
    assert bridge(audio).audio_values.shape == audio.shape
    facts = bridge.config
    assert (facts.sampling_rate, facts.codebook_size, facts.num_codebooks) == (
        voco.sampling_rate,
        voco.codebook_size,
        voco.n_codebooks,
    )


@pytest.mark.parametrize("like", ["dac", "encodec", "mimi"])
@pytest.mark.parametrize("name", ["dac", "encodec_24khz"])
def test_a_codec_can_be_asked_for_as_another_kind(pair: Any, name: str, like: str) -> None:
    _, bridge = pair(name, like)
    audio = noise(2, 1, 80)
    output = bridge.encode(audio)
    expected = bridge.voco.encode_codes(audio.transpose(1, 2)).transpose(1, 2)
    assert torch.equal(output.audio_codes, expected[None] if like == "encodec" else expected)
    sound = bridge.decode(audio_codes=output.audio_codes).audio_values
    assert sound.shape == ((2, 80) if like == "dac" else (2, 1, 80))
    assert bridge.config.sampling_rate == 800 and bridge.config.codebook_size == 16


# Beside the original


@pytest.mark.parametrize("books", [None, 3])
def test_dac_gives_the_numbers_of_the_original(pair: Any, books: int | None) -> None:
    original, bridge = pair("dac")
    audio = noise(2, 1, 80)
    with torch.no_grad():
        expected, found = (model.encode(audio, books) for model in (original, bridge))
        assert torch.equal(found.audio_codes, expected.audio_codes) and len(found.audio_codes.unique()) > 8
        torch.testing.assert_close(found.quantized_representation, expected.quantized_representation)
        for given in ("audio_codes", "quantized_representation"):
            sounds = [model.decode(**{given: expected[given]}) for model in (original, bridge)]
            torch.testing.assert_close(sounds[1].audio_values, sounds[0].audio_values, atol=FLOAT32, rtol=0)
        whole = [model(audio, books).audio_values for model in (original, bridge)]
        torch.testing.assert_close(whole[1], whole[0], atol=FLOAT32, rtol=0)


@pytest.mark.parametrize(("name", "samples"), [("encodec_24khz", 83), ("encodec_48khz", 80), ("encodec_48khz", 163)])
def test_encodec_gives_the_numbers_of_the_original(pair: Any, name: str, samples: int) -> None:
    original, bridge = pair(name)
    audio = noise(2, original.config.audio_channels, samples)
    with torch.no_grad():
        expected, found = (model.encode(audio) for model in (original, bridge))
        assert torch.equal(found.audio_codes, expected.audio_codes) and len(found.audio_codes.unique()) > 8
        assert found.last_frame_pad_length == expected.last_frame_pad_length
        for mine, theirs in zip(found.audio_scales, expected.audio_scales, strict=True):
            assert mine is theirs is None or torch.allclose(mine, theirs)
        sounds = [model.decode(**expected, padding_mask=torch.ones(2, samples)) for model in (original, bridge)]
        torch.testing.assert_close(sounds[1].audio_values, sounds[0].audio_values, atol=FLOAT32, rtol=1e-5)
        whole = [model(audio, torch.ones(2, samples)).audio_values for model in (original, bridge)]
        torch.testing.assert_close(whole[1], whole[0], atol=FLOAT32, rtol=1e-5)


def test_what_a_padding_mask_hides_is_silent_as_in_the_original(pair: Any) -> None:
    original, bridge = pair("encodec_24khz")
    audio, mask = noise(2, 1, 80), torch.arange(80)[None] < torch.tensor([[80], [50]])
    with torch.no_grad():
        expected, found = (model.encode(audio, mask).audio_codes for model in (original, bridge))
    assert torch.equal(found, expected) and not torch.equal(found, bridge.encode(audio).audio_codes)


@pytest.mark.parametrize("name", ["encodec_24khz", "dac"])
def test_half_precision_gives_the_sound_of_the_original(pair: Any, name: str) -> None:
    original, bridge = pair(name)
    codes = torch.randint(0, 16, (2, 4, 9), generator=torch.Generator().manual_seed(5))
    given = {"audio_codes": codes} if name == "dac" else {"audio_codes": codes[None], "audio_scales": [None]}
    bridge.to(torch.bfloat16)
    with torch.no_grad():
        found, expected = bridge.decode(**given).audio_values, original.decode(**given).audio_values
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=float(expected.abs().max()) / 30, rtol=0)  # 1/100 seen


def test_tuples_are_given_where_they_are_asked_for(pair: Any) -> None:
    for name, like in (("encodec_24khz", "encodec"), ("dac", "dac"), ("dac", "mimi")):
        _, bridge = pair(name, like)
        audio = noise(1, 1, 80)
        codes = next(
            item
            for item in bridge.encode(audio, return_dict=False)
            if item is not None and not item.is_floating_point()
        )
        assert torch.equal(codes, bridge.encode(audio).audio_codes)
        sound = bridge.decode(audio_codes=codes, return_dict=False)[0]
        assert torch.equal(sound, bridge.decode(audio_codes=codes).audio_values)


# In the models


@pytest.mark.parametrize("options", [{}, {"input_values": noise(2, 1, 83), "padding_mask": torch.ones(2, 83)}])
def test_musicgen_generates_the_same_sound(pair: Any, options: dict[str, Any]) -> None:
    sounds = []
    for model in map(tiny.musicgen, pair("encodec_24khz")):
        torch.manual_seed(2)
        prompt = {"input_ids": torch.tensor([[3, 4, 5], [3, 5, 4]]), "attention_mask": torch.ones(2, 3)}
        sounds.append(model.generate(**prompt, **options, do_sample=True, max_new_tokens=12))
    assert sounds[0].shape[:2] == (2, 1) and sounds[0].abs().max() > 0.1
    torch.testing.assert_close(sounds[1], sounds[0], atol=FLOAT32, rtol=0)


def test_a_model_around_it_leaves_its_weights_alone(pair: Any) -> None:
    _, bridge = pair("dac")
    before = {name: tensor.clone() for name, tensor in bridge.state_dict().items()}

    class Around(PreTrainedModel):
        config_class = PreTrainedConfig

        def __init__(self, config: PreTrainedConfig) -> None:
            super().__init__(config)
            self.own = nn.Linear(3, 3)
            self.codec = bridge
            self.post_init()

    model = Around(PreTrainedConfig(initializer_range=0.5))
    after = model.codec.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(tensor.requires_grad for tensor in model.codec.parameters())


def test_bark_decodes_the_same_sound(pair: Any) -> None:
    model, codes = tiny.bark(), torch.randint(0, 16, (2, 4, 9), generator=torch.Generator().manual_seed(5))
    sounds = []
    for codec in pair("encodec_24khz"):
        model.codec_model = codec
        with torch.no_grad():
            sounds.append([model.codec_decode(codes), *model.codec_decode(codes, [9, 5])])
    for found, expected in zip(sounds[1], sounds[0], strict=True):
        torch.testing.assert_close(found, expected, atol=FLOAT32, rtol=0)


@pytest.mark.filterwarnings("ignore:.max_length. is ignored:UserWarning")  # of the processor's own defaults
def test_dia_makes_the_same_codes_and_sound(pair: Any) -> None:
    features, random = DiaFeatureExtractor(sampling_rate=800, hop_length=8), np.random.default_rng(0)
    clips = [random.standard_normal(samples).astype(np.float32) for samples in (100, 60)]
    codes = torch.randint(0, 16, (2, 40, 9), generator=torch.Generator().manual_seed(1))
    codes[:, 0], codes[:, -17:, 0] = 1026, 1025  # begin and padding, as Dia writes them
    inputs, sounds = [], []
    for codec in pair("dac"):
        processor = DiaProcessor(features, DiaTokenizer(), audio_tokenizer=codec)
        inputs.append(processor(text=["a", "b"], audio=clips, sampling_rate=800)["decoder_input_ids"])
        sounds.append(processor.batch_decode(codes))
    assert torch.equal(inputs[1], inputs[0])
    for found, expected in zip(sounds[1], sounds[0], strict=True):
        assert found.numel() > 100
        torch.testing.assert_close(found, expected, atol=FLOAT32, rtol=0)


def test_csm_listens_and_speaks_with_it(pair: Any) -> None:
    _, bridge = pair("encodec_24khz", "mimi")
    model = tiny.csm()
    model.codec_model = bridge
    ids = torch.full((2, 12), 21)  # ten frames of audio between a word and the end of audio
    ids[:, 0], ids[:, -1] = 3, 22
    audio, ends = noise(2, 1, 80), torch.tensor([[80], [80]])
    embedded = model._merge_input_ids_with_input_values(ids, audio, ends, None)["inputs_embeds"]
    codes = bridge.voco.encode_codes(audio.transpose(1, 2))
    torch.testing.assert_close(embedded[:, 1:-1], model.backbone_model.embed_tokens(codes))
    output = model.generate(
        ids, input_values=audio, input_values_cutoffs=ends, output_audio=True, max_new_tokens=5, do_sample=False,
        return_dict_in_generate=True,
    )  # fmt: skip
    for sound, said in zip(output.audio, output.sequences, strict=True):
        torch.testing.assert_close(sound, bridge.voco.decode_codes(said[None])[0, :, 0])


def test_rows_that_are_padded_are_encoded_alone_and_their_frames_known(pair: Any) -> None:
    _, bridge = pair("encodec_24khz", "mimi")
    audio, mask = noise(2, 1, 80), torch.arange(80)[None] < torch.tensor([[80], [50]])
    codes, frames = bridge.encode(audio, mask).audio_codes, bridge.get_audio_codes_mask(mask)
    assert frames.sum(dim=1).tolist() == [10, 7] == [bridge.get_encoded_length(n) for n in (80, 50)]
    assert torch.equal(codes[1, :, :7], bridge.encode(audio[1:, :, :50]).audio_codes[0])
    assert torch.equal(bridge.get_audio_codes_mask(mask, "left"), frames.flip(dims=[-1]))


# Offloading and files


@pytest.mark.parametrize("name", ["encodec_24khz", "dac"])
def test_weights_that_accelerate_keeps_elsewhere_are_there_for_each_call(pair: Any, name: str) -> None:
    _, bridge = pair(name)
    audio = noise(1, 1, 80)
    expected = bridge.encode(audio).audio_codes
    sound = bridge.decode(audio_codes=expected).audio_values
    cpu_offload(bridge, torch.device("cpu"))
    for _ in range(2):
        assert {tensor.device.type for tensor in bridge.parameters()} == {"meta"}
        assert torch.equal(bridge.encode(audio).audio_codes, expected)
        again = bridge.decode(audio_codes=expected).audio_values
        torch.testing.assert_close(again, sound, atol=FLOAT32, rtol=0)


@pytest.mark.parametrize(("name", "kind"), [("encodec_24khz", EncodecModel), ("dac", AutoModelForAudioTokenization)])
def test_what_it_saves_transformers_reads(pair: Any, name: str, kind: Any, tmp_path: Path) -> None:
    _, bridge = pair(name)
    bridge.save_pretrained(tmp_path)
    audio = noise(1, 1, 80)
    with torch.no_grad():
        found = kind.from_pretrained(tmp_path).encode(audio).audio_codes
    assert torch.equal(found, bridge.encode(audio).audio_codes)
    again = get_voco(name, weights=tmp_path).encode_codes(audio.transpose(1, 2))
    assert torch.equal(again, bridge.voco.encode_codes(audio.transpose(1, 2)))


# Errors


def test_what_is_wrong_is_said_before_anything_is_loaded(pair: Any) -> None:
    for name, like in (("encodec_24khz", "encodec"), ("dac", "dac"), ("dac", "mimi")):
        _, bridge = pair(name, like)
        with pytest.raises(InvalidInput, match="expected audio"):
            bridge.encode(torch.zeros(1, 2, 80))
        with pytest.raises(InvalidInput, match="expected codes from 0 to 15, got 16 to 16"):
            bridge.decode(audio_codes=torch.full((1, 1, 1, 5) if like == "encodec" else (1, 1, 5), 16))
        assert not bridge.voco.is_loaded


def test_a_codec_without_codes_is_refused(weights: Path) -> None:
    with pytest.raises(UnsupportedOperation, match="oobleck has no codes, .*; encodec, dac and xcodec"):
        audio_tokenizer(get_voco("oobleck", weights=weights))


def test_what_is_no_codec_and_what_is_no_kind_are_refused(pair: Any) -> None:
    original, bridge = pair("dac")
    with pytest.raises(InvalidInput, match="expected a voco, as of get_voco, got a DacModel"):
        audio_tokenizer(original)
    with pytest.raises(InvalidInput, match="expected like as one of dac, encodec, mimi, got 'snac'"):
        audio_tokenizer(bridge.voco, like="snac")


def test_shapes_of_another_kind_are_refused(pair: Any) -> None:
    _, flat = pair("dac")
    _, chunked = pair("encodec_24khz")
    with pytest.raises(InvalidInput, match=r"expected audio_codes \[batch, codebooks, frames\]"):
        flat.decode(audio_codes=torch.zeros(1, 1, 9, 5, dtype=torch.long))
    with pytest.raises(InvalidInput, match=r"expected audio_codes \[chunks, batch, codebooks, frames\]"):
        chunked.decode(torch.zeros(1, 4, 5, dtype=torch.long))
    with pytest.raises(InvalidInput, match=r"expected input_values \[batch, 1, samples\], got \[1, 80\]"):
        flat.encode(torch.zeros(1, 80))
    with pytest.raises(InvalidInput, match="got neither"):
        flat.decode()


def test_a_clip_whose_chunks_have_no_place_in_the_layout_is_refused(pair: Any) -> None:
    _, bridge = pair("encodec_48khz")
    with pytest.raises(InvalidInput, match="the last but one chunk of 113 samples is short"):
        bridge.encode(noise(1, 2, 113))


def test_without_the_package_the_error_says_how_to_get_it(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    voco: Voco[Any] = pair("dac")[1].voco
    monkeypatch.setitem(sys.modules, "transformers", None)
    for name in ("dac", "view", "encodec", "mimi"):
        monkeypatch.delitem(sys.modules, f"vocos.bridges.transformers.{name}")
    with pytest.raises(UnsupportedOperation, match=r"pip install 'transformers>=5'.*'\.\[bridges\]'"):
        audio_tokenizer(voco)


def test_codebooks_at_several_rates_are_codes_of_a_frame(folder: Any) -> None:
    voco = get_voco("snac_24khz", weights=folder("snac_24khz"), noise=False)
    view = audio_tokenizer(voco)
    assert (view.config.num_quantizers, view.config.frame_rate) == (7, 24000 / 2048)
    audio, mask = 0.1 * noise(2, 1, 5000), torch.ones(2, 5000)
    mask[1, 2000:] = 0
    codes = view.encode(audio).audio_codes
    assert torch.equal(codes.mT, voco.encode_codes(audio.mT))
    assert torch.equal(view.encode(audio, num_quantizers=3).audio_codes, codes[:, :3])
    assert torch.equal(view.decode(codes).audio_values.mT, voco.decode_codes(codes.mT))
    assert view.get_audio_codes_mask(mask).tolist() == [[True, True, True], [True, False, False]]
    with pytest.raises(InvalidInput, match="n_codebooks from 1 to 3, got 5"):
        view.encode(audio, num_quantizers=5)
