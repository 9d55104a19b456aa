"""What is stored: the same as encoding each file alone, in each format, for each way to read channels."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import torch
from conftest import ALL
from making import RATE, content, made
from safetensors.torch import load_file
from torch import Tensor

import vocos
from vocos import read_audio
from vocos.data import shard, sound
from vocos.data.settings import Settings
from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.voco import flow


def alone(voco: Any, path: Path, kind: str) -> Any:
    """What the codec makes of one file."""
    audio = read_audio(path, voco)
    options = voco.without_chance.get("encode", {})
    with torch.inference_mode():
        return voco.encode_codes(audio) if kind == "codes" else voco.encode(audio, **options)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("mel", "latents"),
        ("oobleck", "latents"),
        ("dac", "codes"),
        ("dac", "latents"),
        ("snac_24khz", "codes"),
        ("transformers-encodec_48khz", "codes"),
        ("mimi", "codes"),
    ],
)
def test_items_are_what_encoding_them_alone_gives(
    tmp_path: Path, sounds: Path, folder: Callable[[str], Path], key: str, kind: str
) -> None:
    name, weights = ALL[key].name, folder(key)
    made(
        tmp_path / "out",
        sounds,
        voco=name,
        weights=str(weights),
        kind=kind,
        dtype="float32",
        draw=None if key != "oobleck" else False,
    )
    dataset = vocos.open_dataset(tmp_path / "out")
    voco = vocos.get_voco(name, weights=weights)
    assert dataset.ids == sorted(dataset.ids)
    assert len(dataset) == 11
    for index, name in enumerate(dataset.ids):
        expected, item = alone(voco, sounds / name, kind), dataset[index]
        plain = expected.codes if hasattr(expected, "scales") else expected
        assert item["samples"] == read_audio(sounds / name, voco).shape[1]
        if kind == "codes":
            assert torch.equal(item["codes"].long(), plain[0])
            assert torch.iinfo(item["codes"].dtype).bits == (8 if voco.codebook_size <= 256 else 16)
        else:  # rows of one length run together, to float rounding
            torch.testing.assert_close(item["latents"], plain[0], rtol=1e-5, atol=1e-5)
        if hasattr(expected, "scales"):
            torch.testing.assert_close(item["scales"], expected.scales)
        with torch.inference_mode():
            call = voco.decode_codes if kind == "codes" else voco.decode
            if not voco.without_chance.get("decode"):
                heard = call(expected, length=item["samples"])[0]
                torch.testing.assert_close(dataset.decode(index), heard, rtol=1e-4, atol=1e-4)


def test_long_items_go_through_streams(
    tmp_path: Path, sounds: Path, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"voco": "dac", "weights": str(folder("dac")), "kind": "codes"}
    made(tmp_path / "whole", sounds, **options)
    for module in (flow, sound):
        monkeypatch.setattr(module, "LONG", 3000)
    made(tmp_path / "pieces", sounds, **options)
    assert content(tmp_path / "whole") == content(tmp_path / "pieces")


def test_long_items_of_a_codec_that_cannot_stream_say_so(
    tmp_path: Path, sounds: Path, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (flow, sound):
        monkeypatch.setattr(module, "LONG", 3000)
    made(tmp_path / "out", sounds, voco="higgs_audio_v2", weights=str(folder("higgs_audio_v2")), kind="codes")
    dataset = vocos.open_dataset(tmp_path / "out")
    assert any(note.startswith("in one piece: ") for note in dataset.about(0)["notes"])


def test_drawn_latents_follow_from_seed_and_item(tmp_path: Path, sounds: Path, folder: Any) -> None:
    options: dict[str, Any] = {"voco": "oobleck", "weights": str(folder("oobleck")), "draw": True, "dtype": "float32"}
    made(tmp_path / "one", sounds, seed=1, **options)
    made(tmp_path / "other", sounds, seed=1, shard_seconds=0.6, **options)
    made(tmp_path / "third", sounds, seed=2, **options)
    one, other, third = (vocos.open_dataset(tmp_path / name) for name in ("one", "other", "third"))
    for index, name in enumerate(one.ids):
        row = other.index(name)
        torch.testing.assert_close(one[index]["latents"], other[row]["latents"], rtol=1e-5, atol=1e-5)
        assert not torch.allclose(one[index]["latents"], third[third.index(name)]["latents"], atol=1e-3)


def test_channels_are_mixed_split_or_the_first(tmp_path: Path, folder: Any) -> None:
    left, right = np.random.default_rng(0).uniform(-0.4, 0.4, (2, RATE // 2)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", np.stack([left, right], 1), RATE, subtype="FLOAT")
    voco = vocos.get_voco("griffinlim")

    def latents(samples: Any) -> Tensor:
        return voco.encode(torch.from_numpy(samples)[None, :, None])[0]

    expected = {
        "mix": [latents((left + right) / 2)],
        "first": [latents(left)],
        "split": [latents(left), latents(right)],
    }
    for channels, each in expected.items():
        made(tmp_path / channels, tmp_path / "x.wav", channels=channels, dtype="float32")
        dataset = vocos.open_dataset(tmp_path / channels)
        assert dataset.ids == (["x.wav#0", "x.wav#1"] if channels == "split" else ["x.wav"])
        for index, one in enumerate(each):
            torch.testing.assert_close(dataset[index]["latents"], one, rtol=1e-5, atol=1e-5)


def test_long_files_are_split_into_channels_without_being_held(
    tmp_path: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "whole", sounds, channels="split", dtype="float32")
    for module in (flow, sound):
        monkeypatch.setattr(module, "LONG", 3000)
    made(tmp_path / "pieces", sounds, channels="split", dtype="float32")
    one, other = vocos.open_dataset(tmp_path / "whole"), vocos.open_dataset(tmp_path / "pieces")
    assert one.ids == other.ids
    for index in range(len(one)):
        torch.testing.assert_close(one[index]["latents"], other[index]["latents"], rtol=1e-4, atol=1e-4)


def test_parts_of_files_and_members_of_tars_are_read_as_files_are(tmp_path: Path, sounds: Path) -> None:
    path = sounds / "clip00.wav"
    whole, rate = soundfile.read(path, dtype="float32", always_2d=True)
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"path": str(path), "start": 0.1, "stop": 0.3, "id": "part", "text": "hm"}) + "\n"
    )
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(sounds / "clip01.flac", "one.flac")
    soundfile.write(tmp_path / "part.wav", whole[round(0.1 * rate) : round(0.3 * rate)], rate, subtype="FLOAT")
    made(tmp_path / "out", tmp_path / "a.jsonl", tmp_path / "x.tar", dtype="float32")
    made(tmp_path / "plain", tmp_path / "part.wav", sounds / "clip01.flac", dtype="float32")
    one, other = vocos.open_dataset(tmp_path / "out"), vocos.open_dataset(tmp_path / "plain")
    for name, twin in (("part", "part.wav"), ("x.tar/one.flac", "clip01.flac")):
        torch.testing.assert_close(
            one[one.index(name)]["latents"], other[other.index(twin)]["latents"], rtol=1e-4, atol=1e-4
        )
    assert one[one.index("part")]["text"] == "hm"


def test_what_cannot_be_encoded_is_a_line_with_its_error(tmp_path: Path, sounds: Path, folder: Any) -> None:
    soundfile.write(sounds / "nothing.wav", np.zeros((0, 1)), RATE)
    soundfile.write(sounds / "short.wav", np.zeros((3, 1)), RATE)
    soundfile.write(sounds / "silent.wav", np.zeros((RATE // 2, 1)), RATE)
    soundfile.write(sounds / "infinite.wav", np.array([0.1, np.inf, 0.2] * 8000), RATE, subtype="FLOAT")
    (sounds / "page.flac").write_text("<!DOCTYPE html>")
    (sounds / "cut.wav").write_bytes((sounds / "clip04.wav").read_bytes()[:3000])
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in [*sounds.glob("*.*"), sounds / "gone.wav"]))
    made(tmp_path / "out", tmp_path / "list.txt")
    dataset = vocos.open_dataset(tmp_path / "out")
    errors = {Path(str(about["id"])).name: about["error"] for about in dataset.errors()}
    assert errors.keys() == {"nothing.wav", "short.wav", "infinite.wav", "page.flac", "cut.wav", "gone.wav"}
    assert "holds no samples" in errors["nothing.wav"]
    assert "has 3 samples at 24000 Hz, griffinlim takes " in errors["short.wav"]
    assert "holds samples that are not finite numbers, the first at 1" in errors["infinite.wav"]
    assert "not a readable audio file" in errors["page.flac"]
    assert "cut off" in errors["cut.wav"]
    assert "there is no such file, when the plan was made it was not there either" in errors["gone.wav"]
    assert dataset.about(dataset.index(str(sounds / "silent.wav")))["notes"] == ["silent"]
    lines = [line for path in (tmp_path / "out" / "index").iterdir() for line in path.read_text().splitlines()]
    assert sum(json.loads(line).get("failed", 0) for line in lines) == 6


def test_latents_that_do_not_fit_the_type_are_an_error_and_not_infinite(
    tmp_path: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocos.codecs.griffinlim import GriffinLim

    plain = GriffinLim.to_latents if "to_latents" in vars(GriffinLim) else None
    monkeypatch.setattr(
        GriffinLim,
        "to_latents",
        lambda self, audio: (
            1e6 + super(GriffinLim, self).to_latents(audio) if plain is None else 1e6 + plain(self, audio)
        ),
    )
    made(tmp_path / "half", sounds)
    errors = [about["error"] for about in vocos.open_dataset(tmp_path / "half").errors()]
    assert len(errors) == 11
    assert "reach 1e+06, more than float16 holds; take bfloat16 or float32" in errors[0]
    made(tmp_path / "brain", sounds, dtype="bfloat16")
    assert vocos.open_dataset(tmp_path / "brain")[0]["latents"].dtype == torch.bfloat16


def test_safetensors_shards_are_read_by_their_own_library(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "out", sounds)
    dataset = vocos.open_dataset(tmp_path / "out")
    tensors: dict[str, Tensor] = {}
    for path in (tmp_path / "out" / "shards").iterdir():
        tensors |= load_file(path)
    assert tensors.keys() == {f"latents/{name}" for name in dataset.ids}
    assert all(torch.equal(tensors[f"latents/{name}"], dataset[k]["latents"]) for k, name in enumerate(dataset.ids))


def test_webdataset_shards_are_tars_of_npy_and_json(tmp_path: Path, sounds: Path, folder: Any) -> None:
    made(
        tmp_path / "out",
        sounds,
        to="webdataset",
        voco="encodec_48khz",
        weights=str(folder("transformers-encodec_48khz")),
        kind="codes",
    )
    dataset = vocos.open_dataset(tmp_path / "out")
    found: dict[str, Any] = {}
    for path in sorted((tmp_path / "out" / "shards").iterdir()):
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        for key in {name.partition(".")[0] for name in members}:
            arrays = [np.load(io.BytesIO(members[f"{key}.{kind}.npy"])) for kind in ("codes", "scales")]
            found[json.loads(members[f"{key}.json"])["id"]] = arrays
    assert found.keys() == set(dataset.ids)
    for index, name in enumerate(dataset.ids):
        assert np.array_equal(found[name][0], dataset[index]["codes"].numpy())
        assert np.array_equal(found[name][1], dataset[index]["scales"].numpy())


def test_parquet_shards_have_a_row_for_each_item(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "out", sounds, to="parquet")
    dataset = vocos.open_dataset(tmp_path / "out")
    rows = [
        row
        for path in sorted((tmp_path / "out" / "shards").iterdir())
        for row in pyarrow.parquet.read_table(path).to_pylist()
    ]
    assert [row["id"] for row in rows] == dataset.ids
    for index, row in enumerate(rows):
        values = np.frombuffer(row["data"], row["dtype"]).reshape(row["frames"], row["size"])
        assert np.array_equal(values, dataset[index]["latents"].numpy())


def test_all_formats_hold_the_same(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "shards", sounds)
    expected = vocos.open_dataset(tmp_path / "shards")
    for to in ("webdataset", "parquet"):
        made(tmp_path / to, sounds, to=to)
        dataset = vocos.open_dataset(tmp_path / to)
        for index in range(len(expected)):
            assert torch.equal(dataset[index]["latents"], expected[index]["latents"])
            assert torch.equal(dataset.cut(index, 3, 9), expected[index]["latents"][3:9])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kind": "codes"}, UnsupportedOperation, "griffinlim has no codes"),
        ({"draw": True}, InvalidInput, "the latents of griffinlim are not drawn from anything"),
        ({"dtype": "int8"}, InvalidInput, "expected dtype as one of float16, bfloat16, float32, got 'int8'"),
        ({"channels": "both"}, InvalidInput, "expected channels as one of mix, split, first, got 'both'"),
        ({"to": "hdf5"}, InvalidInput, "expected to as one of shards, webdataset, parquet, got 'hdf5'"),
        ({"to": "webdataset", "dtype": "bfloat16"}, InvalidInput, "files have no bfloat16"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_written(
    tmp_path: Path, sounds: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        made(tmp_path / "out", sounds, **options)
    assert not (tmp_path / "out").exists()


def test_workers_make_the_same_bytes(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "one", sounds)
    made(tmp_path / "two", sounds, workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_reading_thread_ends_when_nobody_takes_what_it_reads(sounds: Path) -> None:
    import threading

    def endless() -> Any:
        while True:
            yield sound.Failure(0, "x")

    with sound.Ahead(endless(), most=4) as ahead:
        assert next(iter(ahead)) == sound.Failure(0, "x")
    assert not [thread for thread in threading.enumerate() if thread.name == "vocos-reader"]


def test_error_of_the_reading_thread_comes_out() -> None:
    def broken() -> Any:
        yield sound.Failure(0, "x")
        raise ZeroDivisionError("here")

    with pytest.raises(ZeroDivisionError, match="here"), sound.Ahead(broken()) as ahead:
        list(ahead)


def test_settings_make_a_path_absolute_and_shards_have_numbers(tmp_path: Path, folder: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(folder("mel").parent)
    assert Settings("mel", weights=folder("mel").name).weights == str(folder("mel"))
    assert shard.index_path(tmp_path, 17).name == "00017.jsonl"
