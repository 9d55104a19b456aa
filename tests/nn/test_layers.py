"""Layers against their formulas, written out with loops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocos.codecs.dacvae import AveragingEncoderBlock, DacVaeConfig, DacVaeDecoder, DacVaeEncoder, RepeatingDecoderBlock
from vocos.kernels import steps
from vocos.kernels.reference import reflect_pad
from vocos.nn.blocks import DecoderBlock, EncoderBlock, ResidualUnit, Snake
from vocos.nn.conv import pad_to_multiple, same_conv, strided_conv, transposed_conv
from vocos.nn.gaussian import draw
from vocos.nn.length import ceil_div, strided_length, transposed_length
from vocos.nn.quantize import FactorizedRVQ, euclidean_codes, euclidean_features
from vocos.nn.seanet import SEANetConv, SEANetEncoder
from vocos.nn.vocoder import AdaLayerNorm, Backbone


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("stride", range(1, 12))
def test_length_formulas_are_those_of_the_layers(stride: int) -> None:
    down, up = strided_conv(1, 1, stride), transposed_conv(1, 1, stride)
    for length in range(stride, 5 * stride):
        assert down(torch.zeros(1, 1, length)).shape[2] == strided_length(length, [stride])
    for length in range(2, 9):
        assert up(torch.zeros(1, 1, length)).shape[2] == transposed_length(length, [stride])


def test_ceil_div_takes_tensors() -> None:
    assert ceil_div(torch.tensor([0, 1, 5, 6]), 5).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(("kernel", "dilation"), [(7, 1), (7, 9), (1, 1), (3, 3)])
def test_same_conv_keeps_the_length(kernel: int, dilation: int) -> None:
    assert same_conv(2, 3, kernel, dilation)(noise(1, 2, 11)).shape == (1, 3, 11)


def test_pad_to_multiple_adds_zeros_on_the_right() -> None:
    x = torch.ones(1, 1, 5)
    assert pad_to_multiple(x, 4).tolist() == [[[1, 1, 1, 1, 1, 0, 0, 0]]]
    assert pad_to_multiple(x, 5) is x or torch.equal(pad_to_multiple(x, 5), x)


@pytest.mark.parametrize(("length", "left", "right"), [(9, 4, 3), (1, 6, 0), (3, 6, 1), (4, 4, 2), (2, 1, 7)])
def test_reflection_of_a_short_signal_goes_into_zeros(length: int, left: int, right: int) -> None:
    """As many zeros as needed are appended, the whole is reflected, and they are dropped again."""
    x = noise(1, 2, length)
    extra = max(0, max(left, right) - length + 1)
    long = torch.cat([x, torch.zeros(1, 2, extra)], dim=2)
    index = [abs(i) for i in range(-left, long.shape[2])]
    end = long.shape[2] - 1
    index += [end - i for i in range(1, right + 1)]
    wanted = long[..., index][..., : left + length + right]
    assert torch.equal(reflect_pad(x, left, right), wanted)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(7, 1, 1), (4, 2, 1), (10, 5, 1), (3, 1, 2), (1, 1, 1)])
def test_causal_conv_has_one_frame_per_begun_stride_and_sees_no_future(kernel: int, stride: int, dilation: int) -> None:
    conv = SEANetConv(1, 1, kernel, stride, dilation).requires_grad_(False)
    for length in range(1, 4 * stride + 30):
        assert conv(noise(1, 1, length)).shape[2] == ceil_div(length, stride)
    x = noise(1, 1, 20 * stride)
    changed = x.clone()
    changed[..., 10 * stride :] += 1
    assert torch.equal(conv(x)[..., :10], conv(changed)[..., :10])


def test_seanet_encoder_ceils_stage_by_stage() -> None:
    encoder = SEANetEncoder(1, 2, (2, 3, 5), 4).requires_grad_(False)
    for length in range(1, 95):
        assert encoder(noise(1, 1, length)).shape == (1, 4, ceil_div(length, 30))


def init(module: nn.Module) -> nn.Module:
    """Values for parameters that are made empty."""
    for seed, parameter in enumerate(module.parameters()):
        parameter.data = 0.3 + 0.1 * noise(*parameter.shape, seed=seed)
    return module.requires_grad_(False)


@pytest.mark.parametrize("dilation", [1, 3, 9])
def test_residual_unit_adds_to_its_input(dilation: int) -> None:
    unit = init(ResidualUnit(3, dilation, Snake))
    x = noise(2, 3, 40)
    first = F.conv1d(unit.snake1(x), unit.conv1.weight, unit.conv1.bias, padding=3 * dilation, dilation=dilation)
    wanted = x + F.conv1d(unit.snake2(first), unit.conv2.weight, unit.conv2.bias)
    torch.testing.assert_close(unit(x), wanted)


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_shortcut_of_the_encoder_averages_halves(stride: int) -> None:
    block = init(AveragingEncoderBlock(3, 6, stride, Snake)).double()
    x = noise(2, 3, 5 * stride).double()
    given = block(x) - steps.run(EncoderBlock.chain(block), x)
    g = stride // 2
    for c in range(3):
        for j in range(2):
            for frame in range(5):
                wanted = x[:, c, frame * stride + j * g :][:, :g].mean(dim=1)
                torch.testing.assert_close(given[:, 2 * c + j, frame], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_shortcut_of_the_decoder_repeats_halves(stride: int) -> None:
    block = init(RepeatingDecoderBlock(6, 3, stride, Snake)).double()
    x = noise(2, 6, 5).double()
    given = block(x) - steps.run(DecoderBlock.chain(block), x)
    g = stride // 2
    for c in range(3):
        for frame in range(5):
            for j in range(2):
                for k in range(g):
                    place = (frame * 2 + j) * g + k
                    torch.testing.assert_close(given[:, c, place], x[:, 2 * c + j, frame], atol=1e-5, rtol=1e-5)


def test_ends_of_dacvae_average_and_repeat_channels() -> None:
    config = DacVaeConfig(encoder_dim=2, encoder_rates=(2, 2), latent_dim=4, decoder_dim=12, decoder_rates=(2, 2))
    encoder, decoder = init(DacVaeEncoder(config)), init(DacVaeDecoder(config))
    audio = noise(1, 1, 16)
    h = steps.run(encoder.trunk(), audio)
    features = encoder.conv_out(h) + torch.stack([h[:, 2 * d : 2 * d + 2].mean(dim=1) for d in range(4)], dim=1)
    mean = features.mT @ encoder.mean.weight.T + encoder.mean.bias
    scale = features.mT @ encoder.scale.weight.T + encoder.scale.bias
    torch.testing.assert_close(encoder(audio), torch.cat([mean.mT, scale.mT], dim=1))
    latents = noise(1, 4, 5)
    widened = decoder.conv_in(latents) + latents.repeat_interleave(3, dim=1)
    torch.testing.assert_close(decoder(latents), steps.run(decoder.tail(), widened))


def test_draw_is_mean_plus_std_times_channel_first_noise() -> None:
    mean, scale = noise(2, 3, 4), 30 * noise(2, 3, 4, seed=1)
    torch.manual_seed(5)
    given = draw(mean, scale)
    torch.manual_seed(5)
    std = torch.where(scale > 20, scale, torch.log1p(torch.exp(scale.clamp(max=20)))) + 1e-4
    torch.testing.assert_close(given, mean + std * torch.randn(2, 3, 4))
    generators = [torch.Generator().manual_seed(7) for _ in range(2)]
    assert torch.equal(draw(mean, scale, generators[0]), draw(mean, scale, generators[1]))


class TestFactorizedRVQ:
    """Against the search by distances, book by book."""

    def test_codes_are_the_nearest_unit_vectors_of_what_is_left(self) -> None:
        rvq = FactorizedRVQ(channels=6, n_codebooks=3, entries=16, dimension=4).requires_grad_(False)
        z = noise(2, 6, 9)
        codes = rvq.encode(z, 3)
        residual, total = z, torch.zeros_like(z)
        for k, quantizer in enumerate(rvq.quantizers):
            e = F.normalize(quantizer.in_proj(residual), dim=1)
            c = F.normalize(quantizer.codebook.weight, dim=1)
            distance = (e[:, :, :, None] - c.T[None, :, None, :]).square().sum(dim=1)
            assert torch.equal(codes[:, k], distance.argmin(dim=2))
            chosen = quantizer.codebook.weight[codes[:, k]]  # not the unit vector
            quantized = quantizer.out_proj(chosen.mT)
            residual, total = residual - quantized, total + quantized
        torch.testing.assert_close(rvq.decode(codes), total)
        torch.testing.assert_close(rvq.decode(codes[:, :2]), total - quantized)

    def test_lowest_index_wins_a_tie(self) -> None:
        rvq = FactorizedRVQ(channels=2, n_codebooks=1, entries=8, dimension=2).requires_grad_(False)
        rvq.quantizers[0].codebook.weight[:] = torch.tensor([1.0, 2.0])
        assert not rvq.encode(noise(1, 2, 5), 1).any()

    def test_search_is_in_float32_whatever_the_module(self) -> None:
        rvq = FactorizedRVQ(channels=6, n_codebooks=3, entries=64, dimension=4).requires_grad_(False).bfloat16()
        z = noise(1, 6, 50)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            codes, low = rvq.encode(z, 3), rvq.encode(z.bfloat16(), 3)
        assert torch.equal(codes, rvq.float().encode(z, 3))
        assert torch.equal(low, rvq.encode(z.bfloat16().float(), 3))

    def test_euclidean_codes_are_the_nearest_entries_of_what_is_left(self) -> None:
        books, z = noise(3, 16, 6), noise(2, 6, 9, seed=1)
        codes = euclidean_codes(z, books)
        residual, total = z.mT, torch.zeros(2, 9, 6)
        for k in range(3):
            distance = (residual[:, :, None] - books[k]).square().sum(dim=-1)
            assert torch.equal(codes[:, k], distance.argmin(dim=-1))
            residual, total = residual - books[k][codes[:, k]], total + books[k][codes[:, k]]
        torch.testing.assert_close(euclidean_features(codes, books), total.mT)
        low = euclidean_codes(z.bfloat16(), books.bfloat16())
        assert torch.equal(low, euclidean_codes(z.bfloat16().float(), books.bfloat16().float()))


def test_adaptive_norm_takes_its_row_of_the_tables() -> None:
    norm = AdaLayerNorm(4, 8).requires_grad_(False)
    x = noise(2, 5, 8)
    plain = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(norm(x, 2), plain * norm.scale.weight[2] + norm.shift.weight[2], atol=1e-5, rtol=1e-5)


def test_backbone_sees_no_farther_than_it_says() -> None:
    backbone = init(Backbone(2, 8, 16, 3))
    x = noise(1, 2, 81)
    changed = x.clone()
    changed[:, :, 40] += 1
    moved = (backbone(x) != backbone(changed)).any(dim=2)[0].nonzero()
    assert (moved.min(), moved.max()) == (40 - 12, 40 + 12)  # 3 + 3 * 3 frames
