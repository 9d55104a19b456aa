"""Calls spread over time: a stream takes its input in pieces, and gives every value as soon as it is final.

Put together, its outputs are those of the call on the whole, for every partition into pieces. The arithmetic is that of
`vocos.kernels.stream`; here are the checks, and what users hold in their hands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from vocos import kernels
from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.kernels import steps, stream
from vocos.voco import checks
from vocos.voco.codec import Codec
from vocos.voco.codes import ScaledCodes
from vocos.voco.facts import Steps

SETTLED = 1 << 20  # frames from the start, past which nothing of the start is left


class Position(NamedTuple):
    """How far a stream has come, in each row: an int, or for joined streams that differ one for each row.

    Attributes:
        taken: inputs: samples of audio, or frames.
        given: outputs.
    """

    taken: int | tuple[int, ...]
    given: int | tuple[int, ...]


class Stream:
    """One direction of a codec, spread over time. The methods of `Voco` whose names end in `_stream` make one.

    A stream that an error has come out of is as it was before the call. Two streams of one codec do not know of each
    other, and threads may each push their own.

    Args:
        codec: whose direction it is.
        call: the call that is spread: "encode", "decode", "encode_codes" or "decode_codes".
        batch: rows of every piece.
        make: what makes the steps of a network, as of `Codec.encoder_steps`, with the options.
        options: of the call.
    """

    def __init__(
        self, codec: Codec[Any], call: str, batch: int, make: Callable[..., Steps], options: dict[str, Any]
    ) -> None:
        self._codec, self.call, self._make, self._options = codec, call, make, options
        self._part = "encoder" if call.startswith("encode") else "decoder"
        codec.weights.require(self._part, f"{call}_stream")
        obstacle = codec.stream_obstacle(self._part)
        if obstacle is not None:
            raise UnsupportedOperation(
                f"{call}_stream: {codec.name} has no stream in this direction: {obstacle}; use {call} on the whole"
            )
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise InvalidInput(f"{call}_stream: expected batch as a number of rows, 1 or more, got {batch!r}")
        self.batch = batch
        self._steps: tuple[Any, Steps] | None = None  # of one network
        self._hollow: Any = None
        self._dtype: torch.dtype | None = None  # of the pieces
        self._begin()

    def _begin(self) -> None:
        self._states: tuple[Any, ...] | None = None
        self._device: torch.device | None = None
        self._taken, self._given = (0,) * self.batch, (0,) * self.batch
        self._is_finished = False

    # Pushing

    def push(self, x: Any) -> Any:
        """The outputs that are final once this piece is known, in order, each once.

        Args:
            x: audio `[batch, any, channel]`, latents `[batch, any, latent_dim]` or codes `[batch, any, k]`, as the call
                on the whole takes them; 0 of them are a piece, too. Of `ScaledCodes`, the scales are those of the
                chunks that begin within the piece.

        Returns:
            What the call on the whole returns, as far as it is final: `[batch, 0 or more, ...]`.

        Raises:
            InvalidInput: if the shape, dtype or device is another than before or than expected, or after `finish`.
            WeightsUnavailable, CheckpointError: as `load`, which the first push does.
        """
        self._check(x)
        self._codec.load()
        device = x.device
        checks.device(x, self._codec.device, f"{self.call}_stream.push")
        if self._device not in (None, device):
            raise InvalidInput(
                f"{self.call}_stream.push: the codec was moved to {device} meanwhile; reset() begins anew"
            )
        if self._states is None and isinstance(x, Tensor):
            self._options = self._codec.options_for(x, self.call, self._options)
        found, states = self._advance(x if x.shape[1] else None, False)
        self._dtype, self._device = self._dtype or x.dtype, device
        self._states = states
        return self._after(x.shape[1], found)

    def finish(self, length: int | None = None) -> Any:
        """The rest: what the end of the signal adds. Afterwards the stream takes nothing more until `reset`.

        Args:
            length: of a stream that decodes, samples of the whole signal, as of `decode`: the rest is cut, or completed
                with what the codec has past its end, then with zeros.

        Returns:
            As `push`.

        Raises:
            InvalidInput: if the stream has ended before, took less than the codec needs, or has given more than that.
        """
        call = f"{self.call}_stream.finish"
        self._require_open(call)
        taken, given = self._taken[0], self._given[0]
        minimum = self._codec.minimum_samples if self._part == "encoder" else self._codec.minimum_frames
        if min(self._taken) * (self.latent_frames if self._part == "decoder" else 1) < max(1, minimum):
            unit = "samples" if self._part == "encoder" else "frames"
            raise InvalidInput(
                f"{call}: {self._codec.name} needs {max(1, minimum)} {unit} or more, the stream has {min(self._taken)}"
            )
        wanted: int | None = None
        if self._part == "decoder":
            wanted = checks.length(length, call)
            if wanted is not None and len({*self._taken}) > 1:
                raise InvalidInput(
                    f"{call}: rows of joined streams differ in length; split() them, or leave length= out"
                )
            if wanted is not None and wanted < given:
                raise InvalidInput(
                    f"{call}: expected length of at least {given}, which are out already, got {wanted}; call finish() "
                    "and cut what was given"
                )
            wanted = self._codec.samples(taken * self.latent_frames) if wanted is None else wanted
        elif length is not None:
            raise InvalidInput(f"{call}: length= is for streams that decode")
        found, _ = self._advance(None, True)
        found = self._empty() if found is None else found
        if wanted is not None:
            found = F.pad(found[:, : wanted - given], (0, 0, 0, max(0, wanted - given - found.shape[1])))
        self._is_finished, self._states = True, None
        return self._after(0, found)

    def _advance(self, x: Any, is_last: bool) -> tuple[Any, tuple[Any, ...]]:
        chain = self._chain(self._codec.network)
        states = stream.starts(chain) if self._states is None else self._states
        with self._codec._at_hand():
            return stream.along(chain, x, states, is_last, stream.advance)

    def _after(self, more: int, found: Tensor | None) -> Any:
        """The outputs as the call returns them, once the position has moved on."""
        found = self._empty() if found is None else found
        self._taken = tuple(taken + more for taken in self._taken)
        self._given = tuple(given + found.shape[1] for given in self._given)
        if self.call == "encode_codes":
            return self._codec.given_codes(found)
        return found.to(self._codec.dtype)

    def _empty(self) -> Tensor:
        codec = self._codec
        size = {"encode": codec.latent_dim}.get(self.call, codec.channel)
        if self.call == "encode_codes":
            return torch.empty(self.batch, 0, self._columns(), dtype=torch.int64, device=codec.device)
        return torch.empty(self.batch, 0, size, dtype=codec.dtype, device=codec.device)

    def _columns(self) -> int:
        return self._codec.columns_of(self._options["n_codebooks"])

    @property
    def latent_frames(self) -> int:
        """Latent frames for a frame of latents or codes."""
        return self._codec.code_frames if self.call.endswith("codes") else 1

    def _chain(self, network: Any) -> Steps:
        if self._steps is None or self._steps[0] is not network:
            self._steps = network, self._make(network, **self._options)
        return self._steps[1]

    def _require_open(self, call: str) -> None:
        if self._is_finished:
            raise InvalidInput(f"{call}: the stream has ended; reset() begins anew")

    def _check(self, x: Any) -> None:
        call = f"{self.call}_stream.push"
        self._require_open(call)
        codec = self._codec
        if self.call == "decode_codes":
            plain = x.codes if isinstance(x, ScaledCodes) else x
            if not (isinstance(plain, Tensor) and plain.ndim == 3 and plain.shape[1] == 0):  # an empty one says nothing
                self._check_codes(x, call)
        else:
            size = codec.channel if self._part == "encoder" else codec.latent_dim
            checks.piece(x, size, call, "audio" if self._part == "encoder" else "latents")
        if x.shape[0] != self.batch:
            raise InvalidInput(f"{call}: expected {self.batch} rows, as the stream was made for, got {x.shape[0]}")
        if self._dtype not in (None, x.dtype):
            raise InvalidInput(f"{call}: expected {self._dtype}, as the pieces before, got {x.dtype}")

    def _check_codes(self, x: Any, call: str) -> None:
        if isinstance(x, ScaledCodes):  # of which the chunks begin anywhere
            codebooks, entries = self._codec.codebook_shape(call)
            checks.codes(x.codes, range(1, codebooks + 1), entries, call)
            checks.scales(x.scales, x.codes, call)
        else:
            self._codec.check_codes(x, call)

    # What becomes of it

    def reset(self) -> None:
        """Begin anew: what comes next is the start of a signal."""
        self._steps = self._dtype = None
        self._begin()

    def copy(self) -> Self:
        """An independent continuation from here; a generator of noise among the options is copied, too."""
        other = object.__new__(type(self))
        other.__dict__ = dict(self.__dict__)
        generator = self._options.get("generator")
        if isinstance(generator, torch.Generator):
            again = torch.Generator(generator.device)
            again.set_state(generator.get_state())
            other._options, other._steps = {**self._options, "generator": again}, None
        return other

    def split(self) -> list[Self]:
        """A stream for each row, which go on from here."""
        found = []
        for row in range(self.batch):
            one = self.copy()
            one.batch = 1
            one._taken, one._given = self._taken[row : row + 1], self._given[row : row + 1]
            if self._states is not None:
                one._states = stream.row(self._states, row, self.batch)
            found.append(one)
        return found

    @property
    def position(self) -> Position:
        """Inputs taken and outputs given so far."""
        counts = (values[0] if len({*values}) == 1 else values for values in (self._taken, self._given))
        return Position(*counts)

    # What is known of it

    @property
    def delay_samples(self) -> int:
        """How many samples outputs are behind inputs, at most, once the start is past.

        Of audio, the frames that are out stand for `decode_length` samples; one that is not complete does not count.
        Frames that were taken stand for as many, and a hop for the first. Computed from the layers, without weights.
        """
        codec, chain = self._codec, self._chain(self._known_network())
        inputs, outputs = steps.period(chain)
        delay = 0
        if self._part == "decoder":
            first = codec.hop_length - codec.samples(1)  # for which a centred transform has no sample yet
            for taken in range(SETTLED, SETTLED + inputs):
                delay = max(delay, codec.samples(taken * self.latent_frames) + first - steps.final(chain, taken))
            return delay
        for given in range(SETTLED, SETTLED + outputs):
            delay = max(delay, _needed(chain, given) - codec.samples(given * self.latent_frames))
        return delay

    @property
    def delay_seconds(self) -> float:
        """The same in seconds."""
        return self.delay_samples / self._codec.sampling_rate

    @property
    def state_bytes(self) -> int:
        """The most that the state of one row takes in float32, wherever the stream is. It needs no weights."""
        codec, network = self._codec, self._known_network()
        chain = self._make(network, **self._options)
        if self.call == "encode_codes":  # for which the quantiser keeps what is no frame of codes yet
            frames = self.latent_frames
            chain = *codec.encoder_steps(network), kernels.Grouped(lambda x: x[..., ::frames], frames, 1)
        elif self.call == "decode_codes":  # for which it keeps nothing
            chain = codec.decoder_steps(network)
        channels = codec.channel if self._part == "encoder" else codec.latent_dim
        inputs, _ = steps.period(chain)
        some = 2 * _needed(chain, 1) + 2 * inputs + 64 * (codec.hop_length if self._part == "encoder" else 1)
        audio = torch.empty(1, some, channels, device="meta")
        _, states = stream.along(chain, audio, stream.starts(chain), False, stream.advance)
        return 4 * sum(map(stream.most, chain, states))

    def _known_network(self) -> Any:
        """A network of the same shapes, without values."""
        if self._hollow is None:
            with kernels.apart():
                self._hollow = self._codec.weights.empty_network({})
        return self._hollow

    def __repr__(self) -> str:
        return f"<{self.call}_stream of {self._codec.name!r}, batch={self.batch}, {self.position}>"


def facts(voco: Any, call: str) -> dict[str, Any]:
    """Delay and state of a stream of a codec's "encode" or "decode"; or `reason`, why there is none."""
    reason = voco.stream_obstacle("encoder" if call == "encode" else "decoder")
    if reason is not None:
        return {"reason": reason}
    stream = getattr(voco, f"{call}_stream")()
    return {name: getattr(stream, name) for name in ("delay_samples", "delay_seconds", "state_bytes")}


def _needed(chain: Steps, outputs: int) -> int:
    """The fewest inputs after which so many outputs are final."""
    low, high = 0, 1
    while steps.final(chain, high) < outputs:
        low, high = high, 2 * high
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if steps.final(chain, middle) >= outputs else (middle, high)
    return high
