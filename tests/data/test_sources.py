"""What items the sources of a dataset are, and what is wrong with them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from vocos.data.items import Item
from vocos.data.sources import items_of
from vocos.errors import InvalidInput


def ids(*sources: Path) -> list[str]:
    return [item.id for item in items_of([str(source) for source in sources])]


def test_folder_is_searched_and_ids_are_paths_below_it(sounds: Path) -> None:
    (sounds / "notes.txt").write_text("no audio")
    (sounds / ".hidden.wav").write_bytes(b"")
    found = list(items_of([sounds]))
    assert [item.id for item in found][-1] == "inner/clip10.flac"
    assert len(found) == 11
    assert all(item.size == Path(item.path).stat().st_size for item in found)


def test_ids_of_several_folders_begin_with_their_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "x.wav", np.zeros(10), 8000)
    assert ids(tmp_path / "a", tmp_path / "b") == ["a/x.wav", "b/x.wav"]
    assert ids(tmp_path / "a") == ["x.wav"]


def test_lists_in_three_formats_say_the_same(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(10), 8000)
    (tmp_path / "a.txt").write_text("x.wav\n\nx y.wav\n")
    (tmp_path / "b.jsonl").write_text('{"path": "x.wav", "id": "one", "start": 0.5, "stop": 2, "text": "ä"}\n')
    (tmp_path / "c.csv").write_text("path,id,start,stop,text\nx.wav,one,0.5,2,ä\nx.wav,,,,\n", encoding="utf-8-sig")
    plain, other = items_of([tmp_path / "a.txt"])
    assert (plain.id, plain.path, plain.size) == ("x.wav", str(tmp_path / "x.wav"), (tmp_path / "x.wav").stat().st_size)
    assert (other.id, other.size) == ("x y.wav", None)
    (from_json,) = items_of([tmp_path / "b.jsonl"])
    from_csv, rest = items_of([tmp_path / "c.csv"])
    assert from_json == from_csv._replace(size=from_json.size)
    assert (from_json.id, from_json.start, from_json.stop, from_json.columns) == ("one", 0.5, 2.0, {"text": "ä"})
    assert rest == plain


def test_parts_of_a_file_get_ids_of_their_own(tmp_path: Path) -> None:
    rows = [{"path": "x.wav", "start": 1.5, "stop": 2.0}, {"path": "x.wav", "start": 2}, {"path": "x.wav", "stop": 1}]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert ids(tmp_path / "a.jsonl") == ["x.wav@1.5-2", "x.wav@2-", "x.wav@0-1"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"path": "x.wav"}\n{"file": "y.wav"}\n', "line 2: expected a path, got None"),
        ("a.jsonl", "{path}\n", "line 1: not JSON"),
        ("a.jsonl", "[1]\n", "line 1: expected an object with a path"),
        ("a.jsonl", '{"path": "x.wav", "start": 2, "stop": 1}\n', "line 1: expected 0 <= start < stop"),
        ("a.jsonl", '{"path": "x.wav", "start": NaN}\n', "line 1: expected 0 <= start < stop"),
        ("a.jsonl", '{"path": "x.wav", "start": "soon"}\n', "line 1: expected start in seconds, got 'soon'"),
        ("a.jsonl", '{"path": "x.wav", "latents": 1}\n', "line 1: a column cannot be called 'latents'"),
        ("a.csv", "file,start\nx.wav,1\n", "expected a header with the column path"),
        ("a.csv", "path\nx.wav,1\n", "line 2: has more fields than the header"),
        ("a.txt", "", "is empty"),
    ],
)
def test_list_that_is_wrong_says_where(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput, match=f"{name}: {message}".replace("[", r"\[")):
        list(items_of([tmp_path / name]))


def test_list_that_is_not_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match=r"a\.txt: not a list in UTF-8"):
        list(items_of([tmp_path / "a.txt"]))


def test_source_that_does_not_exist_or_holds_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nowhere: no such file or folder"):
        list(items_of([tmp_path / "nowhere"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="empty: holds no audio"):
        list(items_of([tmp_path / "empty"]))


def tar_of(path: Path, files: dict[str, bytes], mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def wav(length: int = 100) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.linspace(-0.5, 0.5, length), 8000, format="WAV")
    return stream.getvalue()


def test_members_of_a_tar_are_items_and_the_rest_of_a_sample_its_columns(tmp_path: Path) -> None:
    files = {"a/1.json": b'{"speaker": 7}', "a/1.txt": b"hello", "a/1.wav": wav(), "a/2.wav": wav(50), "a/3.png": b""}
    first, second = items_of([tar_of(tmp_path / "x.tar", files)])
    assert (first.id, first.columns) == ("x.tar/a/1.wav", {"speaker": 7, "txt": "hello"})
    assert (second.id, second.columns) == ("x.tar/a/2.wav", {})
    assert first.member is not None
    data = (tmp_path / "x.tar").read_bytes()
    assert data[first.member[1] :][: first.size] == wav()
    assert Item.of(first.line()) == first


def test_keys_that_items_have_themselves_get_another_name(tmp_path: Path) -> None:
    (item,) = items_of([tar_of(tmp_path / "x.tar", {"1.json": b'{"id": 5, "start": 1, "text": "a"}', "1.wav": wav()})])
    assert item.id == "x.tar/1.wav"
    assert item.columns == {"json_id": 5, "json_start": 1, "text": "a"}


def test_tar_that_is_compressed_or_cut_off_says_so(tmp_path: Path) -> None:
    packed = tar_of(tmp_path / "a.tar", {"1.wav": wav()}, "w:gz")
    with pytest.raises(InvalidInput, match=r"a\.tar: not a tar that can be read, compressed, or cut off"):
        list(items_of([packed]))
    whole = tar_of(tmp_path / "b.tar", {"1.wav": wav(100_000)})
    whole.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(InvalidInput, match=r"b\.tar"):
        list(items_of([whole]))


def test_tars_in_a_folder_are_like_folders(tmp_path: Path) -> None:
    tar_of(tmp_path / "x.tar", {"1.wav": wav()})
    assert ids(tmp_path) == ["x.tar/1.wav"]
