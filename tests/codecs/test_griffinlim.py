"""Sound with no weights: how good it is, and that it is always the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import vocos
from vocos import get_voco
from vocos.codecs.griffinlim import GriffinLimConfig, GriffinLimNetwork
from vocos.files import audio


@pytest.fixture(scope="module")
def sample() -> torch.Tensor:
    sound, sampling_rate = audio.read(Path(vocos.__file__).parent / "assets" / "sample.flac")
    return audio.convert(sound, sampling_rate, 24000, 1)[0]


def convergence(given: torch.Tensor, wanted: torch.Tensor) -> float:
    """Relative error of magnitudes."""
    return float((given - wanted).norm() / wanted.norm())


def test_spectrum_of_the_sound_is_nearly_the_one_asked_for(sample: torch.Tensor) -> None:
    voco = get_voco("griffinlim")
    latents = voco.encode(sample)
    sound = voco.decode(latents, length=sample.shape[1])
    assert convergence(voco.encode(sound).exp(), latents.exp()) < 0.08  # measured: 0.063
    assert 0.5 < float(sound.square().mean() / sample.square().mean()) < 1.5


def test_momentum_and_steps_help(sample: torch.Tensor) -> None:
    def error(**sizes: int) -> float:
        network = GriffinLimNetwork(GriffinLimConfig(**sizes))
        latents = network.features(sample[:, :48000, 0])
        sound = network.decode(latents, 48000)
        return convergence(network.features(sound)[:, : latents.shape[1]].exp(), latents.exp())

    assert error() < error(n_phase_steps=8) < error(n_phase_steps=1)
    assert error() < error(n_magnitude_steps=1)


def test_magnitudes_are_never_negative_and_fit_the_mel_bands(sample: torch.Tensor) -> None:
    network = GriffinLimNetwork(GriffinLimConfig())
    mel = network.features(sample[:, :24000, 0]).exp()
    spectrum = network.magnitude(mel)
    assert (spectrum >= 0).all()
    assert convergence(spectrum @ network.features.filters, mel) < 0.002  # measured: 0.0009


def test_global_random_numbers_are_left_alone_and_do_not_matter(sample: torch.Tensor) -> None:
    voco = get_voco("griffinlim")
    latents = voco.encode(sample[:, :12000])
    torch.manual_seed(1)
    one = voco.decode(latents)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(2)
    assert torch.equal(voco.decode(latents), one)


def test_latents_are_those_of_mel(sample: torch.Tensor) -> None:
    mel = get_voco("mel")
    voco = get_voco("griffinlim")
    for fact in ("sampling_rate", "channel", "latent_dim", "hop_length", "minimum_samples"):
        assert getattr(mel, fact) == getattr(voco, fact)
    features = mel.build(mel.weights.row.config).features
    latents = features(sample[:, :5000, 0])
    torch.testing.assert_close(voco.encode(sample[:, :5000]), latents)


def test_silence_stays_silent() -> None:
    voco = get_voco("griffinlim")
    assert voco.decode(voco.encode(torch.zeros(1, 5000, 1))).abs().max() < 1e-6
