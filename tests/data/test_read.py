"""Datasets read back: items, cuts, and streams that ranks, workers and resumed programs agree on."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from making import made
from torch.utils.data import DataLoader

import vocos
from vocos.data.dataset import Items
from vocos.data.sound import sound_of
from vocos.data.stream import Stream, collate
from vocos.errors import InvalidInput


@pytest.fixture
def dataset(tmp_path: Path, sounds: Path) -> Items:
    """Of all files, in several shards."""
    made(tmp_path / "out", sounds, shard_seconds=0.9)
    return vocos.open_dataset(tmp_path / "out")


def test_items_are_read_in_any_order_and_as_often_as_wanted(dataset: Items) -> None:
    assert len(dataset) == 11
    names = [dataset[index]["id"] for index in reversed(range(11))]
    assert names[::-1] == dataset.ids
    assert dataset[-1]["id"] == dataset.ids[-1]
    assert torch.equal(dataset[3]["latents"], dataset[3]["latents"])
    assert dataset[3]["latents"].shape == (dataset.frames[3], dataset.size)
    assert dataset.index(dataset.ids[4]) == 4
    assert dataset.seconds == pytest.approx(sum(dataset.samples) / 24_000)
    with pytest.raises(IndexError, match="there is no item 11 among 11"):
        dataset[11]
    with pytest.raises(InvalidInput, match="there is no item with the id 'x'"):
        dataset.index("x")
    with pytest.raises(InvalidInput, match="has .* frames, not those from 3 to 1000"):
        dataset.cut(0, 3, 1000)


def test_what_a_program_changes_in_a_tensor_does_not_reach_the_file(dataset: Items) -> None:
    before = [path.read_bytes() for path in sorted((dataset.folder / "shards").iterdir())]
    dataset[0]["latents"].zero_()
    assert [path.read_bytes() for path in sorted((dataset.folder / "shards").iterdir())] == before


def test_dataset_travels_to_other_processes(dataset: Items) -> None:
    dataset[0]
    twin = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(twin[5]["latents"], dataset[5]["latents"])
    loader = DataLoader(dataset, batch_size=None, num_workers=2, shuffle=False)
    assert [item["id"] for item in loader] == dataset.ids


def test_cuts_have_one_length_and_a_mask(dataset: Items) -> None:
    crops = dataset.crop(47, generator=torch.Generator().manual_seed(0))
    for index in range(len(crops)):
        item = crops[index]
        real = min(47, dataset.frames[index])
        assert item["latents"].shape == (47, dataset.size)
        assert item["mask"].sum() == real
        assert torch.equal(item["latents"][:real], dataset.cut(index, item["start"], item["start"] + real))
        assert not item["latents"][real:].any()
    assert len({crops[8]["start"] for _ in range(20)}) > 1
    with pytest.raises(InvalidInput, match="expected frames of 1 or more, got 0"):
        dataset.crop(0)


def test_cuts_in_workers_differ_between_workers_and_follow_from_the_generator(dataset: Items) -> None:
    def starts(seed: int) -> list[int]:
        torch.manual_seed(seed)
        crops = dataset.crop(5, generator=torch.Generator().manual_seed(seed))
        return [item["start"] for item in DataLoader(crops, batch_size=None, num_workers=2)]

    assert starts(1) == starts(1) != starts(2)


@pytest.mark.parametrize("key", ["griffinlim", "oobleck", "dac", "dac-codes", "original-encodec_24khz"])
def test_exact_cuts_are_what_encoding_the_cut_audio_gives(tmp_path: Path, sounds: Path, folder: Any, key: str) -> None:
    name, _, kind = key.partition("-") if "khz" not in key else ("encodec_24khz", "", "")
    options: dict[str, Any] = {"voco": name, "dtype": "float32", "kind": kind or "latents"}
    if name != "griffinlim":
        options["weights"] = str(folder("original-encodec_24khz" if "khz" in key else name))
    if name == "oobleck":
        options["draw"] = False
    made(tmp_path / "out", sounds, **options)
    dataset = vocos.open_dataset(tmp_path / "out")
    voco, hop = dataset.voco, dataset.manifest["hop_length"]
    assert (dataset.manifest["receptive_field"] is None) == ("khz" in key)
    frames, differs = min(dataset.frames) * 4 // 5, 0
    crops = dataset.crop(frames, exact_from=sounds)
    for index in (0, 5):
        with sound_of(crops._items[dataset.ids[index]], voco.sampling_rate, voco.channel, "mix") as sound:
            audio = sound.whole()
        for start in (0, 1, dataset.frames[index] - frames):
            is_last = start + frames == dataset.frames[index]
            length = audio.shape[1] - start * hop if is_last else voco.decode_length(frames)
            cut = audio[:, start * hop : start * hop + length]
            with torch.inference_mode():
                if kind:
                    expected = voco.encode_codes(cut)[0]
                else:
                    expected = voco.encode(cut, **voco.without_chance.get("encode", {}))[0]
            found = crops.cut(index, start, start + frames)
            plain = dataset.cut(index, start, start + frames)
            differs += not torch.allclose(plain.double(), expected[:frames].double(), atol=1e-3)
            if kind:
                assert float((found.long() == expected).double().mean()) > 0.99
            else:
                torch.testing.assert_close(found, expected[:frames], rtol=1e-3, atol=2e-4)
    assert differs  # so that the ends do matter


def test_exact_cuts_of_drawn_latents_are_refused(tmp_path: Path, sounds: Path, folder: Any) -> None:
    made(tmp_path / "out", sounds, voco="oobleck", weights=str(folder("oobleck")), draw=True)
    with pytest.raises(InvalidInput, match="these latents were drawn; exact_from needs those of `encode --mean`"):
        vocos.open_dataset(tmp_path / "out").crop(5, exact_from=sounds)


# Streams


def names(batches: Any) -> list[str]:
    return [name for batch in batches for name in (batch["id"] if isinstance(batch["id"], list) else [batch["id"]])]


def test_an_epoch_has_each_item_once_in_an_order_of_its_own(dataset: Items) -> None:
    stream = dataset.stream(seed=1)
    first, second = names(stream), names(stream)
    assert sorted(first) == sorted(second) == sorted(dataset.ids)
    assert first != second != dataset.ids
    assert names(dataset.stream(seed=1)) == first
    assert names(dataset.stream(shuffle=False)) == dataset.ids
    assert len(stream) == 11


def test_shards_are_shuffled_and_so_are_items_of_some_shards_together(dataset: Items) -> None:
    shard_of = {dataset.ids[row]: number for number, rows in enumerate(dataset.shard_rows()) for row in rows}
    order = [shard_of[name] for name in names(dataset.stream(seed=3, mixed=1))]
    runs = [shard for shard, before in zip(order, [None, *order], strict=False) if shard != before]
    assert len(runs) == len(set(runs)) == len(dataset.shard_rows())  # one shard after the other
    assert runs != sorted(runs)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_come_in_one_order_from_any_number_of_workers(dataset: Items, workers: int) -> None:
    expected = [batch["start"] for batch in dataset.crop(20).stream(batch_size=2, seed=5)]
    loader = dataset.crop(20).stream(batch_size=2, seed=5).loader(num_workers=workers)
    assert [batch["start"] for batch in loader] == expected
    assert len(loader) == len(expected) == 6


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [0, 1, 4, 6, 8])
def test_training_resumes_in_the_middle_of_an_epoch(dataset: Items, workers: int, taken: int) -> None:
    def loader() -> Any:
        return dataset.crop(20).stream(batch_size=2, seed=7).loader(num_workers=workers)

    def run(loader: Any, count: int) -> list[Any]:
        found: list[Any] = []
        while len(found) < count:
            for batch in loader:
                found.append((batch["id"], batch["start"]))
                if len(found) == count:
                    break
        return found

    whole = run(loader(), 15)
    first = loader()
    begun = run(first, taken)
    state = first.state_dict()
    second = loader()
    second.load_state_dict(state)
    assert begun + run(second, 15 - taken) == whole


def test_ranks_share_an_epoch(dataset: Items) -> None:
    parts = [names(dataset.stream(seed=2, rank=rank, world_size=3)) for rank in range(3)]
    assert [len(part) for part in parts] == [3, 3, 3]
    assert max(Counter(name for part in parts for name in part).values()) == 1
    batches = list(dataset.crop(9).stream(batch_size=2, rank=1, world_size=2))
    assert [len(batch["id"]) for batch in batches] == [2, 2, 1]
    assert len(list(dataset.crop(9).stream(batch_size=2, rank=1, world_size=2, drop_last=True))) == 2


def test_workers_of_a_plain_data_loader_share_an_epoch(dataset: Items) -> None:
    loader = DataLoader(dataset.crop(9).stream(batch_size=2, seed=4), batch_size=None, num_workers=2)
    assert names(loader) == names(dataset.crop(9).stream(batch_size=2, seed=4))
    single = DataLoader(dataset.crop(9).stream(seed=4), batch_size=4, num_workers=2, collate_fn=collate)
    assert sorted(names(single)) == sorted(dataset.ids)


def test_state_that_only_workers_know_is_refused(dataset: Items) -> None:
    stream = dataset.crop(9).stream(batch_size=2)
    next(iter(DataLoader(stream, batch_size=None, num_workers=1)))
    with pytest.raises(
        InvalidInput, match=r"which run ahead .*; stream\.loader\(num_workers=\.\.\.\) has a state_dict"
    ):
        stream.state_dict()


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_workers_that_keep_their_own_state_go_on_where_they_were(
    dataset: Items, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worker(index: int, state: Any = None) -> tuple[Any, Any]:
        stream = dataset.crop(9).stream(batch_size=2, seed=1)
        if state is not None:
            stream.load_state_dict(state)
        info = type("Info", (), {"id": index, "num_workers": 2})
        monkeypatch.setattr("vocos.data.stream.get_worker_info", lambda: info)
        return stream, iter(stream)

    for index in range(2):
        whole = [batch["id"] for batch in worker(index)[1]]
        first, batches = worker(index)
        begun = [next(batches)["id"] for _ in range(taken)]
        assert begun + [batch["id"] for batch in worker(index, first.state_dict())[1]] == whole


def test_state_of_another_stream_is_refused(dataset: Items) -> None:
    state = dataset.stream(batch_size=2, seed=1).state_dict()
    with pytest.raises(
        InvalidInput, match="the state is of a stream with batch_size 2, this has 3, seed 1, this has 2"
    ):
        dataset.stream(batch_size=3, seed=2).load_state_dict(state)


def test_batch_of_items_of_different_lengths_says_to_cut(dataset: Items) -> None:
    with pytest.raises(InvalidInput, match=r"crop\(frames\) gives them one length"):
        list(dataset.stream(batch_size=4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0.5}, "expected batch_size of 1 or more, got 0.5"),
        ({"mixed": 0}, "expected mixed of 1 or more, got 0"),
        ({"rank": 2, "world_size": 2}, "expected a rank below the world size 2, got 2"),
    ],
)
def test_wrong_options_of_a_stream_say_so(dataset: Items, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Stream(dataset, **options)


def test_columns_travel_along(tmp_path: Path, sounds: Path) -> None:
    (tmp_path / "a.csv").write_text(f"path,id,text\n{sounds / 'clip00.wav'},x,hello\n{sounds / 'clip01.flac'},y,\n")
    made(tmp_path / "out", tmp_path / "a.csv")
    dataset = vocos.open_dataset(tmp_path / "out")
    assert dataset[0]["text"] == "hello"
    (batch,) = dataset.crop(10).stream(batch_size=2, shuffle=False)
    assert (batch["id"], batch["text"]) == (["x", "y"], ["hello", None])
