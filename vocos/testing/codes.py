"""The tests of the conformance suite that are about codes; `vocos.testing.VocoContract` inherits them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.voco import Voco
from vocos.voco.codes import ScaledCodes


class CodesContract:
    """Tests of a codec's codes, or that it says that it has none."""

    def make(self) -> Voco[Any]:
        """A new codec with small weights, not yet loaded."""
        raise NotImplementedError

    def audio(self, voco: Voco[Any], samples: int, batch: int = 1) -> Tensor:
        """Audio to encode."""
        raise NotImplementedError

    def latents(self, voco: Voco[Any], frames: int, batch: int = 1) -> Tensor:
        """Latents to decode."""
        raise NotImplementedError

    def some_samples(self, voco: Voco[Any]) -> int:
        """A length of a few frames."""
        raise NotImplementedError

    @pytest.fixture
    def coder(self) -> Voco[Any]:
        """The codec, not loaded; the test is done if it has no codes."""
        voco = self.make()
        if voco.n_codebooks is None:
            pytest.skip("has no codes")
        return voco

    def sound(self, coder: Voco[Any], batch: int = 1) -> Tensor:
        """Audio of a few frames."""
        return self.audio(coder, self.some_samples(coder), batch)

    def first(self, codes: Any, count: int) -> Any:
        """The codes of the first codebooks, of the same type as given."""
        return codes.codebooks(count) if isinstance(codes, ScaledCodes) else codes[..., :count]

    def counts(self, coder: Voco[Any]) -> list[int]:
        """Columns of codes of the first codebook, of the first two, and so on."""
        return [coder.columns_of(count) for count in range(1, (coder.n_codebooks or 0) + 1)]

    def same(self, given: Any, expected: Any) -> bool:
        """Whether all integers are equal."""
        return torch.equal(integers(given), integers(expected))

    def test_codec_without_codes_says_so(self) -> None:
        voco = self.make()
        if voco.n_codebooks is not None:
            return
        codes = torch.zeros(1, 4, 1, dtype=torch.long)
        assert not voco.bandwidths
        for call, argument in (
            (voco.encode_codes, self.sound(voco)),
            (voco.decode_codes, codes),
            (voco.codes_to_latents, codes),
            (voco.latents_to_codes, self.latents(voco, 4)),
        ):
            with pytest.raises(UnsupportedOperation, match="has no codes"):
                call(argument)
        assert not voco.is_loaded

    def test_codes_are_integers_channel_last(self, coder: Voco[Any]) -> None:
        audio = self.sound(coder)
        codes = coder.encode_codes(audio)
        assert codes.dtype == torch.int64
        frames = coder.encode_length(audio.shape[1]) // coder.code_frames
        assert codes.shape == (1, frames, coder.code_columns)
        assert 0 <= int(integers(codes).min()) <= int(integers(codes).max()) < (coder.codebook_size or 0)
        assert self.same(codes, coder.latents_to_codes(coder.encode(audio)))

    def test_fewer_codebooks_are_the_first_of_more(self, coder: Voco[Any]) -> None:
        latents = coder.encode(self.sound(coder))
        codes = coder.latents_to_codes(latents)
        for count, columns in enumerate(self.counts(coder), start=1):
            few = coder.latents_to_codes(latents, n_codebooks=count)
            assert few.shape[2] == columns
            assert self.same(few, self.first(codes, columns))
        assert self.same(coder.encode_codes(self.sound(coder), 1), self.first(codes, 1))

    def test_every_number_of_codebooks_decodes(self, coder: Voco[Any]) -> None:
        audio = self.sound(coder)
        codes = coder.encode_codes(audio)
        heard = set()
        for count in self.counts(coder):
            sound = coder.decode_codes(self.first(codes, count), length=audio.shape[1])
            assert sound.shape == audio.shape
            assert sound.isfinite().all()
            heard.add(sound.double().square().sum().item())
        assert len(heard) == coder.n_codebooks
        assert torch.equal(sound, coder.decode(coder.codes_to_latents(codes), length=audio.shape[1]))
        frames = codes.shape[1] * coder.code_frames
        assert coder.decode_codes(codes).shape[1] == coder.decode_length(frames)
        assert coder.codes_to_latents(codes).shape == (1, frames, coder.latent_dim)

    def test_bandwidth_of_a_call_counts_the_codebooks(self, coder: Voco[Any]) -> None:
        audio = self.sound(coder)
        counts = []
        for bandwidth in coder.bandwidths:
            codes = coder.encode_codes(audio, bandwidth=bandwidth)
            again = coder.latents_to_codes(coder.encode(audio), bandwidth=bandwidth)
            assert self.same(codes, again)
            counts.append(codes.shape[2])
            rate = codes.shape[2] * coder.frame_rate * torch.tensor(float(coder.codebook_size or 0)).log2().item()
            assert counts[-1] == 1 or rate <= 1000 * bandwidth * (1 + 1e-6)
            assert coder.decode_codes(codes).isfinite().all()
            with pytest.raises(InvalidInput, match="expected n_codebooks from 1 to"):
                coder.encode_codes(audio, counts[-1] + 1, bandwidth=bandwidth)
        assert counts == sorted(counts)
        for wrong in (0.123, 1e9, "6", True, [6.0], float("nan")):
            with pytest.raises(InvalidInput, match=r"expected bandwidth as one of|has no bandwidths; give"):
                coder.encode_codes(audio, bandwidth=wrong)  # type: ignore[arg-type]

    def test_bad_codes_are_refused_before_loading(self, coder: Voco[Any]) -> None:
        codebooks, size = coder.n_codebooks or 0, coder.codebook_size or 0
        columns = coder.code_columns or 0
        good = torch.zeros(1, 4, columns, dtype=torch.long)
        wide = torch.zeros(1, 4, columns + 1, dtype=torch.long)
        cases: list[Any] = [good.float(), good.bool(), good + size, good - 1, good[0], good[..., :0], good[:, :0]]
        cases += [good[:0], wide, good.numpy(), None]
        for bad in cases:
            both: list[Any] = [bad, ScaledCodes(bad, torch.ones(1, 1))]
            for wrapped in both:
                for call in (coder.decode_codes, coder.codes_to_latents):
                    with pytest.raises(InvalidInput, match=r"expected|takes a plain tensor"):
                        call(wrapped)
        for wrong in (0, -1, codebooks + 1, 1.0, True, "1"):
            with pytest.raises(InvalidInput, match="expected n_codebooks from 1 to"):
                coder.encode_codes(self.sound(coder), wrong)  # type: ignore[arg-type]
            with pytest.raises(InvalidInput, match="expected n_codebooks from 1 to"):
                coder.latents_to_codes(self.latents(coder, 4 * coder.code_frames), n_codebooks=wrong)  # type: ignore[arg-type]
        assert not coder.is_loaded

    def test_codes_of_a_row_do_not_depend_on_the_others(self, coder: Voco[Any]) -> None:
        audio = self.sound(coder, batch=3)
        audio[1] *= 0.01  # a loudness measured over the batch would show
        codes = coder.encode_codes(audio)
        sound = coder.decode_codes(codes)
        for row in range(3):
            alone = coder.encode_codes(audio[row : row + 1])
            assert torch.equal(integers(codes)[row], integers(alone)[0])
            torch.testing.assert_close(sound[row : row + 1], coder.decode_codes(alone), atol=2e-5, rtol=1e-4)

    def test_search_is_in_float32_whatever_the_dtype(self, coder: Voco[Any]) -> None:
        latents = coder.encode(self.sound(coder, batch=8))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = coder.latents_to_codes(latents)
        assert self.same(mixed, coder.latents_to_codes(latents))
        half = coder.to(torch.bfloat16)
        exact = copy.deepcopy(half).to(torch.float32)  # the same values
        rounded = latents.bfloat16()
        assert self.same(half.latents_to_codes(rounded), exact.latents_to_codes(rounded.float()))
        assert half.decode_codes(half.latents_to_codes(rounded)).dtype == torch.bfloat16

    def test_narrow_integers_decode_too(self, coder: Voco[Any]) -> None:
        codes = coder.encode_codes(self.sound(coder))
        narrow = integers(codes).int()
        given: Any = ScaledCodes(narrow, codes.scales) if isinstance(codes, ScaledCodes) else narrow
        assert torch.equal(coder.decode_codes(given), coder.decode_codes(codes))


def integers(codes: Any) -> Tensor:
    """The integers of codes, with or without scales."""
    plain: Tensor = codes.codes if isinstance(codes, ScaledCodes) else codes
    return plain
