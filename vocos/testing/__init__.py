"""The conformance suite of codecs. The author of one inherits `VocoContract` in a pytest module:

    class TestMine(VocoContract):
        def make(self):
            return get_voco("mine", weights=SMALL_WEIGHTS)

Every test compares a promise of `Voco` with the real output of the codec: lengths, masks, halves, codes, dtypes, copies
and files. Small weights keep it quick. `codes` and `streams` have the tests about these.
"""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.testing.codes import CodesContract
from vocos.testing.machine import bfloat16_trusted
from vocos.testing.streams import StreamsContract
from vocos.voco import Voco
from vocos.weights.formats import HALVES
from vocos.weights.location import Location


class VocoContract(CodesContract, StreamsContract):
    """Tests of a codec.

    Attributes:
        encode_options: keywords that make `encode` deterministic, if it is not.
        tolerance: of two ways to the same float32 numbers, relative to the largest; our codecs are within 2e-6.
        precision: of audio and latents in other dtypes against float32, relative to the largest; in our small
            codecs 0.003 in float16 and 0.02 in bfloat16.
    """

    encode_options: ClassVar[dict[str, Any]] = {}
    tolerance: ClassVar[float] = 2e-5
    precision: ClassVar[dict[torch.dtype, float]] = {
        torch.float16: 0.01,
        torch.bfloat16: 0.05,
        torch.float64: 1e-5,
    }

    def make(self) -> Voco[Any]:
        """A new codec with small weights, not yet loaded."""
        raise NotImplementedError

    # Helpers, open to overriding

    def audio(self, voco: Voco[Any], samples: int, batch: int = 1) -> Tensor:
        """Audio to encode: noise, the same for the same arguments."""
        generator = torch.Generator().manual_seed(samples)
        return torch.rand(batch, samples, voco.channel, generator=generator) - 0.5

    def latents(self, voco: Voco[Any], frames: int, batch: int = 1) -> Tensor:
        """Latents to decode."""
        generator = torch.Generator().manual_seed(frames)
        return torch.randn(batch, frames, voco.latent_dim, generator=generator)

    def lengths(self, minimum: int, step: int) -> Iterator[int]:
        """Lengths to try: all up to three steps past the minimum, at most 400 of them, and some beyond."""
        every = max(1, 3 * step // 400)
        return itertools.chain(range(minimum, minimum + 3 * step + 1, every), (minimum + 7 * step + 1, 11 * step - 1))

    def comparable(self, latents: Tensor) -> Tensor:
        """Latents as numbers whose differences mean something."""
        return latents

    def assert_close(self, given: Tensor, expected: Tensor, tolerance: float | None = None) -> None:
        """Fail unless the shapes are equal, and the values to rounding."""
        assert given.shape == expected.shape
        error = (given.float() - expected.float()).abs().max().item()
        assert error <= (tolerance or self.tolerance) * max(1.0, expected.float().abs().max().item())

    def encoded(self, voco: Voco[Any], audio: Tensor, **options: Any) -> Tensor:
        """`encode` without chance."""
        latents: Tensor = voco.encode(audio, **self.encode_options, **options)
        return latents

    def some_samples(self, voco: Voco[Any]) -> int:
        """A length of a few frames, no multiple of the hop."""
        return max(voco.minimum_samples, 5 * voco.hop_length) + voco.hop_length // 2 + 1

    def inputs(self, voco: Voco[Any]) -> dict[str, Any]:
        """An input for each call that takes audio, latents or codes, by the name of the call."""
        audio, latents = self.audio(voco, self.some_samples(voco)), self.latents(voco, voco.minimum_frames + 3)
        given: dict[str, Any] = {"encode": audio, "encode_batch": [audio[0]]}
        given |= {"decode": latents, "decode_batch": [latents[0]]}
        if voco.n_codebooks is not None:
            whole = self.latents(voco, -(-latents.shape[1] // voco.code_frames) * voco.code_frames)
            codes = voco.latents_to_codes(whole)
            latents = whole
            given |= {"encode_codes": audio, "latents_to_codes": latents}
            given |= {"decode_codes": codes, "codes_to_latents": codes}
        return given

    def result(self, voco: Voco[Any], call: str, value: Any) -> Any:
        """What a call returns, without chance; of a list, the first item."""
        options = self.encode_options if call in ("encode", "encode_batch") else {}
        found = getattr(voco, call)(value, **options)
        return found[0] if isinstance(found, list) else found

    @pytest.fixture
    def voco(self) -> Voco[Any]:
        """The codec, loaded."""
        return self.make().load()

    # Facts

    def test_facts_are_plain_numbers(self) -> None:
        voco = self.make()
        assert all(type(fact) is int and fact > 0 for fact in (voco.sampling_rate, voco.latent_dim, voco.hop_length))
        assert voco.channel in (1, 2)
        assert voco.frame_rate == voco.sampling_rate / voco.hop_length
        assert isinstance(voco.name, str)
        assert isinstance(voco.config, dict)
        assert (voco.n_codebooks is None) == (voco.codebook_size is None) == (voco.bits_per_second is None)

    def test_facts_lengths_and_masks_load_nothing(self) -> None:
        voco = self.make()
        mask = torch.ones(1, self.some_samples(voco), dtype=torch.bool)
        voco.decode_mask(voco.encode_mask(mask))
        voco.decode_length(voco.encode_length(mask.shape[1]))
        repr(voco), voco.config, voco.source, voco.license, voco.device, voco.dtype
        voco.eval().train().eval()
        copy.deepcopy(voco), pickle.loads(pickle.dumps(voco))
        assert not voco.is_loaded

    def test_module_is_frozen_and_in_eval_mode(self, voco: Voco[Any]) -> None:
        assert not any(module.training for module in voco.modules())
        assert not any(parameter.requires_grad for parameter in voco.parameters())

    # Lengths and masks

    def test_encode_length_is_what_encode_returns(self, voco: Voco[Any]) -> None:
        for samples in self.lengths(voco.minimum_samples, voco.hop_length):
            latents = voco.encode(self.audio(voco, samples))
            assert latents.shape == (1, voco.encode_length(samples), voco.latent_dim), samples

    def test_decode_length_is_what_decode_returns(self, voco: Voco[Any]) -> None:
        for frames in self.lengths(voco.minimum_frames, 4):
            audio = voco.decode(self.latents(voco, frames))
            assert audio.shape == (1, voco.decode_length(frames), voco.channel), frames

    def test_lengths_take_integer_tensors_elementwise(self, voco: Voco[Any]) -> None:
        samples = [voco.minimum_samples, voco.minimum_samples + 1, self.some_samples(voco)]
        frames = [voco.minimum_frames, voco.minimum_frames + 3]
        for function, numbers in ((voco.encode_length, samples), (voco.decode_length, frames)):
            found = function(torch.tensor([numbers]))
            assert found.dtype == torch.int64
            assert found.tolist() == [[function(number) for number in numbers]]

    def test_length_that_is_none_is_refused(self, voco: Voco[Any]) -> None:
        functions: list[Callable[[Any], Any]] = [voco.encode_length, voco.decode_length]
        for function in functions:
            for bad in (0, -1, 1.5, True, "1", torch.tensor([5, 0]), torch.tensor([5.0])):
                with pytest.raises(InvalidInput):
                    function(bad)

    def test_decode_returns_the_length_asked_for(self, voco: Voco[Any]) -> None:
        latents = self.latents(voco, voco.minimum_frames + 3)
        whole = voco.decode(latents)
        for length in (1, whole.shape[1] - 1, whole.shape[1], whole.shape[1] + 1, whole.shape[1] + 3 * voco.hop_length):
            audio = voco.decode(latents, length=length)
            assert audio.shape == (1, length, voco.channel)
            assert audio.isfinite().all()
            common = min(length, whole.shape[1])
            self.assert_close(audio[:, :common], whole[:, :common])

    def test_masks_are_as_wide_and_as_true_as_the_output(self, voco: Voco[Any]) -> None:
        samples = [self.some_samples(voco), voco.minimum_samples, 0]
        mask = torch.arange(samples[0]) < torch.tensor(samples)[:, None]
        frame_mask = voco.encode_mask(mask)
        assert frame_mask.dtype == torch.bool
        assert frame_mask.shape == (3, voco.encode_length(samples[0]))
        frames = [voco.encode_length(n) if n else 0 for n in samples]
        assert torch.equal(frame_mask, torch.arange(frame_mask.shape[1]) < torch.tensor(frames)[:, None])
        sample_mask = voco.decode_mask(frame_mask)
        back = [voco.decode_length(n) if n else 0 for n in frames]
        assert sample_mask.shape == (3, voco.decode_length(frames[0]))
        assert torch.equal(sample_mask, torch.arange(sample_mask.shape[1]) < torch.tensor(back)[:, None])

    # Rows

    def test_row_does_not_depend_on_the_others(self, voco: Voco[Any]) -> None:
        audio = self.audio(voco, self.some_samples(voco), batch=3)
        latents = self.encoded(voco, audio)
        sound = voco.decode(latents)
        for row in range(3):
            alone = slice(row, row + 1)
            self.assert_close(self.comparable(latents[alone]), self.comparable(self.encoded(voco, audio[alone])))
            self.assert_close(sound[alone], voco.decode(latents[alone]))

    def test_masked_rows_equal_the_rows_alone(self, voco: Voco[Any]) -> None:
        lengths = [self.some_samples(voco), voco.minimum_samples + 1, self.some_samples(voco), 0]
        audio = self.audio(voco, lengths[0], batch=4)
        mask = torch.arange(lengths[0]) < torch.tensor(lengths)[:, None]
        latents = self.encoded(voco, audio, mask=mask)
        frame_mask = voco.encode_mask(mask)
        sound = voco.decode(latents, mask=frame_mask)
        nothing = torch.zeros_like(mask)
        assert voco.encode(audio, mask=nothing).shape == latents.shape
        assert voco.decode(latents, mask=voco.encode_mask(nothing)).shape == sound.shape
        assert not latents[~frame_mask].any()
        assert not sound[~voco.decode_mask(frame_mask)].any()
        for row, length in enumerate(lengths[:-1]):
            alone = self.encoded(voco, audio[row : row + 1, :length])
            real = latents[row : row + 1, : alone.shape[1]]
            self.assert_close(self.comparable(real), self.comparable(alone))
            heard = voco.decode(real)
            self.assert_close(sound[row : row + 1, : heard.shape[1]], heard)

    def test_list_of_clips_equals_the_clips_alone(self, voco: Voco[Any]) -> None:
        short, some = voco.minimum_samples, self.some_samples(voco)
        lengths = [some, short + 1, some + 1, some, short]
        clips = [self.audio(voco, length)[0] for length in lengths]
        latents = voco.encode_batch(clips, **self.encode_options)
        sounds, cut = voco.decode_batch(latents), voco.decode_batch(latents, lengths)
        arrays = voco.encode_batch([clip.numpy() for clip in clips], **self.encode_options)
        for k, clip in enumerate(clips):
            alone = self.encoded(voco, clip[None])
            self.assert_close(self.comparable(latents[k][None]), self.comparable(alone))
            assert torch.equal(arrays[k], latents[k])
            self.assert_close(sounds[k][None], voco.decode(latents[k][None]))
            self.assert_close(cut[k][None], voco.decode(latents[k][None], length=lengths[k]))
        assert voco.encode_batch([]) == voco.decode_batch([]) == voco.decode_batch([], []) == []

    # Halves

    def test_halves_do_one_direction_each_with_their_own_weights(self, voco: Voco[Any]) -> None:
        inputs, whole = self.inputs(voco), voco.state_dict()
        calls = {
            "encoder": inputs.keys() & {"encode", "encode_batch", "encode_codes", "latents_to_codes"},
            "decoder": inputs.keys() & {"decode", "decode_batch", "decode_codes"},
        }
        found: set[str] = set()
        for part, other in (HALVES, HALVES[::-1]):
            half = self.make()
            if half.halves is None:
                with pytest.raises(UnsupportedOperation, match="does not say which weights"):
                    half.weights.keep_only(part)
                return
            half.weights.keep_only(part)
            for call in calls[other] - {"latents_to_codes"}:
                with pytest.raises(UnsupportedOperation, match=f"^{call}: this needs the {other}"):
                    getattr(half, call)(inputs[call])
            assert not half.is_loaded
            for call in calls[part]:
                assert self.same(*(self.result(codec, call, inputs[call]) for codec in (half, voco)))
            assert all(torch.equal(tensor, whole[name]) for name, tensor in half.state_dict().items())
            assert (not half.state_dict()) == (not whole or part in half.weightless)
            found |= half.state_dict().keys()
        assert found == whole.keys()

    # Numbers

    def test_same_input_gives_the_same_output(self, voco: Voco[Any]) -> None:
        audio = self.audio(voco, self.some_samples(voco))
        latents = self.encoded(voco, audio)
        assert torch.equal(latents, self.encoded(self.make(), audio))
        assert torch.equal(voco.decode(latents), self.make().decode(latents))

    def test_strided_input_gives_the_same_output(self, voco: Voco[Any]) -> None:
        audio = self.audio(voco, 2 * self.some_samples(voco))[:, ::2]
        latents = self.encoded(voco, audio)
        self.assert_close(self.comparable(latents), self.comparable(self.encoded(voco, audio.contiguous())))
        strided = latents.transpose(1, 2).contiguous().transpose(1, 2)
        self.assert_close(voco.decode(strided), voco.decode(latents))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_module_dtype_is_the_dtype_of_the_result(self, dtype: torch.dtype) -> None:
        exact, voco = self.make(), self.make().to(dtype)
        sound, values = self.audio(voco, self.some_samples(voco)), self.latents(voco, voco.minimum_frames + 3)
        latents, audio = self.encoded(voco, sound), voco.decode(values)
        assert voco.dtype == latents.dtype == audio.dtype == dtype
        expected = self.comparable(self.encoded(exact, sound))
        with bfloat16_trusted(dtype):
            self.assert_close(self.comparable(latents), expected, self.precision[dtype])
            self.assert_close(audio, exact.decode(values), self.precision[dtype])

    def test_autocast_keeps_the_dtype_of_the_module(self, voco: Voco[Any]) -> None:
        latents = self.latents(voco, voco.minimum_frames + 3)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            encoded = self.encoded(voco, self.audio(voco, self.some_samples(voco)))
            audio = voco.decode(latents)
        assert encoded.dtype == audio.dtype == torch.float32
        with bfloat16_trusted(torch.bfloat16):
            self.assert_close(audio, voco.decode(latents), self.precision[torch.bfloat16])

    def test_gradients_reach_the_input_and_stop_there(self, voco: Voco[Any]) -> None:
        audio = self.audio(voco, self.some_samples(voco)).requires_grad_()
        latents = self.encoded(voco, audio).detach().requires_grad_()
        for function, x in ((self.encoded, audio), (lambda voco, x: voco.decode(x), latents)):
            y = function(voco, x)
            (gradient,) = torch.autograd.grad(y.square().sum(), x)
            assert gradient.isfinite().all()
            assert gradient.any()
            assert not function(voco, x.detach()).requires_grad
        assert all(parameter.grad is None for parameter in voco.parameters())

    # An nn.Module among others

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda voco: pickle.loads(pickle.dumps(voco))])
    def test_copies_give_the_same_sound_and_stand_alone(self, voco: Voco[Any], copied: Callable[[Any], Any]) -> None:
        other = copied(voco)
        latents = self.latents(voco, voco.minimum_frames + 3)
        expected = voco.decode(latents)
        assert other.is_loaded
        assert torch.equal(other.decode(latents), expected)
        other.to(torch.bfloat16)
        assert torch.equal(voco.decode(latents), expected)

    def test_state_dict_loads_into_an_unloaded_codec(self, voco: Voco[Any]) -> None:
        other = self.make()
        nn.Sequential(other).load_state_dict(nn.Sequential(voco).state_dict())
        latents = self.latents(voco, voco.minimum_frames + 3)
        assert torch.equal(other.decode(latents), voco.decode(latents))

    def test_codec_is_copied_pickled_and_saved_after_every_call(self, voco: Voco[Any], tmp_path: Path) -> None:
        for call, value in self.inputs(voco).items():
            used = self.make()
            expected = self.result(used, call, value)
            for other in (copy.deepcopy(used), pickle.loads(pickle.dumps(used))):
                assert self.same(self.result(other, call, value), expected), call
            self.assert_reads_back(used, tmp_path / call)

    def test_saved_codec_reads_back(self, voco: Voco[Any], tmp_path: Path) -> None:
        self.assert_reads_back(voco, tmp_path)

    def assert_reads_back(self, voco: Voco[Any], folder: Path) -> None:
        """Fail unless `save` writes what is read again; a codec without weights has to say that there are none."""
        if voco.source is None:
            with pytest.raises(UnsupportedOperation, match="has no weights to write"):
                voco.save(folder)
            return
        voco.save(folder)
        again = type(voco)(Location(str(folder), name=voco.name))
        assert again.config == voco.config
        for given, wanted in zip(again.parameters(), voco.parameters(), strict=True):
            assert torch.equal(given, wanted)

    # Bad input

    def test_bad_audio_is_refused_before_loading(self) -> None:
        voco = self.make()
        good = self.audio(voco, self.some_samples(voco))
        cases: list[Any] = [
            good[0],
            good[None],
            good.repeat(1, 1, 2),
            (good * 100).to(torch.int16),
            good[:0],
            good[:, :0],
            good[:, : voco.minimum_samples - 1],
            good.numpy(),
        ]
        for bad in cases:
            with pytest.raises(InvalidInput, match=r"encode: expected audio \[batch, samples, "):
                voco.encode(bad)
        assert not voco.is_loaded

    def test_bad_latents_are_refused_before_loading(self) -> None:
        voco = self.make()
        good = self.latents(voco, voco.minimum_frames + 3)
        for bad in (
            good[0],
            good.repeat(1, 1, 2),
            good.long(),
            good[:0],
            good[:, :0],
            good[:, : voco.minimum_frames - 1],
        ):
            with pytest.raises(InvalidInput, match=r"decode: expected latents \[batch, frames, "):
                voco.decode(bad)
        lengths: list[Any] = [0, -1, 1.5, True, "1"]
        for length in lengths:
            with pytest.raises(InvalidInput, match="decode: expected length"):
                voco.decode(good, length=length)
        assert not voco.is_loaded

    def test_bad_masks_are_refused_before_loading(self) -> None:
        voco = self.make()
        audio = self.audio(voco, self.some_samples(voco))
        good = torch.ones(audio.shape[:2], dtype=torch.bool)
        with pytest.raises(InvalidInput, match="bool mask"):
            voco.encode_mask(good.long())
        with pytest.raises(InvalidInput, match="bool mask"):
            voco.decode_mask(good[0])
        with pytest.raises(InvalidInput, match="like the input"):
            voco.encode(audio, mask=good[:, 1:])
        with pytest.raises(InvalidInput, match="padding goes right"):
            voco.encode(audio, mask=good.index_fill(1, torch.tensor([0]), False))
        assert not voco.is_loaded
