"""`vocos tokenize` and `vocos detokenize`, as a shell would call them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import Run

from vocos import get_voco, load_codes, save_codes

Folder = Callable[[str], Path]


def test_codes_go_out_and_sound_of_the_true_length_comes_back(run: Run, tone: Path, weights: Path) -> None:
    own = ("--weights", weights)
    code, out, err = run("tokenize", tone, "-o", "tone.codes", "--voco", "dac", *own)
    assert (code, err) == (0, "")
    assert out == (
        "tone.codes: 200 frames of 3 codes, 0.50 s, 6.00 kbit/s; "
        "2 channels averaged into 1; 22050 Hz resampled to 16000 Hz\n"
    )
    code, out, err = run("detokenize", "tone.codes", "-o", "back.wav", *own)
    assert (code, out, err) == (0, "back.wav: 0.50 s mono at 16000 Hz by dac\n", "")
    voco = get_voco("dac", weights=weights)
    expected = voco.decode_codes(load_codes("tone.codes", voco).codes, length=8000)
    sound, rate = soundfile.read("back.wav", always_2d=True)
    assert (rate, len(sound)) == (16000, 8000)
    assert np.abs(sound - expected[0].clamp(-1, 1).numpy()).max() < 1e-4  # 16 bits


def test_number_of_codebooks_and_bandwidth_are_per_call(run: Run, tone: Path, weights: Path) -> None:
    own = ("--weights", weights)
    assert run("tokenize", tone, "-o", "a.codes", "--voco", "dac", *own, "--n-codebooks", "2")[0] == 0
    assert load_codes("a.codes").codes.shape == (1, 200, 2)
    assert run("tokenize", tone, "-o", "b.codes", "--voco", "encodec", *own, "--bandwidth", "3")[0] == 0
    assert load_codes("b.codes").codes.shape == (1, 38, 4)


def test_several_files_go_to_a_folder_in_any_format(run: Run, tone: Path, weights: Path, folder: Folder) -> None:
    other = tone.with_name("other.wav")
    other.write_bytes(tone.read_bytes())
    for to, name, place in (
        ("codes", "dac", weights),
        ("dac", "dac", weights),
        ("ecdc", "encodec_24khz", folder("original-encodec_24khz")),
    ):
        own = ("--voco", name, "--weights", place)
        assert run("tokenize", tone, other, "-o", to, *own, "--to", to)[0] == 0
        assert sorted(path.name for path in Path(to).iterdir()) == [f"other.{to}", f"tone.{to}"]
        code, out, err = run("detokenize", f"{to}/tone.{to}", f"{to}/other.{to}", "-o", f"{to}-sound", *own)
        assert (code, err) == (0, "")
        assert out.count(f"0.50 s mono at {get_voco(name, weights=place).sampling_rate} Hz by {name}") == 2


def test_loudness_of_a_dac_file_is_that_of_the_sound(run: Run, tmp_path: Path, folder: Folder) -> None:
    time = np.arange(16000) / 16000
    quiet, loud = 0.01 * np.sin(2500 * time), 0.4 * np.sin(2500 * time)
    own = ("--voco", "dac", "--weights", folder("descript-dac"))
    power = []
    for name, sound in (("quiet", quiet), ("loud", loud)):
        soundfile.write(tmp_path / f"{name}.wav", sound, 16000, subtype="FLOAT")
        assert run("tokenize", f"{name}.wav", "-o", f"{name}.dac", *own)[0] == 0
        assert run("detokenize", f"{name}.dac", "-o", f"{name}-back.wav", *own)[0] == 0
        power.append((soundfile.read(f"{name}-back.wav")[0] ** 2).mean())
    assert power[1] / power[0] == pytest.approx(1600, rel=0.1)
    assert torch.equal(load_codes("quiet.dac").codes, load_codes("loud.dac").codes)


def test_damage_is_an_error_unless_asked_for(run: Run, tone: Path, weights: Path) -> None:
    own = ("--weights", weights)
    run("tokenize", tone, "-o", "a.codes", "--voco", "dac", *own)
    data = bytearray(Path("a.codes").read_bytes())
    data[-5] ^= 1
    Path("a.codes").write_bytes(data)
    code, out, err = run("detokenize", "a.codes", "-o", "a.wav", *own)
    assert (code, out) == (1, "")
    assert err.startswith("vocos: a.codes: damaged or cut off in frames 128 to 199 of 200; copy")
    assert not Path("a.wav").exists()
    code, out, err = run("detokenize", "a.codes", "-o", "a.wav", *own, "--damaged")
    assert (code, out) == (0, "a.wav: 0.50 s mono at 16000 Hz by dac\n")
    assert err == "vocos: a.codes: damaged or cut off in frames 128 to 199 of 200; their codes are 0\n"
    sound = soundfile.read("a.wav")[0]
    assert sound[: 127 * 40].any()
    assert not sound[128 * 40 :].any()


def test_codes_of_other_weights_are_not_decoded_silently(run: Run, tone: Path, weights: Path) -> None:
    save_codes("a.codes", torch.zeros(1, 9, 2).long(), get_voco("dac"))
    other = weights / "dac.safetensors"
    code, _, err = run("detokenize", "a.codes", "-o", "a.wav", "--weights", other)
    assert code == 1
    assert "44100 Hz with 1024 entries" in err
    run("tokenize", tone, "-o", "b.codes", "--voco", "dac", "--weights", weights)
    code, _, err = run("detokenize", "b.codes", "-o", "b.wav", "--weights", other)
    assert (code, err) == (
        0,
        f"vocos: b.codes: these codes were made with the weights {weights.name}, not dac.safetensors\n",
    )
    save_codes("c.codes", torch.zeros(1, 9, 8).long(), get_voco("encodec", weights=weights))
    code, _, err = run("detokenize", "c.codes", "-o", "c.wav")
    assert code == 1
    assert "made with" in err or "give the right ones" in err


WRONG_CALLS = [
    (["tokenize", "tone.wav", "-o", "a.codes"], 2, "usage: vocos tokenize"),
    (
        ["tokenize", "tone.wav", "-o", "a.wav", "--voco", "dac"],
        1,
        "vocos: a.wav: codes are written as .codes, .ecdc, .dac",
    ),
    (
        ["tokenize", "tone.wav", "-o", "a.codes", "--voco", "oobleck"],
        1,
        "vocos: tokenize: oobleck has no codes",
    ),
    (
        ["tokenize", "tone.wav", "-o", "a.codes", "--voco", "dac", "--n-codebooks", "19"],
        1,
        "vocos: tokenize: expected n_c",
    ),
    (
        ["tokenize", "tone.wav", "-o", "a.codes", "--voco", "dac", "--bandwidth", "6"],
        1,
        "vocos: tokenize: dac has no bandw",
    ),
    (["tokenize", "absent.wav", "-o", "a.codes", "--voco", "dac"], 1, "vocos: absent.wav: no such file"),
    (["detokenize", "tone.wav", "-o", "a.wav"], 1, "vocos: tone.wav: not a file of codes"),
    (["detokenize", "tone.wav", "-o", "a.codes"], 1, "vocos: a.codes: audio is written as .wav"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG_CALLS, ids=range(len(WRONG_CALLS)))
def test_wrong_call_says_so_in_one_line(arguments: list[str], code: int, message: str, run: Run, tone: Path) -> None:
    before = sorted(Path().iterdir())
    given, out, err = run(*arguments)
    assert (given, out) == (code, "")
    assert err.startswith(message)
    assert code == 2 or len(err.splitlines()) == 1
    assert sorted(Path().iterdir()) == before


def test_file_that_does_not_say_its_codec_needs_one(run: Run, tone: Path, folder: Folder) -> None:
    own = ("--weights", folder("descript-dac"))
    assert run("tokenize", tone, "-o", "a.dac", "--voco", "dac", *own)[0] == 0
    code, _, err = run("detokenize", "a.dac", "-o", "a.wav", *own)
    assert (code, err) == (1, "vocos: a.dac: does not say which codec its codes are of; pass --voco\n")
