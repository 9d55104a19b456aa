"""Sampling rates and channels: audio in blocks, as a codec wants it."""

from __future__ import annotations

import soxr
import torch
from torch import Tensor


class Converter:
    """Audio in blocks, at another sampling rate and with another number of channels.

    Channels are averaged into one, and one is repeated; of more than the two wanted, the first two are kept. What comes
    out, joined, is the same to the bit however the audio is divided: soxr keeps what it cannot resample yet.

    Attributes:
        done: remarks on what is converted.
    """

    def __init__(self, sampling_rate: int, channels: int, to_rate: int, to_channel: int) -> None:
        """From and to sampling rates in Hz and numbers of channels, of which the one wanted is 1 or 2, or the same."""
        self._channels, self._to_channel = channels, to_channel
        self._stream = None
        self.done: list[str] = []
        if channels != to_channel:
            if to_channel == 1:
                self.done.append(f"{channels} channels averaged into 1")
            elif channels == 1:
                self.done.append(f"1 channel repeated {to_channel} times")
            else:
                self.done.append(f"the first {to_channel} of {channels} channels")
        if sampling_rate != to_rate:
            self._stream = soxr.ResampleStream(sampling_rate, to_rate, to_channel, dtype="float32")
            self.done.append(f"{sampling_rate} Hz resampled to {to_rate} Hz")

    def push(self, block: Tensor, last: bool = False) -> Tensor:
        """The next of the converted audio: float32 `[m, to_channel]`, with m >= 0.

        Args:
            block: the next of the audio, float32 `[n, channels]`, with n >= 0.
            last: whether it is the end, so that what is left comes out.
        """
        block = self._mixed(block)
        if self._stream is not None:
            block = torch.from_numpy(self._stream.resample_chunk(block.numpy(), last=last))
        return block

    def _mixed(self, block: Tensor) -> Tensor:
        if self._channels == self._to_channel:
            return block.contiguous()
        if self._to_channel == 1:
            return block.mean(dim=1, keepdim=True)
        if self._channels == 1:
            return block.expand(-1, self._to_channel).contiguous()
        return block[:, : self._to_channel].contiguous()
