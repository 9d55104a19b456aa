"""Loudness of a programme in LUFS, which `.dac` files carry, by the meter of the package that writes them.

Source: ITU-R BS.1770-4, with the filters as second-order sections of any sampling rate; where the standard leaves a
choice, descript-audiotools (`audiotools/core/loudness.py`, MIT): the last block is completed with zeros, whatever is in
it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vocos.nn.length import ceil_div

BLOCK_SECONDS, OVERLAP = 0.4, 0.75
SILENCE = -70.0  # LUFS; the absolute gate, and the loudness of what is below it
RELATIVE_GATE = 10.0  # below the mean of what is above the absolute gate
SHELF = 4.0, 1500.0, math.sqrt(0.5)  # gain in dB, Hz, Q: the head
HIGH_PASS = 38.0, 0.5  # Hz, Q: the ear


def loudness(audio: Tensor, sampling_rate: int) -> float:
    """Integrated loudness of audio `[1, samples, channels]`, -70 of silence. A shorter one counts as half a second."""
    sound = audio[0].detach().double().cpu().T
    sound = F.pad(sound, (0, max(0, sampling_rate // 2 - sound.shape[1])))
    weighted = _weighted(sound, sampling_rate)
    block = max(1, int(BLOCK_SECONDS * sampling_rate))
    step = max(1, int(BLOCK_SECONDS * sampling_rate * (1 - OVERLAP)))
    # [ 0.4 s ]
    #    [ 0.4 s ]      a step of 0.1 s on, until a block holds the last sample; what it has beyond is silence
    #       [ 0.4 s ]
    n_steps = ceil_div(sound.shape[1] - block, step)
    weighted = F.pad(weighted, (0, block + n_steps * step - sound.shape[1]))
    power = weighted.square().unfold(1, block, step).sum(dim=2).sum(dim=0) / (BLOCK_SECONDS * sampling_rate)
    for gate in (SILENCE, None):
        level = _level(power.mean()) - RELATIVE_GATE if gate is None else gate
        power = power[_level(power) > level]
        if len(power) == 0:
            return SILENCE
    return max(SILENCE, float(_level(power.mean())))


def _level(power: Tensor) -> Tensor:
    return -0.691 + 10 * torch.log10(power)


def _weighted(sound: Tensor, sampling_rate: int) -> Tensor:
    """Through both filters, by their response at every frequency; a second of silence takes up what rings on."""
    length = sound.shape[1] + sampling_rate
    turn = torch.exp(-2j * math.pi * torch.arange(length // 2 + 1, dtype=torch.float64, device=sound.device) / length)
    gain, shelf_hz, shelf_q = SHELF
    root = math.sqrt(10 ** (gain / 20))
    cosine, alpha = _corner(shelf_hz, shelf_q, sampling_rate)
    slope = 2 * math.sqrt(root) * alpha
    shelf = (
        root * (root + 1 + (root - 1) * cosine + slope)
        - 2 * root * (root - 1 + (root + 1) * cosine) * turn
        + root * (root + 1 + (root - 1) * cosine - slope) * turn**2
    ) / (
        (root + 1 - (root - 1) * cosine + slope)
        + 2 * (root - 1 - (root + 1) * cosine) * turn
        + (root + 1 - (root - 1) * cosine - slope) * turn**2
    )
    cosine, alpha = _corner(*HIGH_PASS, sampling_rate)
    high_pass = (1 + cosine) / 2 * (1 - turn) ** 2 / (1 + alpha - 2 * cosine * turn + (1 - alpha) * turn**2)
    return torch.fft.irfft(torch.fft.rfft(sound, length) * shelf * high_pass, length)[:, : sound.shape[1]]


def _corner(hz: float, q: float, sampling_rate: int) -> tuple[float, float]:
    angle = 2 * math.pi * hz / sampling_rate
    return math.cos(angle), math.sin(angle) / (2 * q)
