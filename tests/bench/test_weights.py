"""Random weights: files that both sides read, and signals that neither vanish nor saturate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from bench import weights
from bench.cases import NETWORKS, Network
from bench.measure import SIZES, TOLERANCE, Ours, given, relative_error
from bench.peers import PEERS

from vocos.errors import UnsupportedOperation

RATES: dict[str, Any] = {
    "encoder_dim": 4,
    "encoder_rates": [2, 4],
    "latent_dim": 16,
    "decoder_dim": 16,
    "decoder_rates": [4, 2],
    "sample_rate": 8000,
}
SMALL: dict[str, dict[str, Any]] = {
    "dac": {**RATES, "n_codebooks": 2, "codebook_size": 16},
    "dacvae": RATES,
    "oobleck": {
        "encoder_hidden_size": 16,
        "downsampling_ratios": [2, 4],
        "channel_multiples": [1, 2],
        "decoder_channels": 16,
        "decoder_input_channels": 8,
    },
    "encodec": {"n_codebooks": 2},  # the peer has one size
    "mel": {"dim": 16, "intermediate_dim": 32, "num_layers": 2},
    "mimi": {
        "num_filters": 4,
        "hidden_size": 32,
        "latent_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "head_dim": 8,
        "intermediate_size": 48,
        "sliding_window": 6,
        "codebook_size": 32,
        "codebook_dim": 12,
        "num_quantizers": 3,
    },
    "snac": {"encoder_dim": 6, "decoder_dim": 64, "codebook_size": 32, "noise": False},
    "wavtokenizer": {
        "num_filters": 4,
        "hidden_size": 16,
        "codebook_size": 64,
        "decoder_hidden_size": 32,
        "decoder_intermediate_size": 48,
        "decoder_num_layers": 2,
        "decoder_attention_num_groups": 8,
    },
}


def small(name: str) -> Network:
    network = NETWORKS[name]
    return Network(network.voco, network.peer, network.layout, SMALL[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_written_is_read_and_keeps_a_signal_its_size(name: str, tmp_path: Path) -> None:
    weights.write(small(name), tmp_path)
    voco = weights.read(small(name), tmp_path)
    for work in ("encode", "decode"):
        ours = Ours(voco, work)
        ours.prepare(given(voco, work, 0.5, batch=1))
        ours.run()
        assert SIZES[0] < ours.output().std() < SIZES[1]
    again = weights.read(small(name), tmp_path, "bfloat16")
    assert again.dtype == torch.bfloat16


def test_weights_are_the_same_every_time(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        weights.write(small("dac"), folder)
    first, second = (weights.read(small("dac"), folder).state_dict() for folder in folders)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", [name for name in NETWORKS if NETWORKS[name].peer in PEERS])
def test_peer_on_the_same_files_gives_the_same_numbers(name: str, tmp_path: Path) -> None:
    weights.write(small(name), tmp_path)
    voco = weights.read(small(name), tmp_path)
    try:
        peer = PEERS[small(name).peer](tmp_path, voco)
    except UnsupportedOperation as error:
        pytest.skip(str(error))
    for work, function in (("encode", peer.encode), ("decode", peer.decode)):
        if function is not None:
            tensor = given(voco, work, 0.37, batch=2)[..., : 2000 // 8 * 8]
            ours = Ours(voco, work)
            ours.prepare(tensor)
            ours.run()
            with torch.inference_mode():
                assert relative_error(ours.output(), function(tensor)) < TOLERANCE
