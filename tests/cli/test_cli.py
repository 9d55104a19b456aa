"""The command line, as a shell would call it."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import Run
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import vocos
from vocos import get_voco
from vocos.registry import BUILT_IN


class TestFacts:
    """list and info."""

    def test_list_has_every_codec_in_a_line(self, run: Run) -> None:
        code, out, err = run("list")
        lines = out.splitlines()
        assert (code, err) == (0, "")
        assert re.split("  +", lines[0]) == [
            *[
                "name",
                "Hz",
                "channels",
                "latent size",
                "samples/frame",
                "frames/s",
                "codes",
                "kbit/s",
                "licence",
                "weights",
            ]
        ]
        assert [line.split()[0] for line in lines[1:]] == sorted(BUILT_IN)
        rows = [re.split("  +", line) for line in lines]
        assert ["oobleck", "44100", "2", "64", "2048", "21.53", "-", "-", "not stated", "optimizerai/vocos"] in rows
        assert ["griffinlim", "24000", "1", "100", "256", "93.75", "-", "-", "-", "none needed"] in rows
        assert [
            "dac_44khz",
            "44100",
            "1",
            "1024",
            "512",
            "86.13",
            "9 x 1024",
            "7.75",
            "mit",
            "descript/dac_44khz",
        ] in rows
        assert len({line.index(row[-1]) for line, row in zip(lines, rows, strict=True)}) == 1

    def test_list_filters_and_speaks_json(self, run: Run) -> None:
        rows = json.loads(run("list", "dac*", "--json")[1])
        assert [row["name"] for row in rows] == ["dac", "dac_16khz", "dac_24khz", "dac_44khz", "dacvae"]
        assert rows[0]["frame_rate"] == 44100 / 512
        assert (rows[0]["n_codebooks"], rows[0]["codebook_size"], rows[0]["hop_length"]) == (18, 1024, 512)
        assert rows[0]["bits_per_second"] == 18 * 10 * 44100 / 512
        assert (rows[4]["n_codebooks"], rows[4]["codebook_size"], rows[4]["bits_per_second"]) == (None, None, None)

    def test_list_shows_a_broken_plugin_beside_the_rest(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        from importlib.metadata import EntryPoint

        from vocos import registry

        monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("bad", "absent_module:X", group)])
        code, out, _ = run("list")
        assert code == 0
        assert "bad" in out
        assert "ModuleNotFoundError" in out
        assert "oobleck" in out

    def test_list_survives_a_plugin_that_raises_when_it_is_made(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from vocos import registry
        from vocos.codecs.griffinlim import GriffinLim

        class Raising(GriffinLim):
            def __init__(self, *_: object) -> None:
                raise ZeroDivisionError("oh\nno")

        monkeypatch.setattr(registry, "_registered", {"raising": Raising})
        code, out, _ = run("list")
        assert code == 0
        assert ["raising", "ZeroDivisionError: oh no"] in [re.split("  +", line) for line in out.splitlines()]

    def test_list_says_what_is_restricted(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        from vocos import registry
        from vocos.codecs.oobleck import Oobleck
        from vocos.weights.source import Source

        source = Source("org/name", license="cc-by-nc-4.0", is_gated=True, is_commercial=False)

        class Restricted(Oobleck):
            checkpoints = {"restricted": dataclasses.replace(Oobleck.checkpoints["oobleck"], source=source)}

        monkeypatch.setattr(registry, "_registered", {"restricted": Restricted})
        line = next(line for line in run("list")[1].splitlines() if line.startswith("restricted"))
        assert (
            "cc-by-nc-4.0; gated: accept the licence at https://huggingface.co/org/name; not for commercial use" in line
        )
        assert "restrictions: gated: accept" in run("info", "restricted")[1]

    def test_info_needs_no_weights(self, run: Run) -> None:
        code, out, _ = run("info", "dac")
        assert code == 0
        assert "sampling_rate: 44100\n" in out
        assert "license: not stated\n" in out
        assert "n_codebooks: 18\n" in out
        assert "alternative: get_voco('dac', weights='descript/dac_44khz') (mit)\n" in out
        facts = json.loads(run("info", "oobleck", "--json")[1])
        assert "get_voco('oobleck', weights='ACE-Step/Ace-Step1.5', subfolder='vae') (mit)" in facts["alternatives"]
        assert facts["config"]["downsampling_ratios"] == [2, 4, 4, 8, 8]

    def test_info_of_own_weights(self, run: Run, weights: Path) -> None:
        out = run("info", "dac", "--weights", weights)[1]
        assert "sampling_rate: 16000\n" in out
        assert f"source: {weights}\n" in out

    @pytest.mark.parametrize("arguments", [["list"], ["--help"], ["--version"]])
    def test_answers_without_importing_torch(self, arguments: list[str]) -> None:
        program = (
            "import sys\nfrom vocos.cli import main\ntry:\n main(sys.argv[1:])\nexcept SystemExit:\n pass\n"
            "print('torch' in sys.modules)"
        )
        out = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
        assert out.stdout.splitlines()[-1] == "False"


class TestSound:
    """encode, decode, roundtrip."""

    def test_encode_writes_latents_and_where_they_come_from(self, run: Run, tone: Path, weights: Path) -> None:
        code, out, _ = run("encode", tone, "-o", "tone.safetensors", "--voco", "dac", "--weights", weights)
        assert code == 0
        assert out == (
            "tone.safetensors: 200 frames of 16, 0.50 s; 2 channels averaged into 1; 22050 Hz resampled to 16000 Hz\n"
        )
        with safe_open("tone.safetensors", "pt") as file:
            assert file.metadata() == {
                "voco": "dac",
                "source": str(weights),
                "sampling_rate": "16000",
                "samples": "8000",
                "vocos_version": vocos.__version__,
            }
            assert list(file.keys()) == ["latents"]
            assert file.get_tensor("latents").shape == (1, 200, 16)

    def test_decode_gives_back_the_true_length(self, run: Run, tone: Path, weights: Path) -> None:
        own = ("--weights", weights)
        run("encode", tone, "-o", "tone.safetensors", "--voco", "dac", *own)
        code, out, _ = run("decode", "tone.safetensors", "-o", "back.flac", *own)
        assert (code, out) == (0, "back.flac: 0.50 s mono at 16000 Hz by dac\n")
        assert soundfile.info("back.flac").frames == 8000
        assert soundfile.info("back.flac").samplerate == 16000

    def test_several_inputs_go_to_a_folder(self, run: Run, tone: Path) -> None:
        other = tone.with_name("other.wav")
        other.write_bytes(tone.read_bytes())
        assert run("encode", tone, other, "-o", "latents")[0] == 0
        assert run("decode", "latents/tone.safetensors", "latents/other.safetensors", "-o", "sound")[0] == 0
        assert sorted(path.name for path in Path("sound").iterdir()) == ["other.wav", "tone.wav"]

    def test_roundtrip_says_what_was_converted(self, run: Run, tone: Path) -> None:
        code, out, _ = run("roundtrip", tone, "-o", "out.wav")
        assert code == 0
        assert out == (
            "out.wav: 0.50 s mono at 24000 Hz by griffinlim; 2 channels averaged into 1; "
            "22050 Hz resampled to 24000 Hz\n"
        )
        assert soundfile.info("out.wav").frames == 12000

    def test_stereo_codec_gets_a_mono_file(self, run: Run, tmp_path: Path, weights: Path) -> None:
        soundfile.write(tmp_path / "mono.wav", np.zeros(4000), 16000)
        code, out, _ = run("roundtrip", "mono.wav", "-o", "o.wav", "--voco", "oobleck", "--weights", weights)
        assert code == 0
        assert "1 channel repeated 2 times" in out
        assert soundfile.info("o.wav").channels == 2

    def test_seed_makes_a_drawing_codec_repeatable(self, run: Run, tone: Path, weights: Path) -> None:
        for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
            encode = ("encode", tone, "-o", f"{name}.safetensors", "--voco", "oobleck")
            assert run(*encode, "--weights", weights, "--seed", seed)[0] == 0
        a, b, c = (load_file(f"{name}.safetensors")["latents"] for name in "abc")
        assert torch.equal(a, b)
        assert not torch.equal(a, c)

    def test_dtype_is_that_of_the_latents(self, run: Run, tone: Path, weights: Path) -> None:
        encode = ("encode", tone, "-o", "a.safetensors", "--voco", "dac", "--weights", weights)
        assert run(*encode, "--dtype", "bfloat16")[0] == 0
        with safe_open("a.safetensors", "pt") as file:
            assert file.get_tensor("latents").dtype == torch.bfloat16
        assert run("decode", "a.safetensors", "-o", "a.wav", "--weights", weights)[0] == 0

    def test_existing_output_stays_if_the_work_fails(
        self, run: Run, tone: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("out.wav").write_text("precious")

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device", "out.wav")

        monkeypatch.setattr(soundfile.SoundFile, "write", full)
        code, _, err = run("roundtrip", tone, "-o", "out.wav")
        assert (code, err) == (1, "vocos: out.wav: No space left on device\n")
        assert Path("out.wav").read_text() == "precious"
        assert sorted(path.name for path in Path().iterdir()) == ["out.wav", "tone.wav"]


class TestDemo:
    """The first thing a stranger types."""

    def test_writes_sound_and_picture_and_says_so(self, run: Run) -> None:
        code, out, _ = run("demo")
        assert code == 0
        assert sorted(path.name for path in Path("demo").iterdir()) == [
            "original.wav",
            "reconstruction.wav",
            "spectrograms.png",
        ]
        assert "demo/reconstruction.wav: what came out; 4.45 s mono at 24000 Hz" in out
        assert "griffinlim: 418 frames of 100 numbers in between, 93.75 frames per second" in out
        original, reconstruction = (soundfile.read(f"demo/{n}.wav")[0] for n in ("original", "reconstruction"))
        assert original.shape == reconstruction.shape
        assert 0.5 < (reconstruction**2).mean() / (original**2).mean() < 1.5

    def test_takes_another_codec(self, run: Run, weights: Path) -> None:
        code, out, _ = run("demo", "--voco", "oobleck", "--weights", weights, "-o", "there")
        assert code == 0
        assert "stereo at 16000 Hz" in out
        assert Path("there/spectrograms.png").stat().st_size > 1000

    def test_sample_is_small(self) -> None:
        sample = Path(vocos.__file__).parent / "assets" / "sample.flac"
        assert sample.stat().st_size < 300_000
        assert get_voco("griffinlim").sampling_rate < soundfile.info(sample).samplerate


WRONG_CALLS = [
    (["encode", "absent.wav", "-o", "x.safetensors"], 1, "vocos: absent.wav: no such file\n"),
    (
        ["encode", "tone.wav", "-o", "absent/x.safetensors"],
        1,
        "vocos: absent/x.safetensors: the folder absent does not",
    ),
    (["encode", "tone.wav", "-o", "x.wav"], 1, "vocos: x.wav: latents are written as .safetensors, not as '.wav';"),
    (
        ["encode", "tone.wav", "tone.wav", "-o", "out"],
        1,
        "vocos: tone.wav and tone.wav would both become out/tone.safet",
    ),
    (["encode", "tone.wav", "text.wav", "-o", "text.wav"], 1, "vocos: text.wav: several inputs need a folder"),
    (["encode", "text.wav", "-o", "x.safetensors"], 1, "vocos: text.wav: not a readable audio file"),
    (["decode", "text.wav", "-o", "x.wav"], 1, "vocos: text.wav: not a complete safetensors file"),
    (
        ["decode", "tone.wav", "-o", "x.txt"],
        1,
        "vocos: x.txt: audio is written as .wav, .flac, .ogg, .mp3, not as '.txt'",
    ),
    (
        ["roundtrip", "tone.wav", "-o", "absent/x.wav"],
        1,
        "vocos: absent/x.wav: the folder absent does not exist\n",
    ),
    (["roundtrip", "tone.wav", "-o", "x.wav", "--voco", "ooblek"], 1, "vocos: get_voco: there is no 'ooblek'; did you"),
    (["roundtrip", "tone.wav", "-o", "x.wav", "--voco", "mel"], 1, "vocos: weights: 'mel.json' of 'optimizerai/vocos'"),
    (
        ["roundtrip", "tone.wav", "-o", "x.wav", "--weights", "a"],
        1,
        "vocos: griffinlim has no weights; leave weights='a",
    ),
    (
        ["roundtrip", "tone.wav", "-o", "x.wav", "--device", "gpu"],
        1,
        "vocos: get_voco: expected device as 'cpu', 'cuda'",
    ),
    (["roundtrip", "tone.wav", "-o", "x.wav", "--dtype", "int8"], 2, "usage: vocos roundtrip"),
    (["roundtrip", "tone.wav"], 2, "usage: vocos roundtrip"),
    (["roundtrip", "tone.wav", "-o", "x.wav", "--seed", str(10**30)], 2, "usage: vocos roundtrip"),
    (["roundtrip", "tone.wav", "-o", "/dev/full"], 1, "vocos: /dev/full: No space left on device\n"),
    (["encode", "tone.wav", "-o", "folder", "--voco", "ooblek"], 1, "vocos: get_voco: there is no 'ooblek'; did you"),
    (["decode", "text.wav", "-o", "folder"], 1, "vocos: text.wav: not a complete safetensors file"),
    (["info", "nothing"], 1, "vocos: get_voco: there is no 'nothing'; The names are dac, "),
    (["demo", "-o", "text.wav"], 1, "vocos: text.wav: expected a folder, this is a file\n"),
    (["frobnicate"], 2, "usage: vocos"),
    ([], 2, "usage: vocos"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG_CALLS, ids=range(len(WRONG_CALLS)))
def test_wrong_call_says_so_in_one_line(arguments: list[str], code: int, message: str, run: Run, tone: Path) -> None:
    Path("text.wav").write_text("hello")
    before = sorted(Path().iterdir())
    given, out, err = run(*arguments)
    assert (given, out) == (code, "")
    assert err.startswith(message)
    assert code == 2 or len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert sorted(Path().iterdir()) == before


def test_latents_of_other_weights_are_not_decoded_silently(run: Run, tone: Path, weights: Path) -> None:
    run("encode", tone, "-o", "a.safetensors", "--voco", "dac", "--weights", weights)
    code, _, err = run("decode", "a.safetensors", "-o", "a.wav")
    assert code == 1
    assert f"a.safetensors: made with the weights {weights}, not optimizerai/vocos; pass --weights" in err


@pytest.mark.parametrize(
    ("metadata", "tensors", "message"),
    [
        ({"samples": str(10**15)}, {}, "says 1000000000000000 samples, its latents have at most 2048"),
        ({"samples": "-1"}, {}, "says -1 samples"),
        ({"samples": "x"}, {}, "not latents written by vocos encode"),
        ({"voco": "nothing"}, {}, "there is no 'nothing'"),
        ({"voco": None}, {}, "'voco' is missing or wrong"),
        ({}, {"latents": torch.zeros(8)}, "expected latents [1, frames, latent_dim], got [8]"),
        ({}, {"latents": torch.zeros(1, 8, 7)}, "expected latents [batch, frames, 100], got [1, 8, 7]"),
        ({}, {"latents": torch.zeros(1, 8, 100).long()}, "latents holds torch.int64"),
        ({}, {"other": torch.zeros(1, 8, 100)}, "latents"),
    ],
)
def test_latents_that_were_tampered_with(
    metadata: dict[str, str | None], tensors: dict[str, torch.Tensor], message: str, run: Run, tmp_path: Path
) -> None:
    honest = {"voco": "griffinlim", "source": "", "sampling_rate": "24000", "samples": "2000"}
    written = {key: value for key, value in {**honest, **metadata}.items() if value is not None}
    save_file(tensors or {"latents": torch.zeros(1, 8, 100)}, tmp_path / "a.safetensors", metadata=written)
    code, out, err = run("decode", "a.safetensors", "-o", "a.wav")
    assert (code, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not Path("a.wav").exists()


def test_interrupt_has_its_exit_code(run: Run, tone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(soundfile.SoundFile, "write", interrupt)
    assert run("roundtrip", tone, "-o", "x.wav") == (130, "", "vocos: interrupted\n")
    assert [path.name for path in Path().iterdir()] == ["tone.wav"]


def test_module_and_script_are_the_same(tmp_path: Path) -> None:
    for command in ([sys.executable, "-m", "vocos"], [str(Path(sys.executable).parent / "vocos")]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"vocos {vocos.__version__}\n"
        done = subprocess.run([*command, "info", "x"], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("vocos: get_voco: there is no 'x'")
