"""The public implementations, from the `bench` extra, on weights that ours wrote. Each is imported on use."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.cases import Network
from bench.contestants import Local, Remote
from bench.plain import PlainDacVae
from bench.pypi_worker import allow_torchaudio
from bench.weights import ENCODEC_FILE
from vocos.codecs.dacvae import DacVaeConfig
from vocos.errors import UnsupportedOperation
from vocos.voco import Voco


@dataclass(frozen=True)
class Peer:
    """An implementation, loaded.

    Attributes:
        name: with its version.
        encode: audio `[B, C, N]` -> latents `[B, D, L]`, if it is to be timed.
        decode: the reverse.
    """

    name: str
    encode: Callable[[Tensor], Tensor] | None = None
    decode: Callable[[Tensor], Tensor] | None = None


def _import(module: str, distribution: str) -> Any:
    allow_torchaudio()
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # transformers and diffusers raise the last
        reason = " ".join(str(error).split())[:200]
        raise UnsupportedOperation(
            f"{distribution} cannot be imported: {reason}; pip install '.[bench]' in the checkout"
        ) from error


def _named(distribution: str, what: str) -> str:
    return f"{what}, {distribution} {importlib.metadata.version(distribution)}"


def _transformers(folder: Path, ours: Voco[Any]) -> Peer:
    model = _import("transformers", "transformers").DacModel.from_pretrained(str(folder)).eval()
    return Peer(_named("transformers", "DacModel"), model.encoder, model.decoder)


def _diffusers(folder: Path, ours: Voco[Any]) -> Peer:
    model = _import("diffusers", "diffusers").AutoencoderOobleck
    model = model.from_pretrained(str(folder), low_cpu_mem_usage=False).eval()  # else it warns of a package
    return Peer(
        _named("diffusers", "AutoencoderOobleck"),
        lambda audio: model.encode(audio).latent_dist.mode(),
        lambda latents: model.decode(latents).sample,
    )


def _encodec(folder: Path, ours: Voco[Any]) -> Peer:
    model = _import("encodec", "encodec").EncodecModel.encodec_model_24khz(pretrained=False).eval()
    state = torch.load(folder / ENCODEC_FILE, weights_only=True)
    for half in ("encoder", "decoder"):
        named = {name.partition(".")[2]: tensor for name, tensor in state.items() if name.startswith(f"{half}.")}
        getattr(model, half).load_state_dict(named)
    return Peer(_named("encodec", "EncodecModel"), model.encoder, model.decoder)


def _mimi(folder: Path, ours: Voco[Any]) -> Peer:
    model = _import("transformers", "transformers").MimiModel.from_pretrained(str(folder)).eval()
    hop = ours.hop_length
    return Peer(
        _named("transformers", "MimiModel"),
        lambda audio: model.encoder(F.pad(audio, (0, -audio.shape[-1] % hop))).latents,
        lambda latents: model.decoder(latents).audio_values,
    )


def _snac(folder: Path, ours: Voco[Any]) -> Peer:
    model = _import("snac", "snac").SNAC.from_config(str(folder / "config.json")).eval()
    model.load_state_dict(torch.load(folder / "pytorch_model.bin", weights_only=True), strict=False)
    return Peer(_named("snac", "SNAC"), lambda audio: model.encoder(model.preprocess(audio)), model.decoder)


def _wavtokenizer(folder: Path, ours: Voco[Any]) -> Peer:
    model = _import("transformers", "transformers").WavTokenizerModel.from_pretrained(str(folder)).eval()
    return Peer(
        _named("transformers", "WavTokenizerModel"),
        model.encoder_model.encoder,
        lambda latents: model.head(model.backbone(latents, torch.zeros(1, dtype=torch.int64))).view(
            len(latents), 1, -1
        ),
    )


def _plain(folder: Path, ours: Voco[Any]) -> Peer:
    model = PlainDacVae(DacVaeConfig.parse(ours.config), ours.network.state_dict()).eval()
    return Peer("plain modules with weight norm", model.encode, model.decode)


PEERS: dict[str, Callable[[Path, Voco[Any]], Peer]] = {
    "transformers": _transformers,
    "diffusers": _diffusers,
    "encodec": _encodec,
    "mimi": _mimi,
    "snac": _snac,
    "wavtokenizer": _wavtokenizer,
    "plain": _plain,
}


def contestant(
    network: Network, work: str, folder: Path, ours: Voco[Any], pypi_python: str | None
) -> tuple[str, Local | Remote]:
    """The name of a network's peer, with its version, and the peer at work.

    Args:
        network: which.
        work: "encode" or "decode".
        folder: with what `weights.write` wrote.
        ours: on the same weights.
        pypi_python: Python that has PyPI's vocos, if there is one.

    Raises:
        UnsupportedOperation: if it is not installed.
    """
    if network.peer != "vocos":
        peer = PEERS[network.peer](folder, ours)
        function = peer.encode if work == "encode" else peer.decode
        if function is None:
            raise UnsupportedOperation(f"{peer.name} is not set up to {work}")
        return peer.name, Local(function)
    if not pypi_python:
        raise UnsupportedOperation(
            "PyPI's vocos has the name of this package: install it in an environment of its own, and pass "
            "--pypi-python, as make bench does"
        )
    remote = Remote(pypi_python, folder)
    return remote.name, remote
