"""What a dataset is to hold, and its manifest, which says what it holds: codec, weights, engine, options."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vocos import kernels
from vocos._version import __version__
from vocos.data.containers import CONTAINERS, check
from vocos.data.durable import durably
from vocos.data.plan import Plan
from vocos.data.sound import CHANNELS
from vocos.errors import CheckpointError, InvalidInput
from vocos.kernels import steps
from vocos.registry import get_voco
from vocos.voco import Voco
from vocos.voco.variational import VariationalVoco
from vocos.weights.shards import parts_of

NAME = "manifest.json"
VERSION = 1
FLOATS = ("float16", "bfloat16", "float32")


@dataclass(frozen=True)
class Settings:
    """What is made of audio, and how it is stored.

    Attributes:
        voco: name of the codec.
        weights: as of `get_voco`; a path is made absolute.
        kind: "latents" or "codes".
        dtype: of stored latents: "float16", "bfloat16" or "float32". Codes have the smallest integers that hold them.
        n_codebooks: codes of a frame, None for all.
        bandwidth: instead of that, the rate in kbps, of a codec that has rates.
        draw: whether latents of a Gaussian bottleneck are drawn or means; None for what the codec does.
        channels: "mix", "split" or "first", as of `sound.parts`.
        seed: of what is drawn.
        to: "shards" (safetensors), "webdataset" or "parquet".
        device: what the codec runs on, such as "cpu" or "cuda"; its kind is part of what makes a dataset.
    """

    voco: str
    weights: str | None = None
    kind: str = "latents"
    dtype: str = "float16"
    n_codebooks: int | None = None
    bandwidth: float | None = None
    draw: bool | None = None
    channels: str = "mix"
    seed: int = 0
    to: str = "shards"
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, known in (
            ("kind", ("latents", "codes")),
            ("dtype", FLOATS),
            ("channels", CHANNELS),
            ("to", tuple(CONTAINERS)),
        ):
            if getattr(self, name) not in known:
                raise InvalidInput(
                    f"dataset: expected {name} as one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.weights is not None and Path(self.weights).exists():
            object.__setattr__(self, "weights", str(Path(self.weights).absolute()))
        check(self.to, self.dtype if self.kind == "latents" else "int32")

    def codec(self, device: str | None = None) -> Voco[Any]:
        """The codec, not loaded: its encoder alone, where it can be halved."""
        place = device or self.device
        voco = get_voco(self.voco, weights=self.weights, device=place)
        if voco.halves is not None:
            voco = get_voco(self.voco, weights=self.weights, device=place, part="encoder")
        return voco

    def check(self, voco: Voco[Any]) -> None:
        """Raise InvalidInput or UnsupportedOperation if the codec cannot do that."""
        if self.kind == "codes":
            self.codebooks(voco)
        elif self.draw is not None and not isinstance(voco, VariationalVoco):
            raise InvalidInput(
                f"dataset: the latents of {voco.name} are not drawn from anything; leave --mean and --draw out"
            )

    def codebooks(self, voco: Voco[Any]) -> int:
        """How many codebooks the codes are of."""
        return voco.count_codebooks("dataset", self.n_codebooks, self.bandwidth)

    def drawn(self, voco: Voco[Any]) -> bool:
        """Whether what is stored depends on the seed."""
        if self.kind == "codes" or not isinstance(voco, VariationalVoco):
            return False
        return voco.sample if self.draw is None else self.draw

    def stored_dtype(self, voco: Voco[Any]) -> str:
        """The type of stored numbers."""
        if self.kind == "latents":
            return self.dtype
        entries = voco.codebook_shape("dataset")[1]
        return "uint8" if entries <= 1 << 8 else "int16" if entries <= 1 << 15 else "int32"

    def size(self, voco: Voco[Any]) -> int:
        """Numbers of a frame."""
        return voco.latent_dim if self.kind == "latents" else voco.columns_of(self.codebooks(voco))

    def hop_length(self, voco: Voco[Any]) -> int:
        """Samples of a frame."""
        return voco.hop_length if self.kind == "latents" else voco.code_hop_length


def manifest_of(settings: Settings, voco: Voco[Any], plan: Plan) -> dict[str, Any]:
    """What the manifest of a dataset says. The codec need not be loaded, but its files are fetched and read."""
    settings.check(voco)
    hop = settings.hop_length(voco)
    return {
        "vocos_dataset": VERSION,
        "vocos": __version__,
        "torch": torch.__version__,
        "engine": f"{kernels.engine(torch.device(settings.device), torch.float32)} on {settings.device}",
        "voco": voco.name,
        "weights": weights_of(voco),
        "settings": {key: value for key, value in asdict(settings).items() if key not in ("voco", "device")},
        "license": voco.license,
        "restrictions": voco.restrictions,
        "kind": settings.kind,
        "size": settings.size(voco),
        "dtype": settings.stored_dtype(voco),
        "is_drawn": settings.drawn(voco),
        "sampling_rate": voco.sampling_rate,
        "channel": voco.channel,
        "hop_length": hop,
        "frame_rate": voco.sampling_rate / hop,
        "n_codebooks": settings.codebooks(voco) if settings.kind == "codes" else None,
        "codebook_size": voco.codebook_size if settings.kind == "codes" else None,
        "receptive_field": receptive_field(voco, hop),
        "plan": {"items": plan.items, "shards": len(plan.shards), "sha256": plan.sha256},
    }


def weights_of(voco: Voco[Any]) -> dict[str, Any]:
    """Where the weights come from, and the SHA-256 of each of their files."""
    files: dict[str, Path] = {}
    for path in voco.fetch():
        files[path.name] = path
        if path.name.endswith(".index.json"):
            files |= {name: path.parent / name for name in parts_of(path)}
    return {
        "source": voco.source,
        "revision": voco.revision,
        "sha256": {name: _sha256(path) for name, path in sorted(files.items())},
    }


@functools.lru_cache(maxsize=64)
def _sha256_of(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sha256(path: Path) -> str:
    status = path.stat()
    return _sha256_of(path.resolve(), status.st_size, status.st_mtime_ns)


def receptive_field(voco: Voco[Any], hop: int) -> dict[str, int] | None:
    """What a frame depends on, from the layers, without weights; None if that is all of the audio.

    Returns:
        `samples_before` the first sample of a frame and `samples_after` the first one after it that it reads, and of a
        cut, `frames_before` and `frames_after`: how many at its start and at its end are not those of the cut audio.
    """
    if voco.stream_obstacle("encoder") is not None:
        return None
    chain = voco.encoder_steps(voco.weights.empty_network({}))
    frame = 1 << 24  # far from the start, and a multiple of every group
    size = hop // voco.hop_length
    try:
        low, high = steps.span(chain, frame * size, (frame + 1) * size)
        is_aligned = hop % steps.period(chain)[0] == 0
    except (AttributeError, NotImplementedError):  # a layer that remembers all of the past, such as an LSTM
        return None
    if not is_aligned:  # windows of several frames, which a cut moves
        return None
    before, after = max(0, frame * hop - low), max(0, high - (frame + 1) * hop)
    return {
        "samples_before": before,
        "samples_after": after,
        "frames_before": -(-before // hop),
        "frames_after": -(-after // hop),
    }


def settings_of(manifest: Mapping[str, Any], device: str | None = None) -> Settings:
    """The settings that a dataset was made with. Raises CheckpointError if the manifest does not say them."""
    try:
        return Settings(voco=manifest["voco"], **manifest["settings"], device=device or _device(manifest))
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{NAME}: not that of a dataset: {error}") from error


def _device(manifest: Mapping[str, Any]) -> str:
    return str(manifest["engine"]).rpartition(" on ")[2]


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a dataset.

    Raises:
        InvalidInput: if there is none.
        CheckpointError: if it is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        raise InvalidInput(f"{folder}: not a dataset, it has no {NAME}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["vocos_dataset"] != VERSION:
            raise CheckpointError(f"{path}: version {manifest['vocos_dataset']} of the format; update vocos")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not the manifest of a dataset, or damaged: {error}") from error
    return dict(manifest)


def settle(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a dataset; one that is there already stays, and has to be the same.

    Raises:
        InvalidInput: naming what is different.
        OSError: if it cannot be written.
    """
    path = folder / NAME
    if not path.exists():
        with durably(path, replace=False) as stream:
            stream.write(json.dumps(manifest, indent=2, ensure_ascii=True).encode("ascii") + b"\n")
    if found := list(differences(read(folder), json.loads(json.dumps(manifest)))):
        raise InvalidInput(
            f"{folder}: was begun with {'; '.join(found)}; give what it was begun with, or another folder"
        )


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """What two manifests say differently."""
    for key in [*before, *(key for key in now if key not in before)]:
        one, other = before.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from differences(one, other, f"{prefix}{key} ")
        elif one != other:
            yield f"{prefix}{key} {one!r}, this is {other!r}"
