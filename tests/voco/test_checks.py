"""The message of each kind of bad input: what was given, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vocos import (
    CheckpointError,
    InvalidInput,
    UnknownVoco,
    UnsupportedOperation,
    VocoError,
    WeightsUnavailable,
    get_voco,
)

stereo, mono = torch.zeros(1, 5000, 2), torch.zeros(1, 5000, 1)

MESSAGES: list[tuple[str, Callable[[Any], Any], str]] = [
    (
        "oobleck",
        lambda v: v.encode(stereo.transpose(1, 2)),
        "encode: expected audio [batch, samples, 2], got [1, 2, 5000]; channels go last: audio.transpose(1, 2)",
    ),
    (
        "oobleck",
        lambda v: v.encode(mono),
        "encode: expected audio [batch, samples, 2], got [1, 5000, 1]; repeat a mono signal: audio.expand(-1, -1, 2)",
    ),
    (
        "dac",
        lambda v: v.encode(stereo),
        "encode: expected audio [batch, samples, 1], got [1, 5000, 2]; mix it down: audio.mean(-1, keepdim=True)",
    ),
    (
        "dac",
        lambda v: v.encode(mono[0]),
        "encode: expected audio [batch, samples, 1], got [5000, 1]; add the missing axes, as in audio[None, :, None] "
        "for one mono clip [samples]",
    ),
    (
        "dac",
        lambda v: v.encode(mono.short()),
        "encode: expected audio [batch, samples, 1] in floating point, got torch.int16; audio.float() / 32768 turns "
        "int16 into floats in [-1, 1]",
    ),
    (
        "dac",
        lambda v: v.encode(mono.numpy()),
        "encode: expected audio [batch, samples, 1], got a ndarray; torch.as_tensor makes a tensor of an array",
    ),
    (
        "dac",
        lambda v: v.encode(mono[:, :0]),
        "encode: expected audio [batch, samples, 1], got [1, 0, 1], which is empty",
    ),
    (
        "mel",
        lambda v: v.encode(mono[:, :512]),
        "encode: expected audio [batch, samples, 1] with at least 513 samples, got [1, 512, 1]; the codec cannot take "
        "a shorter clip, complete it with zeros",
    ),
    (
        "mel",
        lambda v: v.decode(torch.zeros(1, 100, 7)),
        "decode: expected latents [batch, frames, 100], got [1, 100, 7]; the latent axis goes last: "
        "latents.transpose(1, 2)",
    ),
    (
        "mel",
        lambda v: v.decode(torch.zeros(1, 1, 100)),
        "decode: expected latents [batch, frames, 100] with at least 2 frames, got [1, 1, 100]; fewer frames cannot be "
        "decoded",
    ),
    (
        "dac",
        lambda v: v.decode(torch.zeros(1, 3, 128).long()),
        "decode: expected latents [batch, frames, 128] in floating point, got torch.int64; for integer codes there is "
        "decode_codes",
    ),
    (
        "dac",
        lambda v: v.decode(torch.zeros(1, 3, 128), length=0),
        "decode: expected length of at least 1 sample, got 0",
    ),
    ("dac", lambda v: v.encode_length(0), "encode_length: expected at least 1 of the samples, got 0"),
    (
        "mel",
        lambda v: v.decode_length(torch.tensor([3, -1])),
        "decode_length: expected at least 1 of the frames, got -1",
    ),
    ("dac", lambda v: v.encode_length(1.5), "encode_length: expected an int or an integer tensor, got 1.5"),
    (
        "dac",
        lambda v: v.encode_length(torch.ones(3)),
        "encode_length: expected an integer tensor, got torch.float32",
    ),
    (
        "dac",
        lambda v: v.encode_mask(torch.ones(1, 5)),
        "encode_mask: expected a bool mask [batch, samples], True where real, got torch.float32; mask.bool() turns 0 "
        "and 1 into it",
    ),
    (
        "dac",
        lambda v: v.decode(torch.zeros(2, 3, 128), mask=torch.ones(1, 3, dtype=torch.bool)),
        "decode: expected a mask [2, 3] like the input, got [1, 3]",
    ),
    (
        "mel",
        lambda v: v.encode(mono, mask=torch.arange(5000)[None] < 9),
        "encode: row 0 of the mask has 9 real samples, the codec needs 513",
    ),
    (
        "dac",
        lambda v: v.decode_codes(torch.zeros(1, 18, 20).long()),
        "decode_codes: expected integer codes [batch, frames, 1 to 18], got [1, 18, 20]; codebooks go last: "
        "codes.transpose(1, 2)",
    ),
    (
        "dac",
        lambda v: v.decode_codes(torch.full((1, 3, 2), 1024)),
        "decode_codes: expected codes from 0 to 1023, got 1024 to 1024",
    ),
    (
        "dac",
        lambda v: v.encode_codes(mono, n_codebooks=19),
        "encode_codes: expected n_codebooks from 1 to 18, got 19",
    ),
]


@pytest.mark.parametrize(("name", "call", "message"), MESSAGES, ids=range(len(MESSAGES)))
def test_bad_call_gets_its_message_before_anything_is_fetched(
    name: str, call: Callable[[Any], Any], message: str
) -> None:
    voco = get_voco(name)  # with the default weights: there is no network, so a download would be another error
    with pytest.raises(InvalidInput) as caught:
        call(voco)
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, VocoError)
    assert not voco.is_loaded


def test_codec_without_codes_names_one_that_has_them() -> None:
    with pytest.raises(UnsupportedOperation, match="encode_codes: oobleck has no codes, .* dac and encodec have codes"):
        get_voco("oobleck").encode_codes(stereo)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "ooblek"}, UnknownVoco, r"there is no 'ooblek'; did you mean 'oobleck'\? The names are dac, "),
        ({"name": None}, UnknownVoco, "expected a name, one of dac, .*; got None"),
        ({"name": "oobleck", "sampel": False}, TypeError, "oobleck has no option 'sampel'; it has sample"),
        ({"name": "mel", "sample": False}, TypeError, "mel has no option 'sample'; it has none"),
        (
            {"name": "mel", "dtype": torch.int8},
            InvalidInput,
            "expected dtype as a floating-point torch.dtype, got torch.int8",
        ),
        ({"name": "mel", "device": "gpu"}, InvalidInput, "expected device as 'cpu', 'cuda', 'cuda:1'..., got 'gpu'"),
        ({"name": "encodec", "bandwidth": 5}, InvalidInput, "expected bandwidth as one of 1.5, 3, 6, 12 kbps, got 5"),
        ({"name": "encodec", "encodec_weights": "./absent"}, WeightsUnavailable, "there is no file or folder .*absent"),
        ({"name": "mel", "weights": ""}, InvalidInput, "weights is empty; leave it out for the default checkpoint"),
        ({"name": "oobleck", "sample": "no"}, InvalidInput, "oobleck: expected sample as True or False, got 'no'"),
        ({"name": "griffinlim", "weights": "x/y"}, InvalidInput, "griffinlim has no weights; leave weights='x/y' out"),
    ],
)
def test_bad_arguments_of_get_voco(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        get_voco(**arguments)


def test_input_on_another_device_is_named() -> None:
    with pytest.raises(InvalidInput, match="encode: the input is on meta and the codec on cpu; move it with"):
        get_voco("griffinlim").encode(torch.zeros(1, 5000, 1, device="meta"))


def test_every_error_is_a_voco_error() -> None:
    assert issubclass(CheckpointError, (VocoError, RuntimeError))
