"""The plan: shards follow from paths, sizes and times alone, and nothing is planned twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocos.data import plan as plans
from vocos.data.items import Item
from vocos.data.jobs import Part
from vocos.data.plan import Plan, changes, cuts, make
from vocos.data.sources import items_of
from vocos.errors import CheckpointError, InvalidInput


def test_shards_do_not_depend_on_the_order_in_which_items_are_found(tmp_path: Path, sounds: Path) -> None:
    items = list(items_of([sounds]))
    one = make(tmp_path / "one", [str(sounds)], items, 1.5)
    random.Random(1).shuffle(items)
    other = make(tmp_path / "other", [str(sounds)], items, 1.5)
    assert one.sha256 == other.sha256
    assert len(one.shards) > 2
    assert [item.id for item in one] == [item.id for item in other]
    assert one.items == 11


def test_estimated_seconds_are_those_of_the_headers(tmp_path: Path, sounds: Path) -> None:
    plan = make(tmp_path / "plan", [str(sounds)], items_of([sounds]), 1.5)
    true = sum(0.5 if number % 2 else 0.4 + 0.05 * number for number in range(11))
    assert plan.seconds == pytest.approx(true, rel=0.2)


def test_plan_that_is_there_stays(tmp_path: Path, sounds: Path) -> None:
    plan = make(tmp_path / "plan", [str(sounds)], items_of([sounds]), 1.5)
    (sounds / "clip01.flac").unlink()
    again = make(tmp_path / "plan", [str(sounds)], items_of([sounds]), 100.0)
    assert again.sha256 == plan.sha256


def test_each_shard_is_read_alone(tmp_path: Path, sounds: Path) -> None:
    plan = make(tmp_path / "plan", [str(sounds)], items_of([sounds]), 1.5)
    read = [item for number in range(len(plan.shards)) for item in plan.read(number)]
    assert read == list(plan)
    assert [plan.first(number) for number in range(3)] == [
        0,
        plan.shards[0].items,
        sum(s.items for s in plan.shards[:2]),
    ]


@given(seconds=st.lists(st.floats(0, 100), min_size=1, max_size=60), size=st.floats(1, 500), most=st.integers(1, 20))
def test_cuts_cover_everything_once(seconds: list[float], size: float, most: int) -> None:
    before, plans.MAX_ITEMS = plans.MAX_ITEMS, most
    try:
        ranges = list(cuts(seconds, size))
    finally:
        plans.MAX_ITEMS = before
    assert [k for start, stop in ranges for k in range(start, stop)] == list(range(len(seconds)))
    assert all(0 < stop - start <= most for start, stop in ranges)


def test_shards_of_clips_of_one_length_are_of_one_size() -> None:
    sizes = {stop - start for start, stop in cuts([4.0] * 1000, 400.0)}
    assert sizes == {100}


def test_no_shard_is_smaller_than_an_item() -> None:
    assert list(cuts([4.0] * 3, 1e-300)) == [(0, 1), (1, 2), (2, 3)]


def test_two_items_with_one_id_are_refused(tmp_path: Path) -> None:
    items = [Item("x", "/a.wav", 1), Item("x", "/b.wav", 1)]
    with pytest.raises(InvalidInput, match=r"two items have the id 'x': /a\.wav and /b\.wav"):
        make(tmp_path / "plan", [], items)
    assert not (tmp_path / "plan").exists()


def test_damaged_plan_says_so(tmp_path: Path, sounds: Path) -> None:
    path = make(tmp_path / "plan", [str(sounds)], items_of([sounds]), 1.5).path
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    with pytest.raises(CheckpointError, match=r"plan\.jsonl: has .* bytes, its shards have"):
        Plan(tmp_path / "plan")
    path.write_bytes(b"{}\n" + data)
    with pytest.raises(CheckpointError, match=r"plan\.jsonl: not a plan, or damaged"):
        Plan(tmp_path / "plan")


def test_what_has_changed_is_named(tmp_path: Path, sounds: Path) -> None:
    plan = make(tmp_path / "plan", [str(sounds)], items_of([sounds]), 1.5)
    assert list(changes(plan, items_of([sounds]))) == []
    (sounds / "clip01.flac").unlink()
    with (sounds / "clip02.flac").open("ab") as stream:
        stream.write(b"more")
    (sounds / "new.wav").write_bytes((sounds / "clip00.wav").read_bytes())
    gone, grown, new = changes(plan, items_of([sounds]))
    assert gone == f"{sounds / 'clip01.flac'}: is in the plan and no longer in the sources"
    assert grown.startswith(f"{sounds / 'clip02.flac'}: had ")
    assert new == f"{sounds / 'new.wav'}: is not in the plan; a new folder makes a new one"


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", ""])
def test_part_that_is_none_says_so(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected the part as K/N"):
        Part.of(text)
