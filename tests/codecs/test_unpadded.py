"""The decoder without padding: its lengths are those of Descript's files."""

from __future__ import annotations

import pytest
import torch

from vocos.codecs.dac import unpadded
from vocos.nn.blocks import Decoder


@pytest.mark.parametrize(
    ("strides", "frames", "samples"),
    [
        ((8, 8, 4, 2), 72, 28522),
        ((8, 8, 4, 2), 416, 204650),
        ((8, 5, 4, 2), 59, 13346),
        ((8, 5, 4, 2), 359, 109346),
        ((8, 5, 4, 2), 34, 5346),
        ((8, 5, 4, 2), 234, 69346),
        ((5, 4, 2), 125, 3946),
    ],
)
def test_published_windows_have_the_samples_they_are_cut_to(
    strides: tuple[int, ...], frames: int, samples: int
) -> None:
    assert unpadded.decoded_length(frames, strides) == samples


def test_length_is_that_of_the_output_for_every_number_of_frames() -> None:
    strides = (3, 2)
    decoder = Decoder(4, (8, 4, 2), strides, 1)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter)
    lengths = [unpadded.decoded_length(frames, strides) for frames in range(1, 70)]
    fewest = 1 + sum(length == 0 for length in lengths)
    assert 0 < fewest < 60
    assert lengths == sorted(lengths)
    for frames in range(fewest, 70):
        assert unpadded.decode(decoder, torch.randn(1, 4, frames)).shape == (1, 1, lengths[frames - 1])


def test_fewest_frames_are_those_of_the_published_models() -> None:
    for strides, fewest in (((8, 8, 4, 2), 17), ((8, 5, 4, 2), 18)):
        assert unpadded.decoded_length(fewest - 1, strides) == 0
        assert unpadded.decoded_length(fewest, strides) > 0
