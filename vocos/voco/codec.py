"""What the author of a codec gives, in one class: facts, lengths, a network, two directions, and where weights are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic

import torch
from einops import rearrange
from torch import Tensor, nn

from vocos import kernels
from vocos.config import Config
from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.nn.length import Length, ceil_div
from vocos.nn.quantize import affordable_codebooks
from vocos.voco import checks
from vocos.voco.codes import ScaledCodes
from vocos.voco.facts import Described, Facts, Steps
from vocos.voco.lazy import LazyModule
from vocos.weights.export import Target
from vocos.weights.formats import Format
from vocos.weights.hub import Layouts
from vocos.weights.location import Location
from vocos.weights.source import Checkpoint, Source
from vocos.weights.tensors import TensorFile
from vocos.weights.weights import ConfigT, Weights


class Codec(Described, LazyModule, Generic[ConfigT]):
    """A codec as its author describes it. `vocos.Voco` adds what users call; authors subclass that.

    The attributes, and the methods down to "What follows", are what an author may give. Only `config_type`, `describe`,
    `build`, `encoder_steps` or `to_latents`, and `decoder_steps` or `to_audio` have to be given.

    Args:
        location: where the weights are; None for the default checkpoint.
        device: device of the weights once they are loaded, None for the CPU.
        dtype: floating-point type of the weights once they are loaded, None for float32.

    Attributes:
        config_type: the dataclass of the hyperparameters.
        checkpoints: what each registered name of this architecture stands for, the default first; none for a codec
            without weights whose config has defaults for all.
        known: other public checkpoints that can be read.
        layouts: file names of config and weights that are looked for, besides those that `save` writes.
        formats: names that public files give the tensors, besides those that `save` writes.
        targets: layouts that `export` writes, besides our own.
        halves: attributes of the network that only the "encoder" needs, and those that only the "decoder" needs; both
            halves need the rest. The network of a config may lack some. None for a codec that cannot be halved.
        weightless: the halves, of "encoder" and "decoder", that have no weights and so need no file.
        without_chance: options of the calls "encode" and "decode", and of their streams, under which they draw nothing.
        unstreamable: for a half of "encoder" and "decoder" that needs the whole signal, the reason in a few words.
        weights: the weights: their location, their config, and how a network gets them.
    """

    config_type: ClassVar[type[Config]]
    checkpoints: ClassVar[Mapping[str, Checkpoint[Any]]] = {}
    known: ClassVar[tuple[Source, ...]] = ()
    layouts: ClassVar[Layouts] = ()
    formats: ClassVar[tuple[Format[Any], ...]] = ()
    targets: ClassVar[tuple[Target[Any], ...]] = ()
    halves: ClassVar[Mapping[str, tuple[str, ...]] | None] = None
    weightless: ClassVar[tuple[str, ...]] = ()
    without_chance: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    unstreamable: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        location: Location | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(device, dtype)
        self.weights: Weights[ConfigT] = Weights(self, location)
        self._described: tuple[ConfigT, Facts] | None = None

    def describe(self, config: ConfigT) -> Facts:
        """The facts that follow from a config."""
        raise NotImplementedError

    def build(self, config: ConfigT) -> nn.Module:
        """The network of a config. It is built on the meta device, so nothing may be computed for its parameters."""
        raise NotImplementedError

    def encoder_steps(self, network: Any) -> Steps:
        """What makes latents `[B, latent_dim, L]` of audio `[B, channel, N]`, L = `frames(N)`, step by step.

        The steps are those of `vocos.kernels`; a module that is `kernels.Chained` is one by `nn.hooked.step_of`. The
        network may be on the meta device. From the steps follow whole calls, streams and their delay.
        """
        raise NotImplementedError

    def decoder_steps(self, network: Any) -> Steps:
        """What makes audio `[B, channel, N]` of latents `[B, latent_dim, L]`, N >= `samples(L)`, step by step."""
        raise NotImplementedError

    def to_latents(self, audio: Tensor) -> Tensor:
        """Latents of audio, as `encoder_steps`; given instead of them where a frame depends on all of the audio."""
        return self.run_steps(self.encoder_steps(self.network), audio)

    def to_audio(self, latents: Tensor, length: int) -> Tensor:
        """Audio of latents, as `decoder_steps`; or instead of them. `length` are wanted, N may differ."""
        return self.run_steps(self.decoder_steps(self.network), latents, self.hop_length)

    def frames(self, samples: Length) -> Length:
        """Frames of a number of samples, 1 or more, in arithmetic that works on integers and on integer tensors.

        Unless a codec says otherwise, ceil(samples / hop_length).
        """
        return ceil_div(samples, self.hop_length)

    def samples(self, frames: Length) -> Length:
        """Samples of a number of frames, 1 or more, in arithmetic as of `frames`.

        Unless a codec says otherwise, hop_length for each frame.
        """
        return frames * self.hop_length

    def quantize(self, latents: Tensor, n_codebooks: int) -> Tensor:
        """Codes `[B, n_codebooks, L]` of latents `[B, latent_dim, L]`, searched in float32; of a codec with codes.

        Of codebooks at several rates, `[B, columns_of(n_codebooks), L / code_frames]`. Unless a codec says otherwise,
        its network has a `quantizer`.
        """
        codes: Tensor = self.network.quantizer.encode(latents, n_codebooks)
        return codes

    def dequantize(self, codes: Tensor) -> Tensor:
        """Latents `[B, latent_dim, L]` of codes as of `quantize`; of a codec with codes."""
        latents: Tensor = self.network.quantizer.decode(codes)
        return latents

    def pack_codes(self, latents: Tensor, n_codebooks: int) -> Tensor:
        """The codes `[B, L, n_codebooks]` that calls return for latents `[B, L, D]`."""
        return rearrange(self.quantize(rearrange(latents, "b l d -> b d l"), n_codebooks), "b k l -> b l k")

    def unpack_codes(self, codes: Tensor) -> Tensor:
        """Latents `[B, L, D]` of the codes that a call was given."""
        return rearrange(self.dequantize(rearrange(codes, "b l k -> b k l").long()), "b d l -> b l d")

    def encode_codes_steps(self, network: Any, n_codebooks: int) -> Steps:
        """What makes codes of audio, as of `quantize`, as far as `given_codes` does not."""

        def packed(latents: Tensor) -> Tensor:
            checks.finite(latents.mT, "encode_codes: latents of the audio")
            return self.pack_codes(latents.mT.to(self.dtype), n_codebooks).mT

        return *self.encoder_steps(network), kernels.Grouped(packed, self.code_frames, 1)

    def given_codes(self, found: Tensor) -> Any:
        """Codes as calls return them, of what `encode_codes_steps` makes, `[B, L, n_codebooks]`."""
        return found

    def decode_codes_steps(self, network: Any, **options: Any) -> Steps:
        """What makes audio of codes `[B, k, L]`, whatever their integer type; options as of `decoder_steps`."""

        def unpacked(codes: Tensor) -> Tensor:
            return self.unpack_codes(codes.mT).to(self.dtype).mT

        return kernels.Grouped(unpacked, 1, self.code_frames), *self.decoder_steps(network, **options)

    def options_for(self, x: Tensor, call: str, options: dict[str, Any]) -> dict[str, Any]:
        """Options of a stream, completed by what its first piece tells."""
        return options

    def check_codes(self, codes: Tensor, call: str) -> None:
        """Raise InvalidInput unless these are codes that this codec can decode."""
        codebooks, entries = self.codebook_shape(call)
        if isinstance(codes, ScaledCodes):
            raise InvalidInput(f"{call}: {self.name} takes a plain tensor, got ScaledCodes; give their .codes")
        if isinstance(codes, Tensor) and codes.ndim == 3 and codes.shape[2] in map(self.codebooks_for, self.bandwidths):
            codebooks = max(
                codebooks, codes.shape[2]
            )  # a bandwidth of the call may have more than the codec has by default
        checks.codes(codes, [self.columns_of(count) for count in range(1, codebooks + 1)], entries, call)

    def codebooks_for(self, bandwidth: float) -> int:
        """Codebooks that a bandwidth in kbps pays for, at least one."""
        return affordable_codebooks(bandwidth, self.codebook_size or 2, self.frame_rate)

    def parse(self, data: Mapping[str, Any]) -> ConfigT:
        """The config of a checkpoint's file."""
        return self.config_type.parse(data)  # type: ignore[return-value]

    def complete(self, config: ConfigT, shapes: Mapping[str, tuple[int, ...]]) -> ConfigT:
        """The config, completed with what only the shapes of the tensors tell, which is usually nothing."""
        return config

    def companion(self) -> tuple[Format[ConfigT], TensorFile]:
        """The format and the second file of a checkpoint whose format lacks some tensors (`Format.lacks`)."""
        raise NotImplementedError

    # What follows

    def run_steps(self, steps: Steps, x: Tensor, rate: int = 1, result: Tensor | None = None) -> Tensor:
        """Steps on a whole signal; see `kernels.whole`."""
        return kernels.whole(steps, x, self.network.parameters(), rate, result)

    @property
    def cast(self) -> kernels.Window:
        """A step that gives numbers the dtype of the module."""
        return kernels.Window(lambda x: x.to(self.dtype))

    def stream_obstacle(self, part: str) -> str | None:
        """Why a half of the codec, "encoder" or "decoder", cannot work on a stream; None if it can."""
        if part in self.unstreamable:
            return self.unstreamable[part]
        hook, whole = {"encoder": ("encoder_steps", "to_latents"), "decoder": ("decoder_steps", "to_audio")}[part]
        if getattr(type(self), hook) is getattr(Codec, hook):
            return f"its class gives {whole}, for whole signals, and not {hook}"
        return None

    @property
    def name(self) -> str:
        """The registered name."""
        return self.weights.name

    @property
    def hyperparameters(self) -> ConfigT:
        """The config in force."""
        return self.weights.config

    @property
    def config(self) -> dict[str, Any]:
        """The hyperparameters in force, as plain data."""
        return self.hyperparameters.as_dict()

    @property
    def facts(self) -> Facts:
        """All facts, computed once for the config in force."""
        config, known = self.weights.config, self._described
        if known is None or known[0] is not config:
            known = self._described = config, self.describe(config)
        return known[1]

    def codebook_shape(self, call: str) -> tuple[int, int]:
        """Codebooks of the codec, and entries of each. Raises UnsupportedOperation if it has none."""
        if self.n_codebooks is None or self.codebook_size is None:
            raise UnsupportedOperation(
                f"{call}: {self.name} has no codes, only continuous latents; dac and encodec have codes"
            )
        return self.n_codebooks, self.codebook_size

    @property
    def part(self) -> str | None:
        """The half that is read and held, "encoder" or "decoder"; None for both."""
        return self.weights.part

    @property
    def source(self) -> str | None:
        """Where the weights come from; None for a codec that has none."""
        return self.weights.source

    @property
    def revision(self) -> str | None:
        """Commit of the weights on the Hub once they are loaded, before that the revision asked for; None elsewhere."""
        return self.weights.revision

    @property
    def license(self) -> str | None:
        """Identifier of the licence of the weights, None if none is stated."""
        return self.weights.license

    @property
    def restrictions(self) -> list[str]:
        """Sentences that a user of the weights must know: whether they are gated, or not for commercial use."""
        return self.weights.restrictions

    @property
    def alternatives(self) -> list[str]:
        """Calls of `get_voco` for public weights of this codec, with their licences; empty if its own are public."""
        return self.weights.alternatives

    def fetch(self) -> list[Path]:
        """Download the files of the weights, without loading them, and give their paths: the config's first."""
        return self.weights.fetch()

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` and `config.json`, which `get_voco(name, weights=folder)` reads back.

        A half, of `part=`, is read back with the same `part=`. An older file is replaced only by a complete one.
        """
        self.export(folder, "vocos")

    def export(self, folder: str | Path, target: str) -> list[Path]:
        """Write the weights in a public layout, or "vocos" for our own, and give the paths of the files.

        Raises:
            InvalidInput: if the codec has no such layout, or it cannot hold these weights.
            UnsupportedOperation: if the codec has no weights, or only half of them for a layout that is not ours.
        """
        return self.weights.export(Path(folder), target, self._state)

    def _state(self) -> dict[str, Tensor]:
        self.load()
        with self._at_hand():
            return self.network.state_dict()

    def _empty_network(self, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
        return self.weights.empty_network(shapes)

    def _loaded_network(self) -> nn.Module:
        return self.weights.network(self._device, self._dtype)
