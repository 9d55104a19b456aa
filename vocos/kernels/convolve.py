"""One convolution of stride 1 on a CPU, channel-last, in the way that is fastest for its sizes.

Tensors are `[B, N, C]`, weights `[O, kernel, I]`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# A convolution first reorders its weight, which a matrix product need not: that tells with few rows. And rows that lie
# a multiple of a page apart compete for the same sets of the cache; a product of copied windows does not mind.
FEW_ROWS = 256
WIDE_ROW_BYTES = 4096
HALVED_INPUTS = 128  # of which on a convolution in float32 is done by halves: below, the additions cost more
WINDOW_NUMBERS = 1 << 22  # copied for one matrix product


class Taps:
    """A convolution of stride 1: x `[B, N, I]`, weight `[O, kernel, I]` -> `[B, M, O]`."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dilation: int) -> None:
        self.bias, self.dilation = bias, dilation
        self.kernel, self.inputs = weight.shape[1:]
        self.is_halved = weight.dtype != torch.bfloat16 and self.inputs >= HALVED_INPUTS and self.kernel > 1
        if self.is_halved:
            even, odd = weight[:, 0::2], weight[:, 1::2]
            both = even + F.pad(odd, (0, 0, 0, even.shape[1] - odd.shape[1]))
            self.weights = [part.contiguous() for part in (even, odd, both)]
        else:
            self.weights = [weight.contiguous()]

    def __call__(self, x: Tensor, left: int, right: int) -> Tensor:
        """The same on so many zeros at the two ends."""
        if self.is_halved:
            return self._by_halves(x, left, right)
        return _convolve(x, self.weights[0], self.bias, self.dilation, left, right)

    def _by_halves(self, x: Tensor, left: int, right: int) -> Tensor:
        """With 11 multiplications in place of 14 for two outputs of kernel 7, or 3 in place of 4 of kernel 2.

        Even and odd inputs e, o (in steps of the dilation) and even and odd taps w0, w1 make even and odd outputs

            w0 * e + w1 * o           =  (w0 + w1) * o  +  w0 * (e - o)
            w0 * o + w1 * (next e)    =  (w0 + w1) * o  +  w1 * (next e - o)

        Of 64 to 768 channels the root mean square rounding error was measured 1.1 to 1.5 times that of the plain sum.
        Source: the fast FIR algorithms of Mou and Duhamel, IEEE Trans. ASSP 35(9), 1987.
        """
        even, odd, both = self.weights
        step = self.dilation
        rows = left + x.shape[1] + right - (self.kernel - 1) * step
        half = -(-rows // (2 * step)) * step  # outputs of each kind, up to a multiple of the dilation
        more = 2 * half + self.kernel // 2 * 2 * step - x.shape[1] - left
        x = F.pad(x, (0, 0, left, more)) if left or more else x
        pairs = x.view(x.shape[0], -1, 2, step, self.inputs)
        e, o = pairs.unbind(2)
        first = _convolve((e - o).flatten(1, 2)[:, : half + (even.shape[1] - 1) * step], even, self.bias, step)
        second = _convolve(
            (e[:, 1:] - o[:, :-1]).flatten(1, 2)[:, : half + (odd.shape[1] - 1) * step], odd, self.bias, step
        )
        shared = _convolve(o.flatten(1, 2)[:, : half + (even.shape[1] - 1) * step], both, None, step)
        y = x.new_empty(x.shape[0], half // step, 2, step, both.shape[0])
        shared = shared.view(x.shape[0], -1, step, both.shape[0])
        torch.add(shared, first.view_as(shared), out=y[:, :, 0])
        torch.add(shared, second.view_as(shared), out=y[:, :, 1])
        return y.flatten(1, 3)[:, :rows]


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, left: int = 0, right: int = 0) -> Tensor:
    """One convolution of the vendor library, or one matrix product."""
    _, kernel, inputs = weight.shape
    rows = left + x.shape[1] + right - (kernel - 1) * dilation
    if x.shape[0] * rows < FEW_ROWS or inputs * x.element_size() >= WIDE_ROW_BYTES:
        x = F.pad(x, (0, 0, left, right)) if left or right else x
        return _windows_product(x, weight, bias, dilation, rows)
    if left != right:
        x, left = F.pad(x, (0, 0, left, right)), 0
    columns, kernels = x.mT[:, :, None], weight.permute(0, 2, 1)[:, :, None]
    y = F.conv2d(columns, kernels, bias, 1, (0, left), (1, dilation))
    return y[:, :, 0].mT.contiguous()


def _windows_product(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, rows: int) -> Tensor:
    """The same without padding, as products of copied windows with the weight as a matrix."""
    outputs, kernel, inputs = weight.shape
    matrix = weight.flatten(1).mT
    if bias is None:
        bias = weight.new_zeros(outputs)
    batch, row, column = x.shape[0], *x.stride()[1:]
    windows = x.as_strided((batch, rows, kernel, inputs), (x.stride(0), row, row * dilation, column))
    if kernel == 1:
        return torch.addmm(bias, windows.reshape(-1, inputs), matrix).view(batch, rows, outputs)
    y = x.new_empty(batch, rows, outputs)
    step = max(1, WINDOW_NUMBERS // (batch * kernel * inputs))
    for start in range(0, rows, step):
        part = windows[:, start : start + step]
        product = torch.addmm(bias, part.reshape(-1, kernel * inputs), matrix)
        y[:, start : start + step] = product.view(batch, -1, outputs)
    return y
