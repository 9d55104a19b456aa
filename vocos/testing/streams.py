"""The part of the conformance suite that is about streams: every promise of `Voco`'s streams against the whole."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.kernels import steps, stream
from vocos.voco import Voco, join_streams
from vocos.voco.codes import ScaledCodes
from vocos.voco.streams import Stream

CALLS = ("encode", "decode", "encode_codes", "decode_codes")
SIZES = (0, 1, 1, 2, 3, 7, 31, 101, 997)  # of pieces, prime ones among them
LONG_PERIOD = 4096  # samples, beyond which the delay is looked for in steps of more than one


class StreamsContract:
    """Tests of streams. `VocoContract` inherits them."""

    encode_options: ClassVar[dict[str, Any]] = {}
    decode_stream_options: ClassVar[dict[str, Any]] = {}

    def assert_close(self, given: Tensor, expected: Tensor, tolerance: float | None = None) -> None:
        """As of `VocoContract`."""
        raise NotImplementedError

    def audio(self, voco: Voco[Any], samples: int, batch: int = 1) -> Tensor:
        """As of `VocoContract`."""
        raise NotImplementedError

    def latents(self, voco: Voco[Any], frames: int, batch: int = 1) -> Tensor:
        """As of `VocoContract`."""
        raise NotImplementedError

    def comparable(self, latents: Tensor) -> Tensor:
        """As of `VocoContract`."""
        raise NotImplementedError

    # Helpers

    def stream(self, voco: Voco[Any], call: str, batch: int = 1) -> Stream:
        """A stream without chance."""
        options = {"encode": self.encode_options, "decode": self.decode_stream_options}.get(call, {})
        made: Stream = getattr(voco, f"{call}_stream")(batch, **options)
        return made

    def streamed(self, voco: Voco[Any]) -> Iterator[str]:
        """The calls that the codec can spread over time."""
        for call in CALLS if voco.n_codebooks else CALLS[:2]:
            if voco.stream_obstacle("encoder" if call.startswith("encode") else "decoder") is None:
                yield call

    def some_input(self, voco: Voco[Any], call: str, seed: int, batch: int) -> Any:
        """Audio, latents or codes of some frames, another number for every seed."""
        frames = voco.minimum_frames + (1, 5, 40, 77)[seed % 4]
        if call.startswith("encode"):
            return self.audio(voco, max(voco.minimum_samples, frames * voco.hop_length - seed), batch)
        frames = frames if call == "decode" else -(-frames // voco.code_frames) * voco.code_frames
        latents = self.latents(voco, frames, batch)
        return latents if call == "decode" else voco.latents_to_codes(latents.abs())

    def whole(self, voco: Voco[Any], call: str, x: Any, length: int | None = None) -> Any:
        """The call on the whole."""
        options: dict[str, Any] = self.encode_options if call == "encode" else {}
        if call == "decode":
            options = {**self.decode_stream_options, "length": length}
        elif call == "decode_codes":
            options = {"length": length}
        return getattr(voco, call)(x, **options)

    def pieces(self, voco: Voco[Any], x: Any, seed: int) -> Iterator[Any]:
        """A partition: pieces of many sizes, of none and of one among them."""
        chance, start, n = random.Random(seed), 0, x.shape[1]  # noqa: S311 - sizes of pieces
        while start < n or chance.random() < 0.3:
            stop = min(n, start + chance.choice((*SIZES, n)))
            yield self.cut(voco, x, start, stop)
            start = stop

    def cut(self, voco: Voco[Any], x: Any, start: int, stop: int) -> Any:
        """A piece of an input; of scaled codes, with the scales of the chunks that begin in it."""
        if not isinstance(x, ScaledCodes):
            return x[:, start:stop]
        begins, first = [], 0
        piece_frames: Any = voco._piece_frames
        for frames in piece_frames(x.shape[1]):
            begins.append(first)
            first += frames
        inside = [i for i, begin in enumerate(begins) if start <= begin < stop]
        return ScaledCodes(x.codes[:, start:stop], x.scales[:, inside])

    def joined(self, parts: list[Any]) -> Any:
        """Outputs put together."""
        if isinstance(parts[0], ScaledCodes):
            scales = torch.cat([part.scales for part in parts], 1)
            return ScaledCodes(torch.cat([part.codes for part in parts], 1), scales)
        return torch.cat(parts, 1)

    def assert_same(self, call: str, given: Any, expected: Any) -> None:
        """Fail unless the outputs are equal to rounding, codes but for rare ties."""
        if isinstance(expected, ScaledCodes):
            self.assert_close(given.scales, expected.scales)
            given, expected = given.codes, expected.codes
        assert given.shape == expected.shape
        if not expected.is_floating_point():
            assert (given != expected).float().mean() < 0.01
        elif call == "encode":
            self.assert_close(self.comparable(given), self.comparable(expected))
        else:
            self.assert_close(given, expected)

    # Tests

    @pytest.mark.parametrize("seed", range(4))
    def test_stream_equals_the_whole_for_every_partition(self, voco: Voco[Any], seed: int) -> None:
        for call in self.streamed(voco):
            batch = 1 + seed % 3
            x = self.some_input(voco, call, seed, batch)
            made = self.stream(voco, call, batch)
            parts = [made.push(piece) for piece in self.pieces(voco, x, seed)]
            taken, given = made.position
            assert (taken, given) == (x.shape[1], sum(part.shape[1] for part in parts))
            self.assert_same(call, self.joined([*parts, made.finish()]), self.whole(voco, call, x))

    def test_stream_goes_on_in_copies_and_begins_anew_after_reset(self, voco: Voco[Any]) -> None:
        for call in self.streamed(voco):
            x = self.some_input(voco, call, 2, 1)
            half = x.shape[1] // 2
            stream = self.stream(voco, call)
            first = stream.push(self.cut(voco, x, 0, half))
            copy = stream.copy()
            stream.finish() if half >= max(voco.minimum_samples, voco.minimum_frames) else None
            rest = [copy.push(self.cut(voco, x, half, x.shape[1])), copy.finish()]
            self.assert_same(call, self.joined([first, *rest]), self.whole(voco, call, x))
            copy.reset()
            again = [copy.push(x), copy.finish()]
            self.assert_same(call, self.joined(again), self.whole(voco, call, x))

    def test_stream_ends_early_and_at_the_length_asked_for(self, voco: Voco[Any]) -> None:
        for call in self.streamed(voco):
            if call.startswith("encode"):
                continue
            x = self.some_input(voco, call, 1, 2)
            for more in (-1, 0, voco.hop_length + 3):
                stream = self.stream(voco, call, 2)
                length = voco.decode_length(x.shape[1] * stream.latent_frames) + more
                first = stream.push(x)
                if first.shape[1] > length:  # of a codec without delay
                    with pytest.raises(InvalidInput, match=r"out already"):
                        stream.finish(length=length)
                    continue
                given = self.joined([first, stream.finish(length=length)])
                self.assert_same(call, given, self.whole(voco, call, x, length))

    def test_streams_join_and_split(self, voco: Voco[Any]) -> None:
        for call in self.streamed(voco):
            streams = [self.stream(voco, call) for _ in range(3)]
            period, start = self.period(voco, streams[0]), self.settled(voco, streams[0])
            begun = [start, start + 3 * period, start + period]
            inputs = [self.longer(voco, call, n + 2 * period + 1, seed) for seed, n in enumerate(begun)]
            if isinstance(inputs[0], ScaledCodes):
                continue
            outputs = [[one.push(x[:, :n])] for one, x, n in zip(streams, inputs, begun, strict=True)]
            together = join_streams(streams)
            found = together.push(torch.cat([x[:, n:] for x, n in zip(inputs, begun, strict=True)]))
            assert together.position.taken == tuple(x.shape[1] for x in inputs)
            for row, (one, x) in enumerate(zip(together.split(), inputs, strict=True)):
                alone = ScaledCodes.rows(found, [row]) if isinstance(found, ScaledCodes) else found[row : row + 1]
                self.assert_same(call, self.joined([*outputs[row], alone, one.finish()]), self.whole(voco, call, x))
            other = self.stream(voco, call)
            if call.startswith("encode"):  # decoders may be past their start after a frame
                other.push(inputs[0][:, :1])
            reasons = "not in the same phase|not begun|has other options"
            with pytest.raises(InvalidInput, match=rf"^join_streams: .*({reasons})"):
                join_streams([streams[0], other])

    def period(self, voco: Voco[Any], stream: Stream) -> int:
        """Inputs after which a stream is in the same phase again."""
        return steps.period(stream._chain(voco.network))[0]

    def settled(self, voco: Voco[Any], stream: Stream) -> int:
        """Inputs after which the start is past, in whole periods."""
        period = self.period(voco, stream)
        frames = stream.delay_samples // voco.hop_length + 60
        inputs = frames * voco.hop_length if stream.call.startswith("encode") else frames
        return (inputs // period + 2) * period

    def longer(self, voco: Voco[Any], call: str, n: int, seed: int) -> Any:
        """An input of some length."""
        if call.startswith("encode"):
            return self.audio(voco, n + seed * voco.hop_length, 1)[:, :n]
        frames = 1 if call == "decode" else voco.code_frames
        latents = self.latents(voco, (n + seed) * frames)[:, : n * frames]
        return latents if call == "decode" else voco.latents_to_codes(latents.abs())

    def test_delay_is_exact(self, voco: Voco[Any]) -> None:
        """No push leaves outputs further behind, some push leaves them so far; it is known without weights."""
        for call in self.streamed(voco):
            fresh = self.stream(self.make(), call)  # type: ignore[attr-defined]
            delay = fresh.delay_samples
            assert not fresh._codec.is_loaded
            assert fresh.delay_seconds == delay / voco.sampling_rate
            made = self.stream(voco, call)
            start, period = self.settled(voco, made), self.period(voco, made)
            x = self.longer(voco, call, start + period, 0)
            if isinstance(x, ScaledCodes):
                continue
            given = made.push(x[:, :start]).shape[1]
            lags, frames = [], made.latent_frames
            step = 1 + period // LONG_PERIOD  # samples at a time
            for n in range(start + step - 1, start + period, step):
                given += made.push(x[:, n + 1 - step : n + 1]).shape[1]
                if call.startswith("encode"):  # a sample fewer than the next frame needs
                    lags.append(n + 2 - voco.samples((given + 1) * frames))
                else:
                    lags.append(voco.samples((n + 1) * frames) + voco.hop_length - voco.samples(1) - given)
            assert delay - step < max(lags) <= delay

    def test_outputs_that_are_out_do_not_depend_on_what_comes(self, voco: Voco[Any]) -> None:
        for call in self.streamed(voco):
            stream = self.stream(voco, call)
            n = self.settled(voco, stream)
            x = self.longer(voco, call, n, 0)
            if isinstance(x, ScaledCodes):
                continue
            given = stream.push(x)
            more = self.longer(voco, call, n + 3 * (n // 3), 5)
            changed = self.whole(voco, call, torch.cat([x, more[:, n:]], 1))
            plain, other = (found.codes if isinstance(found, ScaledCodes) else found for found in (given, changed))
            self.assert_same(call, plain, other[:, : plain.shape[1]])

    def test_state_is_bounded_by_what_is_said(self, voco: Voco[Any]) -> None:
        for call in self.streamed(voco):
            made = self.stream(voco, call)
            bound = self.stream(self.make(), call).state_bytes  # type: ignore[attr-defined]
            n = self.settled(voco, made)
            x = self.longer(voco, call, 2 * n, 0)
            if isinstance(x, ScaledCodes):
                continue
            step = max(1, n // 37)
            for start in range(0, 2 * n, step):
                made.push(x[:, start : start + step])
                held = sum(part.numel() for part in stream.tensors(made._states))
                if start > n:
                    assert 4 * held <= bound

    def test_bad_pieces_are_refused_and_leave_the_stream_as_it_was(self, voco: Voco[Any]) -> None:
        for call in ("encode", "decode"):
            if call not in self.streamed(voco):
                continue
            x = self.some_input(voco, call, 2, 2)
            stream = self.stream(voco, call, 2)
            half = x.shape[1] // 2
            parts = [stream.push(x[:, :half])]
            for bad in (x[:1], x[0], x.double(), x.long(), torch.cat([x, x], 2), None, "x"):
                with pytest.raises(InvalidInput, match=f"^{call}_stream.push: "):
                    stream.push(bad)
            parts += [stream.push(x[:, half:]), stream.finish()]
            self.assert_same(call, self.joined(parts), self.whole(voco, call, x))
            for ended, arguments in ((stream.push, (x,)), (stream.finish, ())):
                with pytest.raises(InvalidInput, match=r"reset\(\) begins anew"):
                    ended(*arguments)
            stream.reset()
            with pytest.raises(InvalidInput, match="needs"):
                stream.finish()

    def test_calls_that_need_the_whole_refuse_streams_and_say_why(self, voco: Voco[Any]) -> None:
        for part, call in (("encoder", "encode"), ("decoder", "decode")):
            reason = voco.stream_obstacle(part)
            if reason is not None:
                with pytest.raises(UnsupportedOperation, match=f"^{call}_stream: {voco.name} has no stream"):
                    getattr(voco, f"{call}_stream")()

    def test_threads_push_their_own_streams(self, voco: Voco[Any]) -> None:
        if "decode" not in self.streamed(voco):
            return
        inputs = [self.latents(voco, voco.minimum_frames + 20 + seed) for seed in range(4)]
        wanted = [self.whole(voco, "decode", x) for x in inputs]
        found: dict[int, Tensor] = {}

        def run(index: int) -> None:
            stream = self.stream(voco, "decode")
            parts = [stream.push(piece) for piece in torch.split(inputs[index], 3, dim=1)]
            found[index] = torch.cat([*parts, stream.finish()], 1)

        threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for index, expected in enumerate(wanted):
            self.assert_close(found[index], expected)
