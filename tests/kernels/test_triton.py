"""The Triton kernels against their twins in float64: on a GPU where there is one, else in Triton's interpreter.

Every buffer that PyTorch allocates is filled with NaN first, and inputs lie inside larger tensors of NaN, so that an
element that is not written, or read from beyond the ends, is seen.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from vocos import InvalidInput, UnsupportedOperation, get_voco
from vocos.kernels import Average, Chain, Convolution, Periodic, Repeat, Residual, Transposed, reference, steps

pytest.importorskip("triton")  # conftest.py chose the interpreter if there is no GPU

import triton
import triton.language as tl

from vocos.kernels import triton_chain, triton_snake, triton_unit

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LAYOUTS = ("channel-first", "channels-last", "neither")


@pytest.fixture(autouse=True)
def _nan_in_new_memory() -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=True)  # which fills what `empty` gives
    assert torch.empty(3).isnan().all()
    assert torch.empty(3, 1).new_empty(2).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _bfloat16_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter holds bfloat16 as integers, and multiplies matrices of those integers."""
    if not triton_snake.IS_INTERPRETED:
        return
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle, tl

    create_dot = InterpreterBuilder.create_dot

    def widened(handle: Any) -> Any:
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        bits = torch.from_numpy(handle.data.astype("int32")) << 16
        return TensorHandle(bits.view(torch.float32).numpy(), tl.float32)

    def dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return create_dot(self, widened(a), widened(b), *rest)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", dot)


@pytest.fixture(autouse=True)
def _no_tf32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def noise(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
    return (scale * torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))).to(DEVICE, dtype)


def window(shape: tuple[int, int, int], layout: str, dtype: torch.dtype) -> Tensor:
    """Noise of a shape, in the middle of NaN."""
    b, c, n = shape
    around = {
        "channel-first": lambda nan: nan(b, c + 2, n + 3)[:, 1:-1, 2:-1],
        "channels-last": lambda nan: nan(b, n + 3, c + 2).mT[:, 1:-1, 2:-1],
        "neither": lambda nan: nan(c + 1, b, 2 * n + 1).transpose(0, 1)[:, 1:, 1::2],
    }[layout](lambda *sizes: torch.full(sizes, torch.nan, dtype=dtype, device=DEVICE))
    return around.copy_(noise(*shape, scale=3.0))


def parameters(channels: int, has_beta: bool, dtype: torch.dtype) -> Periodic:
    alpha, beta = noise(2, 1, channels, 1, dtype=dtype, scale=0.5)
    return Periodic(alpha, beta) if has_beta else Periodic(alpha.sign() * (alpha.abs() + 0.3))


def exact(value: Any) -> Any:
    """Arguments of a twin in float64 on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().double()
    if isinstance(value, tuple):
        return type(value)(*map(exact, value)) if hasattr(value, "_fields") else tuple(map(exact, value))
    return value


def assert_rounded(given: Tensor, wanted: Tensor, slack: float) -> None:
    """Equal but for one rounding to the dtype, and an error of float32 relative to the largest value."""
    wanted = wanted.detach()
    is_cut = triton_snake.IS_INTERPRETED and given.dtype == torch.bfloat16  # the interpreter drops bits to make it
    tolerance = torch.finfo(given.dtype).eps * (1 if is_cut else 0.5) * wanted.abs() + slack * wanted.abs().max()
    error = (given.detach().cpu().double() - wanted).abs()
    assert given.shape == wanted.shape
    assert (error <= tolerance).all(), f"{(error - tolerance).max()} too far"  # a NaN fails


# Snake

SHAPES = [(2, 5, 33), (1, 1, 1), (3, 130, 7), (1, 3, 1500), (1, 96, 50)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("has_beta", [False, True])
def test_snake_and_its_gradients_are_the_twins(
    shape: tuple[int, int, int], layout: str, dtype: torch.dtype, has_beta: bool
) -> None:
    x = window(shape, layout, dtype).requires_grad_()
    leaves = [p.requires_grad_() for p in parameters(shape[1], has_beta, dtype) if p is not None]
    grad = noise(*shape, dtype=dtype)
    given = (triton_snake.snake_beta if has_beta else triton_snake.snake)(x, *leaves)
    assert given.dtype == dtype
    twin_inputs = [exact(tensor).requires_grad_() for tensor in (x, *leaves)]
    wanted = (reference.snake_beta if has_beta else reference.snake)(*twin_inputs)
    assert_rounded(given, wanted, 2e-6)  # measured 7e-7: the frequency e^alpha is a float32
    gradients = torch.autograd.grad(given, (x, *leaves), grad)
    for one, other in zip(gradients, torch.autograd.grad(wanted, twin_inputs, exact(grad)), strict=True):
        assert one.dtype == dtype
        assert_rounded(one, other, 1e-5)  # measured 2e-6


def test_snake_keeps_dense_strides() -> None:
    x = noise(2, 5, 33)
    assert triton_snake.snake(x, x[:1, :, :1]).stride() == x.stride()
    assert triton_snake.snake(x.mT.contiguous().mT, x[:1, :, :1]).stride() == (165, 1, 5)


@pytest.mark.parametrize("frequency", [1.0, 300.0, 20000.0, 3e6])
def test_sine_is_exact_to_float32_however_large_its_argument(frequency: float) -> None:
    x = noise(1, 4, 2000)
    f = torch.full((4,), frequency, device=DEVICE)
    error = triton_snake.periodic_op(x, f, torch.ones_like(f)).cpu() - (
        x.cpu().double() + torch.sin((f[:, None] * x).cpu().double()) ** 2
    )
    assert error.abs().max() < 5e-7  # measured 3.7e-7, of which 2.4e-7 is the rounding of sums up to 4


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter's NumPy
@pytest.mark.parametrize("dtype", DTYPES)
def test_snake_of_frequency_zero_and_of_what_is_not_finite(dtype: torch.dtype) -> None:
    x, zero = noise(1, 3, 20, dtype=dtype), torch.zeros(1, 3, 1, dtype=dtype, device=DEVICE)
    assert torch.equal(triton_snake.snake(x, zero), x)
    x[0, 0, 3], x[0, 1, 4], x[0, 2, 5] = torch.nan, torch.inf, -torch.inf
    given = triton_snake.snake(x, zero + 1)
    assert torch.equal(given.isnan(), ~x.isfinite())


def test_snake_gradients_are_the_same_every_time_and_reach_only_what_wants_them() -> None:
    x, (alpha, beta) = noise(2, 40, 3000).requires_grad_(), parameters(40, True, torch.float32)
    assert beta is not None
    alone = torch.autograd.grad(triton_snake.snake_beta(x, alpha, beta).sum(), x)  # its gradient has strides of zero
    inputs = (x, alpha.requires_grad_(), beta.requires_grad_())
    first, second = (torch.autograd.grad(triton_snake.snake_beta(*inputs).sum(), inputs) for _ in range(2))
    assert all(map(torch.equal, first, second))
    assert torch.equal(alone[0], first[0])


def test_snake_of_nothing_is_nothing() -> None:
    x = torch.empty(2, 3, 0, device=DEVICE, requires_grad=True)
    alpha = torch.ones(1, 3, 1, device=DEVICE, requires_grad=True)
    given = triton_snake.snake(x, alpha)
    assert given.shape == (2, 3, 0)
    assert not torch.autograd.grad(given.sum(), alpha)[0].any()


@pytest.mark.skipif(DEVICE != "cpu", reason="the file is sparse; GPU memory is not")
def test_snake_reaches_beyond_two_to_the_31_elements(tmp_path: Path) -> None:
    far = 2**30 + 8  # twice that overflows 32 bits
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2 * (2 * far + 64))
    whole = torch.from_file(str(tmp_path / "sparse"), shared=True, size=2 * far + 64, dtype=torch.float16)
    alpha = noise(1, 3, 1, dtype=torch.float16).abs() + 0.1
    for strides in ((far, 3, 1), (3, far, 1), (3, 1, far)):
        shape = tuple(3 if stride == far else 2 for stride in strides)
        x = whole.as_strided(shape, strides).copy_(noise(*shape)).requires_grad_()
        part = alpha[:, : shape[1]]
        given = triton_snake.snake(x, part)
        true = exact(x).requires_grad_()
        wanted = reference.snake(true, exact(part))
        assert_rounded(given, wanted, 2e-6)
        assert_rounded(*(torch.autograd.grad(y.sum(), leaf)[0] for y, leaf in ((given, x), (wanted, true))), 1e-5)


# The residual unit


def conv(inputs: int, outputs: int, taps: int, dtype: torch.dtype, **options: int) -> Convolution:
    weight = noise(outputs, inputs, taps, dtype=dtype, scale=(taps * inputs) ** -0.5)
    return Convolution(weight, noise(outputs, dtype=dtype), **options)


def unit(channels: int, dilation: int, has_beta: bool, dtype: torch.dtype, taps: int = 7) -> Residual:
    conv1 = conv(channels, channels, taps, dtype, dilation=dilation, padding=taps // 2 * dilation)
    first, second = parameters(channels, has_beta, dtype), parameters(channels, not has_beta, dtype)
    return Residual((first, conv1, second, conv(channels, channels, 1, dtype)))


# Largest error measured, relative to the largest value: 1.3e-6, 1.6e-3, 1.2e-2; the operands of products are rounded.
UNIT_SLACK = {torch.float32: 3e-6, torch.float16: 3e-3, torch.bfloat16: 2.5e-2}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "layout", "dilation", "has_beta", "taps"),
    [
        ((2, 16, 131), "channels-last", 9, False, 7),  # two tiles, the second with 3 samples
        ((1, 16, 5), "channel-first", 9, True, 7),  # every tap but one is beyond an end somewhere
        ((1, 48, 33), "neither", 3, True, 3),
        ((1, 16, 1), "channels-last", 1, False, 7),
        ((1, 96, 65), "channels-last", 3, True, 7),
        ((1, 192, 20), "channels-last", 1, False, 7),
        ((1, 256, 20), "channels-last", 9, True, 1),
        ((1, 384, 20), "channels-last", 3, True, 1),  # columns of 128 channels
    ],
)
def test_residual_unit_is_the_twin(
    shape: tuple[int, int, int], layout: str, dilation: int, has_beta: bool, taps: int, dtype: torch.dtype
) -> None:
    x, step = window(shape, layout, dtype), unit(shape[1], dilation, has_beta, dtype, taps)
    given = triton_chain.residual_stack(x, [step])
    assert given.dtype == dtype
    assert_rounded(given, steps.apply(exact(step), exact(x)), UNIT_SLACK[dtype])


@pytest.mark.parametrize("has_last", [False, True])
def test_residual_stack_is_the_twin(has_last: bool) -> None:
    x = window((2, 32, 150), "channels-last", torch.float32)
    units = [unit(32, dilation, bool(i % 2), torch.float32) for i, dilation in enumerate((1, 3, 9))]
    last = units[1].steps[0] if has_last else None
    assert last is None or isinstance(last, Periodic)
    given = triton_chain.residual_stack(x, units, last)
    assert_rounded(given, steps.run(exact((*units, last) if last else tuple(units)), exact(x)), 1e-5)
    assert given.stride(1) == 1


# Chains


def block(channels: int, dtype: torch.dtype, stride: int = 4) -> tuple[Chain, Chain]:
    """A block down and a block up, without their shortcuts."""
    units = tuple(unit(channels, dilation, True, dtype) for dilation in (1, 3))
    down = conv(channels, 2 * channels, 2 * stride, dtype, stride=stride, padding=stride // 2)
    weight = noise(2 * channels, channels, 2 * stride, dtype=dtype, scale=(4 * channels) ** -0.5)
    up = Transposed(weight, noise(channels, dtype=dtype), stride, stride // 2, stride // 2)
    wide = parameters(2 * channels, False, dtype)
    return (*units, parameters(channels, True, dtype), down), (wide, up, *units)


def in_groups(channels: int) -> Chain:
    """A unit whose first convolution is of every channel alone, and an upsampling of every channel alone."""
    snakes = [parameters(channels, False, torch.float32) for _ in range(2)]
    alone = Convolution(noise(channels, 1, 7, scale=0.3), noise(channels), padding=3, groups=channels)
    unit = Residual((snakes[0], alone, snakes[1], conv(channels, channels, 1, torch.float32)))
    return unit, Transposed(noise(channels, 1, 4, scale=0.3), noise(channels), 2, 0, 2, groups=channels), unit


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("channels", [16, 12])  # the fused unit takes 16
@torch.no_grad()
def test_chains_are_their_steps(channels: int, fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_unit, "pays", lambda x: fused)
    down, up = block(channels, torch.float32)
    first, last = (conv(*sizes, 7, torch.float32, padding=3) for sizes in ((2, channels), (channels, 1)))
    chains: list[Chain] = [
        (first, *down, *up, parameters(channels, False, torch.float32), last),
        (first, Residual(down, Average(4)), Residual(up, Repeat(4)), last._replace(bias=None)),
        (first, Average(4), Repeat(4)),
        (first, *down, up[0], cast(Transposed, up[1])._replace(right=1)),
        (first, *in_groups(channels)),
    ]
    calls: list[int] = []
    launch = triton_unit.launch
    monkeypatch.setattr(triton_unit, "launch", lambda *args: calls.append(1) or launch(*args))
    for chain in chains:
        x = window((2, 2, 72), "channel-first", torch.float32)
        before = x.clone()
        given = triton_chain.TritonChain(chain, torch.float32)(x)
        assert_rounded(given, steps.run(exact(chain), exact(x)), 2e-5)
        assert torch.equal(x, before)
    assert len(calls) == (10 if fused and channels == 16 else 0)


@pytest.mark.skipif(DEVICE != "cpu", reason="codecs on a GPU are in test_gpu.py")
def test_a_codec_decodes_with_the_engine_that_is_forced(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voco = get_voco("dacvae", weights=weights)
    latents = noise(1, 2, voco.latent_dim)
    wanted = voco.decode(latents)
    calls: list[int] = []
    launch = triton_snake.launch
    monkeypatch.setattr(triton_snake, "launch", lambda *args: calls.append(1) or launch(*args))
    monkeypatch.setenv("VOCOS_KERNELS", "triton")
    torch.testing.assert_close(voco.decode(latents), wanted, rtol=0, atol=2e-5)
    assert calls
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(UnsupportedOperation, match="VOCOS_KERNELS=triton: it is for GPUs, not for cpu"):
        voco.decode(latents)


# Facts, and the compiler


def test_supports_is_about_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    x, step = noise(1, 16, 9), unit(16, 1, False, torch.float32)
    alpha = parameters(16, False, torch.float32).alpha
    assert triton_snake.supports(x, alpha)
    assert not triton_snake.supports(x.double(), alpha)
    assert not triton_snake.supports(x[0], alpha)
    assert not triton_snake.supports(x, alpha[:, :3])
    prepared = triton_unit.prepare(step, torch.float32)
    assert prepared is not None
    assert triton_unit.supports(x, prepared)
    assert not triton_unit.supports(x.half(), prepared)
    assert not triton_unit.supports(x[:, :8], prepared)
    assert not triton_unit.supports(x.clone().requires_grad_(), prepared)
    with torch.no_grad():
        assert triton_unit.supports(x.clone().requires_grad_(), prepared)
    with pytest.raises(InvalidInput, match=r"parameters \[1, C, 1\] beside it, got \[1, 16, 9\]"):
        triton_snake.snake(x, alpha[:, :3])
    with pytest.raises(InvalidInput, match=r"got 1 units and \[1, 16, 9\] torch.float16 on"):
        triton_chain.residual_stack(x.half(), [step])
    monkeypatch.setattr(triton_snake, "IS_INTERPRETED", False)
    assert triton_snake.supports(x, alpha) == x.is_cuda


def test_a_kernel_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(1, 16, 9)
    for module, kernel in ((triton_snake, "_forward"), (triton_unit, "_rest")):
        with monkeypatch.context() as patch, pytest.raises(UnsupportedOperation) as caught:
            patch.setattr(module, kernel, None)  # which cannot be launched
            triton_chain.residual_stack(x, [unit(16, 1, False, torch.float32)])
        assert "[1, 16, 9] torch.float32 on" in str(caught.value)
        assert "set VOCOS_KERNELS=reference, and please report this message" in str(caught.value)


def test_only_what_is_a_residual_unit_is_prepared_as_one() -> None:
    step = unit(16, 3, False, torch.float32)
    first, conv1, second, conv2 = step.steps
    assert isinstance(conv1, Convolution) and isinstance(conv2, Convolution)
    others = [
        (first, conv1._replace(weight=conv1.weight[:, :, :6]), second, conv2),
        (first, conv1._replace(stride=2), second, conv2),
        (first, conv1._replace(padding=8), second, conv2),
        (first, conv1._replace(bias=None), second, conv2),
        (first, conv1, second, conv2._replace(weight=conv2.weight[:8])),
        (first, conv1, second, conv2._replace(padding=1)),
        (first, conv1, second, conv2._replace(bias=None)),
        (conv1, first, second, conv2),
        (first, conv1, second),
    ]
    for inner in others:
        assert triton_unit.prepare(Residual(inner), torch.float32) is None
    assert triton_unit.prepare(step._replace(shortcut=Repeat(2)), torch.float32) is None
    assert triton_unit.prepare(unit(24, 1, False, torch.float32, taps=1), torch.float32) is None
    assert triton_unit.prepare(first, torch.float32) is None
    assert triton_unit.prepare(step, torch.float32) is not None


def test_tf32_follows_the_flag_of_convolutions() -> None:
    x = noise(1, 16, 9)
    for allowed in (False, True):  # the fixture restores it
        torch.backends.cudnn.allow_tf32 = allowed
        assert triton_unit.pays(x) == allowed
        assert triton_unit.pays(x.half())


def test_tf32_is_as_far_from_the_truth_as_rounding_to_it() -> None:
    torch.backends.cudnn.allow_tf32 = True  # the fixture restores it
    x, step = window((1, 64, 300), "channels-last", torch.float32), unit(64, 3, True, torch.float32)
    wanted = steps.apply(exact(step), exact(x))
    error = (triton_chain.residual_stack(x, [step]).cpu() - wanted).square().mean() / wanted.square().mean()
    assert error < 2e-7  # measured on an H200: 1.1e-7; ten times that with operands whose bits are dropped


@triton.jit
def _round(x, y):
    i = tl.arange(0, 8)
    tl.store(y + i, triton_unit.rounded(tl.load(x + i)))


def test_rounding_to_tf32_is_to_the_nearest() -> None:
    last, infinity = 2.0**-10, torch.inf
    x = torch.tensor([1 + 0.49 * last, -1 - 0.51 * last, 1 + 1.5 * last, 0.0, infinity, -infinity, 3e38, torch.nan])
    y = torch.empty_like(x, device=DEVICE)
    _round[(1,)](x.to(DEVICE), y)
    assert y[:6].tolist() == [1, -1 - last, 1 + 2 * last, 0, infinity, -infinity]
    assert 3e38 * (1 - last) < float(y[6]) < 3e38 * (1 + last)
    assert y[7].isnan()


def test_each_operation_is_one_graph_under_the_compiler() -> None:
    torch._dynamo.reset()
    units = [unit(16, 3, True, torch.float32)]
    last = parameters(16, True, torch.float32)
    alpha = noise(1, 16, 1).abs().requires_grad_()
    counter = CompileCounterWithBackend("aot_eager")

    @torch.compile(backend=counter, fullgraph=True)
    def both(x: Tensor) -> Tensor:
        with torch.no_grad():
            x = triton_chain.residual_stack(x, units, last)
        return triton_snake.snake(x, alpha)

    for samples in (40, 41, 70):
        x = noise(1, 16, samples)
        torch._dynamo.mark_dynamic(x, 2)
        given = both(x)
        wanted = triton_snake.snake(triton_chain.residual_stack(x, units, last), alpha)
        torch.testing.assert_close(given, wanted, rtol=0, atol=1e-5)  # the vendor may choose another algorithm
        gradients = (torch.autograd.grad(y.square().sum(), alpha)[0] for y in (given, wanted))
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
    assert counter.frame_count == 1


def test_operations_keep_the_rules_of_custom_operations() -> None:
    x, f, a = noise(2, 16, 12), noise(16), noise(16)
    torch.library.opcheck(triton_snake.periodic_op, (x.requires_grad_(), f.requires_grad_(), a.requires_grad_()))
    f, a, x = f.detach(), a.detach(), x.detach()
    prepared = triton_unit.prepare(unit(16, 1, False, torch.float32), torch.float32)
    assert prepared is not None
    weights = (*prepared[1:4], f, a, *prepared[5:])
    for rest in ((None, None, 1, True, None), (f, a, 4, True, None), (f, a, 1, False, noise(2, 32, 3))):
        torch.library.opcheck(triton_unit.unit_op, (x, x, *weights, *rest))


def test_kernels_are_imported_without_triton() -> None:
    program = "import sys; sys.modules['triton'] = None; import vocos.kernels, vocos.codecs.dac"
    subprocess.run([sys.executable, "-c", program], check=True)


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vocos.kernels import triton_chain, triton_snake, triton_unit

def ptx(kernel, capability, constants, floats, **options):
    kinds = {name: "*fp32" if name in floats else "*fp16" for name in kernel.arg_names}
    kinds |= {name: "i32" for name in kernel.arg_names if name[-2:] in ("_b", "_c", "_n")}
    kinds |= {name: "i32" for name in ("rows", "C", "N", "h_rows", "next_rows")}
    kinds |= {name: "constexpr" for name in constants}
    places = {name: (i,) for i, name in enumerate(kernel.arg_names)}
    source = ASTSource(
        kernel,
        {name: kinds[name] for name in kernel.arg_names},
        {places[name]: value for name, value in constants.items()},
        {places[name]: [["tt.divisibility", 16]] for name in kernel.arg_names if name not in constants},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert compiled.metadata.shared <= 99 * 1024, compiled.metadata.shared
    return compiled.asm["ptx"]

floats = ("frequency", "amplitude", "next_frequency", "next_amplitude", "bias", "bias1", "bias2", "sums")
tile = {"BLOCK_C": 32, "BLOCK_N": 32}
snake = ptx(triton_snake._forward, 90, tile | {"x_c": 1, "y_c": 1, "HAS_BIAS": True}, floats)
assert "ld.global.v4" in snake and "st.global.v4" in snake, "accesses of less than 16 bytes"
assert "sin.approx" not in snake
ptx(triton_snake._backward, 80, tile | {"grad_c": 1, "x_c": 1, "dx_c": 1, "HAS_SUMS": True}, floats)
for capability, product, channels in ((80, "mma.sync", 64), (90, "wgmma", 128)):
    tile = triton_unit._tile(channels, 2)._asdict()
    options = {name: tile.pop(name) for name in ("num_warps", "num_stages")}
    constants = {"C": channels, "DILATION": 3, "NEXT_DILATION": 9, "STRIDE": 4, "PRECISION": "ieee"}
    constants |= {"HAS_SUM": True, "HAS_NEXT": True}
    assert product in ptx(triton_unit._rest, capability, tile | constants, floats, **options), "no matrix units"
"""


@pytest.mark.skipif(not find_spec("triton.backends.nvidia"), reason="Triton without a compiler for these GPUs")
@pytest.mark.skipif(int(triton.__version__.split(".")[1]) < 6, reason="the compiler is called otherwise")
def test_kernels_compile_for_gpus_that_are_not_here(tmp_path: Path) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    result = subprocess.run(
        [sys.executable, "-c", COMPILE], check=False, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
