"""Many files: which become which, and what happens to the rest when one fails."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import Run
from safetensors.torch import load_file, save_file

from vocos import get_voco, load_codes


def tree(folder: str | Path) -> list[str]:
    """Files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


class TestFailures:
    """One bad file among others."""

    def test_others_go_on_and_each_failure_has_its_line(self, run: Run, tone: Path) -> None:
        shutil.copy(tone, "last.wav")
        Path("text.wav").write_text("hello")
        code, out, err = run("encode", "text.wav", "tone.wav", "absent.wav", "last.wav", "-o", "out")
        assert code == 1
        assert [line.split(":")[0] for line in out.splitlines()] == ["out/tone.safetensors", "out/last.safetensors"]
        lines = err.splitlines()
        assert lines[0] == "vocos: absent.wav: no such file"  # before any work
        assert lines[1].startswith("vocos: text.wav: not a readable audio file")
        assert lines[2:] == ["vocos: 2 of 4 files failed"]
        assert tree("out") == ["last.safetensors", "tone.safetensors"]

    def test_stop_is_the_end_at_the_first(self, run: Run, tone: Path) -> None:
        Path("text.wav").write_text("hello")
        code, out, err = run("encode", "text.wav", "tone.wav", "-o", "out", "--stop")
        assert (code, out) == (1, "")
        assert err.splitlines()[1:] == ["vocos: 1 of 2 files failed, stopped"]
        assert not Path("out").exists()

    def test_every_command_goes_on(self, run: Run, tone: Path, weights: Path) -> None:
        own = ("--weights", weights, "--voco", "dac")
        run("encode", tone, "-o", "tone.safetensors", *own)
        run("tokenize", tone, "-o", "tone.codes", *own)
        for command, given in (
            ("tokenize", "wav"),
            ("roundtrip", "wav"),
            ("decode", "safetensors"),
            ("detokenize", "codes"),
        ):
            Path(f"bad.{given}").write_text("hello")
            code, out, err = run(command, f"bad.{given}", f"tone.{given}", "-o", command, *own)
            assert (code, len(out.splitlines())) == (1, 1)
            assert err.splitlines()[0].startswith(f"vocos: bad.{given}: not ")
            assert err.splitlines()[1:] == ["vocos: 1 of 2 files failed"]

    def test_codec_that_cannot_be_had_is_told_once(self, run: Run, tone: Path) -> None:
        shutil.copy(tone, "last.wav")
        code, _, err = run("encode", "tone.wav", "last.wav", "-o", "out", "--voco", "mel")
        assert (code, len(err.splitlines())) == (1, 1)

    def test_message_that_does_not_name_the_file_is_given_its_name(self, run: Run, tone: Path, weights: Path) -> None:
        soundfile.write("short.wav", np.zeros(2), 16000)
        code, _, err = run("encode", "short.wav", "-o", "a.safetensors", "--voco", "mel", "--weights", weights)
        assert code == 1
        assert err.startswith("vocos: short.wav: encode: expected audio")

    def test_names_and_messages_stay_on_one_line(self, run: Run, tone: Path) -> None:
        name = "two\nlines\x1b[31m" + os.fsdecode(b"\xff") + ".wav"
        shutil.copy(tone, name)
        code, out, _ = run("encode", name, "-o", "out")
        assert code == 0
        assert out.startswith("out/two\\nlines\\x1b[31m\\udcff.safetensors: 47 frames")
        Path(name).write_text("hello")
        code, _, err = run("encode", name, "-o", "out")
        assert (code, len(err.splitlines())) == (1, 1)

    def test_long_message_is_shortened(self, run: Run, monkeypatch: pytest.MonkeyPatch, tone: Path) -> None:
        from vocos.files import audio

        def long(*_: object) -> None:
            raise RuntimeError("begin " + "x" * 9999 + " end")

        monkeypatch.setattr(audio, "reading", long)
        err = run("encode", tone, "-o", "out")[2]
        assert err.startswith(f"vocos: {tone}: begin xxx")
        assert err.endswith(" end\n")
        assert len(err) < 1100

    def test_not_finite_latents_make_no_sound(self, run: Run, tone: Path, weights: Path) -> None:
        values = torch.zeros(1, 8, 100)
        values[0, 3, 7] = float("nan")
        metadata = {"voco": "griffinlim", "source": "", "sampling_rate": "24000", "samples": "2000"}
        save_file({"latents": values}, "a.safetensors", metadata=metadata)
        code, _, err = run("decode", "a.safetensors", "-o", "a.wav")
        assert (code, Path("a.wav").exists()) == (1, False)
        assert err == "vocos: a.safetensors: latents: expected finite numbers, got nan or infinity, first in frame 3\n"

    @pytest.mark.parametrize("command", ["encode", "tokenize", "roundtrip"])
    def test_codec_that_gives_no_numbers_writes_nothing(
        self, command: str, run: Run, tone: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from vocos.codecs.dac import Dac
        from vocos.kernels import Window

        own = Dac.encoder_steps
        broken = Window(lambda latents: latents * float("inf"))
        monkeypatch.setattr(Dac, "encoder_steps", lambda self, network: (*own(self, network), broken))
        target = {"encode": "a.safetensors", "tokenize": "a.codes", "roundtrip": "a.wav"}[command]
        code, _, err = run(command, tone, "-o", target, "--voco", "dac", "--weights", weights)
        assert (code, tree(".")) == (1, ["tone.wav"])
        assert len(err.splitlines()) == 1
        assert "finite" in err


class TestPlaces:
    """Where outputs go."""

    def test_folder_keeps_its_tree(self, run: Run, tone: Path) -> None:
        for place in ("in/a.wav", "in/deep/er/b.WAV", "in/deep/.hidden.wav", "in/.git/c.wav"):
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tone, place)
        Path("in/notes.txt").write_text("hello")
        assert run("encode", "in", "-o", "out")[0] == 0
        assert tree("out") == ["a.safetensors", "deep/er/b.safetensors"]
        assert run("decode", "out", "-o", "back")[0] == 0
        assert tree("back") == ["a.wav", "deep/er/b.wav"]

    def test_several_folders_keep_their_names(self, run: Run, tone: Path) -> None:
        for place in ("one/a.wav", "two/a.wav"):
            Path(place).parent.mkdir()
            shutil.copy(tone, place)
        assert run("encode", "one", "two/", tone, "-o", "out")[0] == 0
        assert tree("out") == ["one/a.safetensors", "tone.safetensors", "two/a.safetensors"]

    def test_output_in_the_input_is_not_taken_for_input(self, run: Run, tone: Path) -> None:
        Path("in").mkdir()
        shutil.copy(tone, "in/a.wav")
        for _ in range(2):
            assert run("roundtrip", "in", "-o", "in/out")[0] == 0
        assert tree("in") == ["a.wav", "out/a.wav"]

    def test_links_in_a_circle_end(self, run: Run, tone: Path) -> None:
        Path("in/deep").mkdir(parents=True)
        shutil.copy(tone, "in/deep/a.wav")
        Path("in/deep/up").symlink_to("..")
        assert run("encode", "in", "-o", "out")[0] == 0
        assert tree("out") == ["deep/a.safetensors"]

    def test_folder_without_sound_is_a_failure(self, run: Run, tone: Path) -> None:
        Path("in").mkdir()
        code, out, err = run("encode", "in", tone, "-o", "out")
        assert (code, len(out.splitlines())) == (1, 1)
        assert err.splitlines()[0].startswith("vocos: in: holds no files that end in .wav, .flac, ")

    def test_names_that_differ_in_their_ending_keep_it(self, run: Run, tone: Path) -> None:
        soundfile.write("tone.flac", *soundfile.read(tone))
        shutil.copy(tone, "other.wav")
        assert run("encode", "tone.wav", "tone.flac", "other.wav", "-o", "out")[0] == 0
        assert tree("out") == ["other.safetensors", "tone.flac.safetensors", "tone.wav.safetensors"]

    @pytest.mark.parametrize("output", ["out.v2/", "out.v2"])
    def test_folder_may_have_a_dot(self, output: str, run: Run, tone: Path) -> None:
        if not output.endswith("/"):
            Path(output).mkdir()
        assert run("encode", tone, "-o", output)[0] == 0
        assert tree("out.v2") == ["tone.safetensors"]

    def test_name_that_may_be_meant_as_a_folder_says_how(self, run: Run, tone: Path) -> None:
        code, _, err = run("encode", tone, "-o", "out.v2")
        assert (code, tree(".")) == (1, ["tone.wav"])
        assert err.endswith("not as '.v2'; the name of a folder may end in /\n")

    @pytest.mark.parametrize("output", ["tone.wav", ".", "link.wav", "hard.wav"])
    def test_input_is_not_overwritten(self, output: str, run: Run, tone: Path) -> None:
        before = tone.read_bytes()
        Path("link.wav").symlink_to(tone)
        os.link(tone, "hard.wav")
        code, _, err = run("roundtrip", "tone.wav", "-o", output)
        assert code == 1
        assert "is an input, which would be overwritten" in err
        assert tone.read_bytes() == before

    def test_another_input_is_not_overwritten(self, run: Run, tone: Path) -> None:
        Path("out").mkdir()
        shutil.copy(tone, "out/tone.wav")
        assert run("roundtrip", "tone.wav", "out/tone.wav", "-o", "out")[0] == 1
        assert Path("out/tone.wav").read_bytes() == tone.read_bytes()

    def test_what_is_there_is_skipped_if_asked(self, run: Run, tone: Path) -> None:
        shutil.copy(tone, "other.wav")
        assert run("encode", tone, "-o", "out")[0] == 0
        made = Path("out/tone.safetensors").stat().st_mtime_ns
        code, out, err = run("encode", tone, "other.wav", "-o", "out", "--skip-existing")
        assert (code, out.split(":")[0]) == (0, "out/other.safetensors")
        assert err == "vocos: 1 of 2 outputs are there already\n"
        assert Path("out/tone.safetensors").stat().st_mtime_ns == made
        # with nothing left to do, weights that cannot be had are not asked for
        assert run("encode", tone, "-o", "out", "--skip-existing", "--voco", "mel")[0] == 0

    def test_quiet_says_only_what_fails(self, run: Run, tone: Path) -> None:
        assert run("encode", tone, "-o", "out", "--quiet") == (0, "", "")
        assert run("encode", tone, "-o", "out", "--quiet", "--skip-existing") == (0, "", "")
        assert run("encode", "no.wav", tone, "-o", "out", "--quiet")[1:] == (
            "",
            "vocos: no.wav: no such file\nvocos: 1 of 2 files failed\n",
        )

    def test_empty_name_is_wrong_usage(self, run: Run) -> None:
        assert run("encode", "", "-o", "out")[0] == 2
        code, _, err = run("encode", "in.wav", "-o", "")
        assert code == 2
        assert "argument -o/--output: an empty name" in err


class TestPipes:
    """stdin, stdout and pipes with names."""

    def shell(self, line: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, "V": f"{sys.executable} -m vocos"}
        return subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, check=False)

    def test_sound_goes_through_latents_in_pipes(self, tone: Path) -> None:
        line = "set -o pipefail; cat tone.wav | $V encode - -o - | $V decode - -o - | $V roundtrip - -o out.flac"
        done = self.shell(line, tone.parent)
        assert done.returncode == 0, done.stderr
        assert soundfile.info(tone.parent / "out.flac").frames == 12000
        assert done.stdout == b"out.flac: 0.50 s mono at 24000 Hz by griffinlim\n"
        assert set(done.stderr.splitlines()) == {
            b"-: 47 frames of 100, 0.50 s; 2 channels averaged into 1; 22050 Hz resampled to 24000 Hz",
            b"-: 0.50 s mono at 24000 Hz by griffinlim",
        }
        assert tree(tone.parent) == ["out.flac", "tone.wav"]

    def test_sound_in_pipes_is_not_kept(self, run: Run, tone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def kept(*_: object, **__: object) -> None:
            raise AssertionError("a live source may be as long as it likes")

        monkeypatch.setattr(tempfile, "TemporaryFile", kept)
        monkeypatch.setattr(tempfile, "TemporaryDirectory", kept)
        os.mkfifo("in.wav")
        os.mkfifo("out.wav")
        got: list[bytes] = []
        writer = threading.Thread(target=lambda: Path("in.wav").write_bytes(tone.read_bytes()))
        reader = threading.Thread(target=lambda: got.append(Path("out.wav").read_bytes()))
        for thread in (writer, reader):
            thread.start()
        code, out, err = run("roundtrip", "in.wav", "-o", "out.wav")
        for thread in (writer, reader):
            thread.join()
        assert (code, err) == (0, "")
        assert out.startswith("out.wav: 0.50 s mono at 24000 Hz by griffinlim; 2 channels averaged into 1")
        assert len(got[0]) == 44 + 2 * 12000

    def test_sound_on_stdout_says_its_length_where_it_can(self, tone: Path) -> None:
        piping = "set -o pipefail; cat tone.wav | $V roundtrip - -o - | cat > piped.wav"
        line = f"{piping} && $V roundtrip tone.wav -o - > told.wav"
        done = self.shell(line, tone.parent)
        assert done.returncode == 0, done.stderr
        piped, told = ((tone.parent / f"{name}.wav").read_bytes() for name in ("piped", "told"))
        assert struct.unpack("<I32xI", told[4:44]) == (36 + 24000, 24000)
        assert piped == told[:4] + b"\xff" * 4 + told[8:40] + b"\xff" * 4 + told[44:]
        assert soundfile.info(tone.parent / "piped.wav").frames == 12000

    def test_other_formats_go_through_pipes_too(self, tone: Path) -> None:
        soundfile.write(tone.parent / "tone.flac", *soundfile.read(tone))
        os.mkfifo(tone.parent / "out.flac")
        line = "cat out.flac > kept.flac & cat tone.flac | $V roundtrip - -o out.flac; wait"
        done = self.shell(line, tone.parent)
        assert done.returncode == 0, done.stderr
        assert soundfile.info(tone.parent / "kept.flac").format == "FLAC"
        assert soundfile.info(tone.parent / "kept.flac").frames == 12000

    @pytest.mark.parametrize("command", ["roundtrip tone.wav", "encode tone.wav"])
    def test_full_disk_behind_stdout_is_one_line(self, command: str, tone: Path) -> None:
        done = self.shell(f"$V {command} -o - > /dev/full", tone.parent)
        assert (done.returncode, done.stderr) == (1, b"vocos: -: No space left on device\n")

    def test_bad_stdin_is_named_by_its_sign(self, tone: Path) -> None:
        done = self.shell("echo hello | $V encode - -o out", tone.parent)
        assert done.returncode == 1
        assert done.stderr.startswith(b"vocos: -: not a readable audio file")

    def test_pipes_with_names(self, run: Run, tone: Path, weights: Path) -> None:
        os.mkfifo("in.wav")
        os.mkfifo("out.codes")
        got: list[bytes] = []
        writer = threading.Thread(target=lambda: Path("in.wav").write_bytes(tone.read_bytes()))
        reader = threading.Thread(target=lambda: got.append(Path("out.codes").read_bytes()))
        for thread in (writer, reader):
            thread.start()
        code, _, err = run("tokenize", "in.wav", "-o", "out.codes", "--voco", "dac", "--weights", weights)
        for thread in (writer, reader):
            thread.join()
        assert (code, err) == (0, "")
        Path("kept.codes").write_bytes(got[0])
        assert load_codes("kept.codes", get_voco("dac", weights=weights)).codes.shape == (1, 200, 3)
        assert Path("out.codes").is_fifo()

    def test_stdout_takes_one_output(self, run: Run, tone: Path) -> None:
        shutil.copy(tone, "other.wav")
        code, out, err = run("encode", tone, "other.wav", "-o", "-")
        assert (code, out) == (1, "")
        assert err == "vocos: -: takes the output of one file; several, or a folder, need a folder\n"


def test_interrupt_leaves_what_is_complete_and_nothing_half(
    run: Run, tone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(tone, "other.wav")
    from vocos.files.latents import LatentsWriter

    finish = LatentsWriter.finish

    def interrupted(self: LatentsWriter) -> None:
        finish(self)
        if Path("out/tone.safetensors").exists():
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LatentsWriter, "finish", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        code, _, err = run("encode", "tone.wav", "other.wav", "-o", "out")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, err) == (130, "vocos: interrupted\n")
    assert [path.name for path in Path("out").iterdir()] == ["tone.safetensors"]
    assert load_file("out/tone.safetensors")
