"""Another sampling rate by a windowed sinc, as a convolution: for models that hear another rate than their codec.

Files are brought to a codec's rate by `vocos.files.audio` instead, whose filter is better; this one is that of
torchaudio's `resample`, which such models were trained with.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH = 6  # zeros of the sinc to each side
ROLLOFF = 0.99  # of half the lower rate


@cache
@torch.inference_mode(False)  # or what a first call in that mode leaves could take part in no gradient
def filters(old: int, new: int) -> tuple[Tensor, int]:
    """The filter of each of `new` phases, `[new, 1, taps]`, float32 on the CPU, and the taps before the first sample.

    With b = 0.99 min(old, new), tap i of phase j is (b / old) sinc(t) cos^2(pi t / 12) at t = b (i / old - j / new),
    which is limited to 6 to each side.
    """
    band = ROLLOFF * min(old, new)
    before = math.ceil(WIDTH * old / band)
    taps = torch.arange(-before, before + old, dtype=torch.float64, device="cpu") / old
    phases = torch.arange(new, dtype=torch.float64, device="cpu") / new
    t = (band * (taps - phases[:, None])).clamp(-WIDTH, WIDTH)
    kernel = band / old * torch.sinc(t) * torch.cos(math.pi * t / (2 * WIDTH)).square()
    return kernel.float()[:, None], before


def resampled(audio: Tensor, old_rate: int, new_rate: int) -> Tensor:
    """Audio at another rate: `[B, 1, N]` -> `[B, 1, ceil(N new_rate / old_rate)]`, in the dtype it has.

    Source: torchaudio `functional.resample` (BSD), its defaults.
    """
    if old_rate == new_rate:
        return audio
    common = math.gcd(old_rate, new_rate)
    old, new = old_rate // common, new_rate // common
    kernel, before = filters(old, new)
    samples = audio.shape[-1]
    x = F.pad(audio.float(), (before, before + old))
    y = F.conv1d(x, kernel.to(audio.device), stride=old)  # [B, new, frames]
    length = -(-samples * new // old)
    return y.mT.flatten(1)[:, None, :length].to(audio.dtype)
