"""One convolution of stride 1 on a CPU, channel-last, in the way that is fastest for its sizes.

Tensors are `[B, N, C]`, weights `[O, kernel, I]`. The choices were measured (the constants below); none of them changes
what is computed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vocos.kernels.dense import Packed

# A convolution first reorders its weight, which a product of copied windows need not: that tells with few rows. And
# rows that lie a multiple of a page apart compete for the same sets of the cache; copied windows do not mind.
FEW_ROWS = 1100
WIDE_ROW_BYTES = 3072
SMALL_WINDOW = 16  # numbers: too few for the library's convolution to be in its element
WINDOW_NUMBERS = 1 << 22  # copied for one matrix product
FEW_NUMBERS = 1 << 15  # of a convolution in groups, up to which sums of taps take less time
# By halves: multiplications saved for each number of a row that the additions touch, and rows, from which on it pays.
HALVED_SAVING = 60
HALVED_ROWS = 256


class Taps:
    """A convolution of stride 1: x `[B, N, I]`, weight `[O, kernel, I]` -> `[B, M, O]`, with a dilation to choose."""

    def __init__(self, weight: Tensor) -> None:
        outputs, self.kernel, inputs = weight.shape
        even, odd = weight[:, 0::2], weight[:, 1::2]
        saved = (self.kernel - even.shape[1] - odd.shape[1] / 2) * inputs * outputs
        self.is_halved = weight.dtype != torch.bfloat16 and saved >= HALVED_SAVING * (inputs + outputs)
        if self.is_halved:
            both = even + F.pad(odd, (0, 0, 0, even.shape[1] - odd.shape[1]))
            self.even, self.odd, self.both = Taps(even), Taps(odd), Taps(both)
        else:
            # In bfloat16, what is summed at last would have been rounded before.
            is_narrow = 2 * self.kernel * outputs <= inputs and weight.dtype != torch.bfloat16
            self.whole = _Narrow(weight) if is_narrow else _Whole(weight)

    def __call__(
        self, x: Tensor, bias: Tensor | None, dilation: int, left: int = 0, right: int = 0, onto: Tensor | None = None
    ) -> Tensor:
        """The convolution of x with so many zeros at its ends, and `onto`."""
        if not self.is_halved:
            return self.whole(x, bias, dilation, left, right, onto)
        rows = left + x.shape[1] + right - (self.kernel - 1) * dilation
        if x.shape[0] * rows >= HALVED_ROWS and onto is None:
            return self._by_halves(x, bias, dilation, left, rows)
        x = F.pad(x, (0, 0, left, right)) if left or right else x
        y = self.even(x[:, : rows + 2 * (self.even.kernel - 1) * dilation], bias, 2 * dilation, onto=onto)
        x = x[:, dilation:]
        return self.odd(x[:, : rows + 2 * (self.odd.kernel - 1) * dilation], None, 2 * dilation, onto=y)

    def _by_halves(self, x: Tensor, bias: Tensor | None, dilation: int, left: int, rows: int) -> Tensor:
        """With 11 multiplications in place of 14 for two outputs of kernel 7, or 3 in place of 4 of kernel 2.

        Even and odd inputs e, o (in steps of the dilation) and even and odd taps w0, w1 make even and odd outputs

            w0 * e + w1 * o           =  (w0 + w1) * o  +  w0 * (e - o)
            w0 * o + w1 * (next e)    =  (w0 + w1) * o  +  w1 * (next e - o)

        and so again for the halves where it pays. Of 128 to 1536 channels the root mean square rounding error was
        measured 1.1 to 1.9 times that of the plain sum.
        Source: the fast FIR algorithms of Mou and Duhamel, IEEE Trans. ASSP 35(9), 1987.
        """
        half = -(-rows // (2 * dilation)) * dilation  # outputs of each kind, up to a multiple of the dilation
        more = 2 * half + self.kernel // 2 * 2 * dilation - x.shape[1] - left
        x = F.pad(x, (0, 0, left, more)) if left or more else x
        e, o = x.view(x.shape[0], -1, 2, dilation, x.shape[2]).unbind(2)
        for_even, for_odd = half + (self.even.kernel - 1) * dilation, half + (self.odd.kernel - 1) * dilation
        first = self.even((e - o).flatten(1, 2)[:, :for_even], bias, dilation)
        second = self.odd((e[:, 1:] - o[:, :-1]).flatten(1, 2)[:, :for_odd], bias, dilation)
        shared = self.both(o.flatten(1, 2)[:, :for_even], None, dilation)
        y = x.new_empty(x.shape[0], half // dilation, 2, dilation, shared.shape[2])
        shared = shared.view(x.shape[0], -1, dilation, shared.shape[2])
        torch.add(shared, first.view_as(shared), out=y[:, :, 0])
        torch.add(shared, second.view_as(shared), out=y[:, :, 1])
        return y.flatten(1, 3)[:, :rows]


class InGroups:
    """A convolution in groups: weight `[O, I / groups, kernel]`, x `[B, N, I]` -> `[B, M, O]`."""

    def __init__(self, weight: Tensor, stride: int, dilation: int, groups: int) -> None:
        self.stride, self.dilation, self.groups = stride, dilation, groups
        self.kernels = weight[:, :, None].contiguous(memory_format=torch.channels_last)
        is_depthwise = stride == 1 and weight.shape[1] == 1 and weight.shape[0] == groups
        self.taps = weight[:, 0].mT.contiguous() if is_depthwise else None

    def __call__(self, x: Tensor, bias: Tensor | None, left: int, right: int) -> Tensor:
        """The convolution of x with so many zeros at its ends."""
        if left != right:
            x, left = F.pad(x, (0, 0, left, right)), 0
        if self.taps is not None and x.shape[0] * x.shape[1] * x.shape[2] <= FEW_NUMBERS:
            return self._by_taps(F.pad(x, (0, 0, left, left)) if left else x, self.taps, bias)
        spaced = (1, self.stride), (0, left), (1, self.dilation)
        y = F.conv2d(x.contiguous().mT[:, :, None], self.kernels, bias, *spaced, self.groups)
        return y[:, :, 0].mT.contiguous()

    def _by_taps(self, x: Tensor, taps: Tensor, bias: Tensor | None) -> Tensor:
        """The sum of the taps of each channel, for few numbers: a convolution first reorders its weight."""
        rows = x.shape[1] - (len(taps) - 1) * self.dilation
        y = x[:, :rows] * taps[0] if bias is None else torch.addcmul(bias, x[:, :rows], taps[0])
        for i, tap in enumerate(taps[1:], start=1):
            y.addcmul_(x[:, i * self.dilation : i * self.dilation + rows], tap)
        return y


class _Narrow:
    """A convolution to few channels: each tap's product for itself, and then their sum, which is small."""

    def __init__(self, weight: Tensor) -> None:
        self.outputs, self.kernel, _ = weight.shape
        self.matrix = Packed(weight.transpose(0, 1).flatten(0, 1))

    def __call__(
        self, x: Tensor, bias: Tensor | None, dilation: int, left: int, right: int, onto: Tensor | None
    ) -> Tensor:
        """The convolution of x and so many zeros at its ends, and `onto`."""
        taps = F.pad(self.matrix(x, None), (0, 0, left, right))
        batch, n, size = taps.shape
        shape = batch, n - (self.kernel - 1) * dilation, self.outputs, self.kernel
        y = taps.as_strided(shape, (n * size, size, 1, dilation * size + self.outputs)).sum(-1)
        y = y if bias is None else y.add_(bias)
        return y if onto is None else y.add_(onto)


class _Whole:
    """A weight, in the layouts in which it is needed: for a convolution, for a product of windows, or for both."""

    def __init__(self, weight: Tensor) -> None:
        self.outputs, self.kernel, self.inputs = weight.shape
        is_wide = self.inputs * weight.element_size() >= WIDE_ROW_BYTES
        self.is_product = self.kernel == 1 or is_wide or self.kernel * self.inputs <= SMALL_WINDOW
        self.matrix = Packed(weight.flatten(1)) if self.is_product else None
        self.kernels = (
            None
            if self.is_product
            else weight.permute(0, 2, 1)[:, :, None].contiguous(memory_format=torch.channels_last)
        )

    def __call__(
        self, x: Tensor, bias: Tensor | None, dilation: int, left: int, right: int, onto: Tensor | None
    ) -> Tensor:
        """The convolution of x and so many zeros at its ends, and `onto`."""
        rows = left + x.shape[1] + right - (self.kernel - 1) * dilation
        if self.kernels is None or x.shape[0] * rows < FEW_ROWS:
            x = F.pad(x, (0, 0, left, right)) if left or right else x
            return self._windows_product(x, bias, dilation, rows, onto)
        if left != right:
            x, left = F.pad(x, (0, 0, left, right)), 0
        x = x.contiguous()
        y = F.conv2d(x.mT[:, :, None], self.kernels, bias, 1, (0, left), (1, dilation))[:, :, 0].mT.contiguous()
        return y if onto is None else y.add_(onto)

    def _windows_product(self, x: Tensor, bias: Tensor | None, dilation: int, rows: int, onto: Tensor | None) -> Tensor:
        """The same as products of copied windows with the weight as a matrix."""
        if self.matrix is None:  # few rows for the first time
            assert self.kernels is not None  # noqa: S101  # for the type checker
            self.matrix = Packed(self.kernels[:, :, 0].mT.flatten(1))
        batch, (row, column) = x.shape[0], x.stride()[1:]
        size = self.kernel * self.inputs
        windows = x.as_strided((batch, rows, self.kernel, self.inputs), (x.stride(0), row, row * dilation, column))
        step = max(1, WINDOW_NUMBERS // (batch * size)) if self.kernel > 1 else rows
        if step >= rows:
            return self.matrix(windows.reshape(batch, rows, size), bias, onto=onto)
        y = x.new_empty(batch, rows, self.outputs)
        for start in range(0, rows, step):
            part = windows[:, start : start + step]
            added = None if onto is None else onto[:, start : start + step]
            y[:, start : start + step] = self.matrix(part.reshape(batch, -1, size), bias, onto=added)
        return y
