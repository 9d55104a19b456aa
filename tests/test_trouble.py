"""What goes wrong on the way from the Hub to a network: connections, servers, disks, files made to do harm."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import OTHERS
from loopback_hub import COMMIT, LFS_THRESHOLD, LoopbackHub
from safetensors.torch import save_file

from vocos import CheckpointError, InvalidInput, Voco, get_voco
from vocos.codecs.vocos_mel import Mel, MelConfig
from vocos.weights.formats import OWN_MARK
from vocos.weights.source import DEFAULT_REPOSITORY

WEIGHTS = "mel.safetensors"
LARGE = "org/large"  # a repository whose weights have a SHA-256 for a name
BOUND_SECONDS = 60  # of one program, so that none can hang the suite

# Forks a process for each program, so that torch is imported once; the Hub's client is imported in each anew, for it
# reads its environment at import.
NURSERY = """
import dataclasses, hashlib, json, os, resource, signal, sys, threading, time, traceback
import torch
from vocos import *
from vocos import cli
from vocos.codecs import dac, dacvae, oobleck, vocos_encodec as encodec, vocos_mel as mel

torch.set_num_threads(1)

def digest(voco):
    return hashlib.sha256(b"".join(p.numpy().tobytes() for p in voco.load().parameters())).hexdigest()

def attempt(*args, **kwargs):
    try:
        print(digest(get_voco(*args, **kwargs)))
    except VocoError as error:
        print(type(error).__name__, error.__cause__ is not None, str(error).replace("\\n", "<newline>"))

for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        print(os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1]), flush=True)
        continue
    if pid := os.fork():
        print(pid, flush=True)
        continue
    signal.alarm(job["seconds"])
    os.environ.update(job["environment"])
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT), number)
    code = 0
    try:
        exec(job["program"], globals())
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
"""
NO_WAITING = "time.sleep = lambda seconds: None  # the client's between its retries, up to 23 s\n"
MEL = 'attempt("mel")'


@dataclass
class Child:
    """A program that runs."""

    pid: int
    out: Path
    err: Path


class Client:
    """Runs programs, each in a process of its own, against a Hub."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "VOCOS_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def _ask(self, **job: Any) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, hub: LoopbackHub, cache: Path, program: str, **variables: str) -> Child:
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        environment = {**hub.environment(cache), **variables}
        pid = self._ask(program=program, environment=environment, out=str(out), err=str(err), seconds=BOUND_SECONDS)
        return Child(pid, out, err)

    def wait(self, child: Child) -> int:
        """The exit code, negative for a signal."""
        return self._ask(wait=child.pid)

    def lines(self, child: Child) -> list[str]:
        """What a program has printed, once it has ended well."""
        assert self.wait(child) == 0, child.err.read_text()
        return child.out.read_text().splitlines()

    def run(self, hub: LoopbackHub, cache: Path, program: str, **variables: str) -> list[str]:
        return self.lines(self.start(hub, cache, program, **variables))

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(tmp_path_factory.mktemp("output"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights that the Hub serves as a large file."""
    folder = tmp_path_factory.mktemp("large")
    config = MelConfig(n_mels=4, n_fft=16, hop_length=4, dim=16, intermediate_dim=10_000, num_layers=1)
    generator = torch.Generator().manual_seed(0)
    shapes = {name: tensor.shape for name, tensor in Mel().build(config).state_dict().items()}
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(state, folder / "model.safetensors", metadata={OWN_MARK: "1"})
    (folder / "config.json").write_text(json.dumps(config.as_dict()))
    assert (folder / "model.safetensors").stat().st_size >= LFS_THRESHOLD
    return folder


@pytest.fixture
def hub(weights: Path, large: Path, tmp_path: Path) -> Iterator[LoopbackHub]:
    shutil.copytree(weights, tmp_path / "root" / DEFAULT_REPOSITORY)
    shutil.copytree(large, tmp_path / "root" / LARGE)
    with LoopbackHub(tmp_path / "root") as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def digest(voco: Voco[Any]) -> str:
    """As of the programs."""
    return hashlib.sha256(b"".join(p.numpy().tobytes() for p in voco.load().parameters())).hexdigest()


@pytest.fixture(scope="module")
def expected(weights: Path) -> str:
    """Digest of mel from the local weights."""
    return digest(get_voco("mel", weights=weights))


def snapshots(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("snapshots/*/*") if path.is_file()]


def assert_whole(cache: Path, root: Path) -> None:
    """No file that the client shows under its name is half a file."""
    for path in snapshots(cache):
        assert path.read_bytes() == (root / DEFAULT_REPOSITORY / path.name).read_bytes(), path


class TestConnection:
    """Between this machine and the Hub."""

    def test_no_network_says_what_to_do_and_the_cache_does_without(
        self, client: Client, hub: LoopbackHub, cache: Path, expected: str
    ) -> None:
        closed = {"HF_ENDPOINT": "http://127.0.0.1:9"}  # nothing listens on the port of the discard protocol
        (line,) = client.run(hub, cache, NO_WAITING + MEL, **closed)
        assert line.startswith("WeightsUnavailable True weights: 'mel.json' of 'optimizerai/vocos' is not in the cache")
        assert "the Hub was not reached (no network, " in line
        assert line.endswith("connect once to download it, or pass weights= a local folder")
        assert client.run(hub, cache, MEL) == [expected]
        hub.reset()
        assert client.run(hub, cache, NO_WAITING + MEL, **closed) == [expected]
        assert hub.count() == 0

    def test_cut_once_is_resumed(self, client: Client, hub: LoopbackHub, cache: Path, expected: str) -> None:
        hub.cut(DEFAULT_REPOSITORY, WEIGHTS, after=20_000)
        assert client.run(hub, cache, NO_WAITING + MEL) == [expected]
        assert hub.count("GET", file=WEIGHTS) == 2

    def test_cut_every_time_is_reported_in_one_line(
        self, client: Client, hub: LoopbackHub, cache: Path, tmp_path: Path
    ) -> None:
        hub.cut(DEFAULT_REPOSITORY, WEIGHTS, after=20_000, times=99)
        (line,) = client.run(hub, cache, NO_WAITING + MEL)
        assert line.startswith("WeightsUnavailable True weights: downloading 'mel.safetensors' of 'optimizerai/vocos'")
        assert re.search(r"failed: \w+: .+; try again, or pass weights= a local folder$", line)
        assert "<newline>" not in line
        assert_whole(cache, tmp_path / "root")

    @pytest.mark.parametrize("status", [500, 503])
    @pytest.mark.parametrize("file", ["mel.json", WEIGHTS])
    def test_server_that_fails_once_is_asked_again(
        self, status: int, file: str, client: Client, hub: LoopbackHub, cache: Path, expected: str
    ) -> None:
        hub.answer(DEFAULT_REPOSITORY, file, status)
        assert client.run(hub, cache, NO_WAITING + MEL) == [expected]
        assert [request.status for request in hub.matching("HEAD", file=file)] == [status, 200]

    def test_server_that_always_fails_is_reported(self, client: Client, hub: LoopbackHub, cache: Path) -> None:
        hub.answer(DEFAULT_REPOSITORY, WEIGHTS, 503, times=999)
        (line,) = client.run(hub, cache, NO_WAITING + MEL)
        assert line.startswith(
            "WeightsUnavailable True weights: 'mel.safetensors' of 'optimizerai/vocos': the Hub answered"
        )
        assert "answered 503 Service Unavailable (Injected failure); the fault is the Hub's: try again later" in line

    def test_body_shorter_than_announced_is_refused_and_can_be_tried_again(
        self, client: Client, hub: LoopbackHub, cache: Path, expected: str, tmp_path: Path
    ) -> None:
        hub.truncate(DEFAULT_REPOSITORY, WEIGHTS, after=20_000)
        refused, loaded = client.run(hub, cache, f"{MEL}\n{MEL}")
        assert refused.startswith("WeightsUnavailable True weights: downloading 'mel.safetensors' of ")
        assert "try again" in refused
        assert "<newline>" not in refused
        assert loaded == expected
        assert_whole(cache, tmp_path / "root")

    @pytest.mark.parametrize("after", [0, 20_000, -1])
    def test_process_killed_in_a_download_leaves_nothing_that_the_next_one_takes(
        self, after: int, client: Client, hub: LoopbackHub, cache: Path, expected: str, tmp_path: Path
    ) -> None:
        after %= (tmp_path / "root" / DEFAULT_REPOSITORY / WEIGHTS).stat().st_size
        hub.stall(DEFAULT_REPOSITORY, WEIGHTS, after=after)
        child = client.start(hub, cache, MEL)
        deadline = time.monotonic() + BOUND_SECONDS  # against waiting for ever, when the program has ended
        while not any(request.sent == after for request in hub.matching("GET", file=WEIGHTS)):
            assert time.monotonic() < deadline, child.err.read_text()
            time.sleep(0.01)
        assert [path.name for path in snapshots(cache)] == ["mel.json"]
        os.kill(child.pid, signal.SIGKILL)
        assert client.wait(child) == -signal.SIGKILL
        assert [path.name for path in snapshots(cache)] == ["mel.json"]
        assert client.run(hub, cache, MEL) == [expected]
        assert_whole(cache, tmp_path / "root")


class TestPermission:
    """Who may read a repository."""

    def test_gated_repository_with_a_token_without_access(self, client: Client, hub: LoopbackHub, cache: Path) -> None:
        hub.gated.add(DEFAULT_REPOSITORY)
        (line,) = client.run(hub, cache, 'attempt("mel", token="wrong")')
        assert line.startswith("WeightsUnavailable True weights: 'optimizerai/vocos' is gated; accept its licence at ")
        assert "https://huggingface.co/optimizerai/vocos" in line
        assert "wrong" not in line
        assert hub.matching()[0].headers["authorization"] == "Bearer wrong"

    @pytest.mark.parametrize("arguments", ["", ', token="wrong"'])
    def test_private_repository_looks_absent(
        self, arguments: str, client: Client, hub: LoopbackHub, cache: Path, expected: str
    ) -> None:
        hub.token = "secret"
        refused, loaded = client.run(hub, cache, f'attempt("mel"{arguments})\nattempt("mel", token="secret")')
        assert refused.startswith("WeightsUnavailable True weights: 'optimizerai/vocos' does not exist on the Hub, or ")
        assert "for a private one log in with `hf auth login`, set HF_TOKEN, or pass token=" in refused
        assert "wrong" not in refused
        assert loaded == expected

    @pytest.mark.parametrize("subfolder", ["../..", "/etc", "vae/../../..", ".."])
    @pytest.mark.parametrize("place", ["org/name", None, "folder"])
    def test_subfolder_that_leaves_its_place_is_refused_before_anything(
        self, place: str | None, subfolder: str, tmp_path: Path
    ) -> None:
        weights = tmp_path if place == "folder" else place
        with pytest.raises(InvalidInput, match=r"weights: subfolder '.*' leaves the place that it is a folder of$"):
            get_voco("mel", weights=weights, subfolder=subfolder)


class TestRefusal:
    """The Hub answers, and says no: so do we, with its reason, at once."""

    IMPATIENT = """
def sleep(seconds):
    assert seconds < 30, f"waits {seconds} s"
time.sleep = sleep
"""

    @pytest.mark.parametrize("method", ["HEAD", "GET"])
    @pytest.mark.parametrize(
        ("status", "message"),
        [
            (401, "401 Unauthorized (Injected failure); the token is not accepted: log in with `hf auth login`"),
            (403, "403 Forbidden (Injected failure); the token may lack the right to read this repository"),
            (429, "429 Too Many Requests (Injected failure); try again later; those who log in "),
            (500, "500 Internal Server Error (Injected failure); the fault is the Hub's: try again later"),
            (502, "502 Bad Gateway (Injected failure); the fault is the Hub's"),
            (418, "418 I'm a Teapot (Injected failure); try again later"),
            (451, "451 Unavailable For Legal Reasons (Injected failure); try again later"),
        ],
    )
    def test_status_is_said(
        self, status: int, message: str, method: str, client: Client, hub: LoopbackHub, cache: Path
    ) -> None:
        hub.answer(DEFAULT_REPOSITORY, "mel.json", status, times=999, method=method)
        (line,) = client.run(hub, cache, NO_WAITING + MEL)
        assert f"weights: 'mel.json' of 'optimizerai/vocos': the Hub answered {message}" in line
        assert ", or pass weights= a local folder" in line
        assert (". Public checkpoints of the same codec: " in line) == (status in (401, 403))
        assert "not reached" not in line

    @pytest.mark.parametrize("method", ["HEAD", "GET"])
    @pytest.mark.parametrize("headers", [{"Retry_After": "3600"}, {"RateLimit": '"resolvers";r=0;t=3600'}])
    def test_long_waits_are_not_waited_for(
        self, headers: dict[str, str], method: str, client: Client, hub: LoopbackHub, cache: Path, expected: str
    ) -> None:
        hub.answer(DEFAULT_REPOSITORY, "mel.json", 429, times=999, method=method, **headers)
        (line,) = client.run(hub, cache, self.IMPATIENT + MEL)
        assert "the Hub answered 429 Too Many Requests (Injected failure), and asks to wait 3600 s; try again" in line
        assert hub.count(method, file="mel.json") == 1
        hub.reset()
        assert client.run(hub, cache, MEL) == [expected]
        hub.answer(DEFAULT_REPOSITORY, "mel.json", 429, times=999, **headers)
        assert client.run(hub, cache, self.IMPATIENT + MEL) == [expected]  # from the cache

    def test_short_waits_are_waited_for(self, client: Client, hub: LoopbackHub, cache: Path, expected: str) -> None:
        hub.answer(DEFAULT_REPOSITORY, "mel.json", 429, times=2, method="GET", Retry_After="1")
        assert client.run(hub, cache, NO_WAITING + MEL) == [expected]

    def test_waits_add_up(self, client: Client, hub: LoopbackHub, cache: Path) -> None:
        hub.answer(DEFAULT_REPOSITORY, "mel.json", 503, times=999, Retry_After="20")
        (line,) = client.run(hub, cache, self.IMPATIENT + MEL)
        assert "answered 503 Service Unavailable (Injected failure), and asks to wait 20 s; the fault is" in line
        assert hub.count() == 2

    def test_patience_of_other_programs_parts_is_their_own(self, client: Client, hub: LoopbackHub, cache: Path) -> None:
        hub.answer(DEFAULT_REPOSITORY, "dac.json", 429, times=1, method="GET", Retry_After="3600")
        program = f"""
get_voco("mel").load()
waits, time.sleep = [], lambda seconds: waits.append(seconds)
import huggingface_hub
huggingface_hub.hf_hub_download("{DEFAULT_REPOSITORY}", "dac.json")
print(waits)
"""
        assert client.run(hub, cache, program) == ["[3601.0]"]

    def test_absent_repository_is_asked_for_once(self, client: Client, hub: LoopbackHub, cache: Path) -> None:
        program = self.IMPATIENT + 'attempt("dac", weights="org/absent")'
        (line,) = client.run(hub, cache, program)
        assert line.startswith(
            "WeightsUnavailable True weights: 'org/absent' does not exist on the Hub, or is private;"
        )
        assert hub.count() == 1

    @pytest.mark.parametrize(
        ("name", "alternative"),
        [
            ("mel", "get_voco('mel', weights='charactr/vocos-mel-24khz') (mit)"),
            ("encodec", "get_voco('encodec', weights='charactr/vocos-encodec-24khz') (mit)"),
            ("dac", "get_voco('dac', weights='descript/dac_44khz') (mit)"),
            ("dacvae", "get_voco('dacvae', weights='facebook/dacvae-watermarked') (apache-2.0)"),
            ("oobleck", "get_voco('oobleck', weights='ACE-Step/Ace-Step1.5', subfolder='vae') (mit)"),
            (
                "oobleck",
                "get_voco('oobleck', weights='stabilityai/stable-audio-open-1.0', subfolder='vae') "
                "(stabilityai-ai-community; gated: accept the licence at https://huggingface.co/stabilityai/stable-audio-open-1.0)",
            ),
        ],
    )
    def test_stranger_to_the_default_repository_is_shown_the_public_ones(
        self, name: str, alternative: str, client: Client, hub: LoopbackHub, cache: Path
    ) -> None:
        hub.token = "secret"
        (line,) = client.run(hub, cache, f'{self.IMPATIENT}attempt("{name}")')
        assert line.startswith(
            "WeightsUnavailable True weights: 'optimizerai/vocos' does not exist on the Hub, or is pr"
        )
        assert ". Public checkpoints of the same codec: get_voco(" in line
        assert alternative in line
        assert hub.count() == 1
        assert alternative in get_voco(name).alternatives

    def test_what_was_cached_before_access_ended_is_used(
        self, client: Client, hub: LoopbackHub, cache: Path, large: Path
    ) -> None:
        load = f'attempt("mel", weights="{LARGE}")'  # whose files have the last of the names that mel looks for
        whole = digest(get_voco("mel", weights=large))
        assert client.run(hub, cache, load) == [whole]
        hub.token = "secret"
        assert client.run(hub, cache, load) == [whole]

    @pytest.mark.parametrize(
        "name", ["org/mine.git", "org/a--b", "org/a..b", "org/" + "a" * 97, "org/name-", "org/name."]
    )
    def test_name_that_no_repository_can_have(self, name: str, client: Client, hub: LoopbackHub, cache: Path) -> None:
        (line,) = client.run(hub, cache, f'attempt("mel", weights="{name}")')
        assert line.startswith(f"WeightsUnavailable True weights: '{name}' is not a repository name: ")
        assert hub.count() == 0

    def test_token_that_no_header_can_hold_is_not_shown(self, client: Client, hub: LoopbackHub, cache: Path) -> None:
        (line,) = client.run(hub, cache, r'attempt("mel", token="secr\net")')
        assert line.startswith("WeightsUnavailable True weights: downloading 'mel.json' of ")
        assert "secr" not in line


class TestOneCommit:
    """Config and weights were written together, whatever is pushed between the reading of one and of the other."""

    READ = """
import pickle
voco = get_voco("mel", weights="org/large")
voco.sampling_rate
pickle.dump(voco, open(PATH, "wb"))
"""
    LOAD = "import pickle\nvoco = pickle.load(open(PATH, 'rb'))\nprint(digest(voco))\nprint(voco.revision)"

    @pytest.fixture
    def pushed(self, large: Path, tmp_path: Path) -> Path:
        """The files of the next commit: of the same sizes, other weights."""
        shutil.copytree(large, tmp_path / "pushed")
        voco = get_voco("mel", weights=large).load()
        with torch.no_grad():
            for parameter in voco.parameters():
                parameter.neg_()
        voco.save(tmp_path / "pushed")
        return tmp_path / "pushed"

    def programs(self, tmp_path: Path) -> tuple[str, str]:
        path = repr(str(tmp_path / "voco.pickle"))
        return self.READ.replace("PATH", path), self.LOAD.replace("PATH", path)

    def test_weights_are_of_the_commit_of_the_config(
        self, client: Client, hub: LoopbackHub, cache: Path, tmp_path: Path, large: Path, pushed: Path
    ) -> None:
        read, load = self.programs(tmp_path)
        client.run(hub, cache, read)
        old, new = (digest(get_voco("mel", weights=folder)) for folder in (large, pushed))
        commit = hub.push(LARGE, pushed)
        assert client.run(hub, cache, load) == [old, COMMIT]
        assert client.run(hub, cache, f"{load}\nprint(len(voco.fetch()))", HF_HUB_OFFLINE="1") == [old, COMMIT, "2"]
        again = f'voco = get_voco("mel", weights="{LARGE}")\nprint(digest(voco), voco.revision)'
        assert client.run(hub, cache, again) == [f"{new} {commit}"]
        assert client.run(hub, cache, again, HF_HUB_OFFLINE="1") == [f"{new} {commit}"]

    def test_config_inside_the_weights(self, client: Client, hub: LoopbackHub, cache: Path, tmp_path: Path) -> None:
        for folder in ("root/org/inside", "pushed"):
            (tmp_path / folder).mkdir()
        OTHERS["descript-dac"].write(tmp_path / "root" / "org" / "inside")
        old = digest(get_voco("dac", weights=tmp_path / "root" / "org" / "inside"))
        read, load = (p.replace('"mel"', '"dac"').replace(LARGE, "org/inside") for p in self.programs(tmp_path))
        client.run(hub, cache, read)
        OTHERS["transformers-dac"].write(tmp_path / "pushed")
        hub.push("org/inside", tmp_path / "pushed")
        assert client.run(hub, cache, f"{load}\nprint(len(voco.fetch()))") == [old, COMMIT, "1"]

    def test_fetch_brings_the_weights_of_the_config_that_was_read(
        self, client: Client, hub: LoopbackHub, cache: Path, tmp_path: Path, pushed: Path
    ) -> None:
        read, load = self.programs(tmp_path)
        client.run(hub, cache, read)
        hub.push(LARGE, pushed)
        fetch = load.split("print")[0] + "print(*voco.fetch())"
        (line,) = client.run(hub, cache, fetch)
        assert line.count(COMMIT) == 2

    def test_offline_the_commits_in_the_cache_are_named(
        self, client: Client, hub: LoopbackHub, cache: Path, large: Path
    ) -> None:
        by_commit = f'attempt("mel", weights="{LARGE}", revision="{COMMIT}")'
        whole = digest(get_voco("mel", weights=large))
        assert client.run(hub, cache, by_commit) == [whole]
        for offline, variables in ((", local_files_only=True", {}), ("", {"HF_HUB_OFFLINE": "1"})):
            (line,) = client.run(hub, cache, f'attempt("mel", weights="{LARGE}"{offline})', **variables)
            assert line.startswith("WeightsUnavailable True weights: ")
            assert line.endswith(f"; the cache has it with revision='{COMMIT}'")
            assert client.run(hub, cache, by_commit, **variables) == [whole]


class TestHash:
    """Right size, wrong bytes: the client does not look."""

    LOAD = f'attempt("mel", weights="{LARGE}")'
    COUNTED = f"""
counted, original = [], hashlib.file_digest
hashlib.file_digest = lambda *args: counted.append(args) or original(*args)
{LOAD}
print(len(counted))  # of the config, and of the weights
"""

    def test_large_file_is_hashed_when_it_is_downloaded_and_never_again(
        self, client: Client, hub: LoopbackHub, cache: Path, large: Path
    ) -> None:
        whole = digest(get_voco("mel", weights=large))
        assert client.run(hub, cache, self.COUNTED) == [whole, "2"]
        hub.reset()
        assert client.run(hub, cache, self.COUNTED) == [whole, "0"]
        assert hub.count("GET") == 0

    @pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
    @pytest.mark.parametrize("variables", [{}, {"HF_HUB_DISABLE_SYMLINKS": "1"}])
    def test_wrong_bytes_that_another_program_left_are_fetched_again(
        self, variables: dict[str, str], file: str, client: Client, hub: LoopbackHub, cache: Path, large: Path
    ) -> None:
        hub.corrupt(LARGE, file)
        leave = f'import huggingface_hub\nhuggingface_hub.hf_hub_download("{LARGE}", "{file}")'
        client.run(hub, cache, leave, **variables)
        assert client.run(hub, cache, self.LOAD, **variables) == [digest(get_voco("mel", weights=large))]
        assert hub.count("GET", LARGE, file) == 2
        whole = digest(get_voco("mel", weights=large))
        hub.reset()
        assert client.run(hub, cache, self.COUNTED, **variables) == [whole, "0"]
        assert hub.count("GET") == 0
        assert hub.count("HEAD", LARGE, file) == (file == "config.json")

    @pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
    def test_bit_that_flips_in_the_cache(
        self, file: str, client: Client, hub: LoopbackHub, cache: Path, large: Path
    ) -> None:
        whole = digest(get_voco("mel", weights=large))
        assert client.run(hub, cache, self.LOAD) == [whole]
        (path,) = (path for path in snapshots(cache) if path.name == file)
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        (line,) = client.run(hub, cache, self.LOAD, HF_HUB_OFFLINE="1")
        assert line.startswith(f"CheckpointError False {path}: damaged, its content is not what {LARGE}")
        assert line.endswith("connect once, and it is fetched again, or delete it and copy it anew")
        assert client.run(hub, cache, self.LOAD) == [whole]
        assert client.run(hub, cache, self.LOAD, HF_HUB_OFFLINE="1") == [whole]
        path.write_bytes(b"{" + path.read_bytes()[1:] + b" ")
        hub.answer(LARGE, file, 403, times=99)
        (line,) = client.run(hub, cache, NO_WAITING + self.LOAD)
        assert f"{path} was damaged and has been removed; weights: '{file}' of '{LARGE}': the Hub answered 403" in line

    def test_cache_that_cannot_be_written_is_looked_at_once_by_each_process(
        self, client: Client, hub: LoopbackHub, cache: Path, large: Path
    ) -> None:
        whole = digest(get_voco("mel", weights=large))
        folder = cache / "hub" / f"models--{LARGE.replace('/', '--')}"
        folder.mkdir(parents=True)
        (folder / ".vocos").write_text("no folder can be made here")
        for _ in range(2):
            assert client.run(hub, cache, self.COUNTED + self.LOAD) == [whole, "2", whole]
        program = f"{self.COUNTED}{self.LOAD}\nprint(len(counted))"
        assert client.run(hub, cache, program) == [whole, "2", whole, "2"]

    def test_image_of_a_container_keeps_whole_seconds_of_the_times(
        self, client: Client, hub: LoopbackHub, cache: Path, large: Path
    ) -> None:
        whole = digest(get_voco("mel", weights=large))
        assert client.run(hub, cache, self.COUNTED) == [whole, "2"]
        for path in snapshots(cache):
            seconds = path.stat().st_mtime_ns // 10**9
            os.utime(path, (seconds, seconds))
        assert client.run(hub, cache, self.COUNTED) == [whole, "0"]

    def test_processes_that_find_the_same_wrong_bytes(
        self, client: Client, hub: LoopbackHub, cache: Path, large: Path
    ) -> None:
        hub.corrupt(LARGE, "config.json")
        hub.corrupt(LARGE, "model.safetensors")
        children = [client.start(hub, cache, self.LOAD) for _ in range(8)]
        assert [client.lines(child) for child in children] == [[digest(get_voco("mel", weights=large))]] * 8

    def test_wrong_bytes_once_are_fetched_again(
        self, client: Client, hub: LoopbackHub, cache: Path, large: Path
    ) -> None:
        hub.corrupt(LARGE, "model.safetensors")
        assert client.run(hub, cache, self.LOAD) == [digest(get_voco("mel", weights=large))]
        assert hub.count("GET", LARGE, "model.safetensors") == 2

    def test_wrong_bytes_every_time_are_refused(
        self, client: Client, hub: LoopbackHub, cache: Path, large: Path
    ) -> None:
        hub.corrupt(LARGE, "model.safetensors", times=99)
        (line,) = client.run(hub, cache, self.LOAD)
        assert line.startswith("CheckpointError ")
        assert (
            f"model.safetensors: not the file that {LARGE}@{COMMIT} announces (its hash differs), 2 times in a row"
            in line
        )
        assert hub.count("GET", LARGE, "model.safetensors") == 2
        hub.reset()  # the proxy is repaired: what it left in the cache must not be believed
        assert client.run(hub, cache, self.LOAD) == [digest(get_voco("mel", weights=large))]

    def test_known_hash_decides_for_the_default_weights(
        self, client: Client, hub: LoopbackHub, cache: Path, tmp_path: Path, expected: str
    ) -> None:
        known = hashlib.sha256((tmp_path / "root" / DEFAULT_REPOSITORY / WEIGHTS).read_bytes()).hexdigest()
        program = (
            'row = mel.Mel.checkpoints["mel"]\nsource = dataclasses.replace(row.source, sha256="{}")\n'
            'mel.Mel.checkpoints["mel"] = dataclasses.replace(row, source=source)\n' + MEL
        )
        assert client.run(hub, cache / "right", program.format(known)) == [expected]
        assert hub.count("GET", file=WEIGHTS) == 1
        hub.reset()
        (line,) = client.run(hub, cache / "wrong", program.format("0" * 64))
        assert line.startswith("CheckpointError ")
        assert f"mel.safetensors: not the file that {DEFAULT_REPOSITORY}@{COMMIT} announces (its hash differs)" in line
        assert hub.count("GET", file=WEIGHTS) == 2

    def test_file_cut_off_in_the_cache_is_fetched_again(
        self, client: Client, hub: LoopbackHub, cache: Path, expected: str
    ) -> None:
        assert client.run(hub, cache, MEL) == [expected]
        (path,) = (path for path in snapshots(cache) if path.name == WEIGHTS)
        os.truncate(path.resolve(), 20_000)
        assert client.run(hub, cache, MEL) == [expected]
        assert path.stat().st_size > 20_000


class TestDisk:
    """The cache cannot be written."""

    def test_cache_that_is_a_file(self, client: Client, hub: LoopbackHub, cache: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        (line,) = client.run(hub, cache, f'attempt("mel", cache_dir={str(tmp_path / "file")!r})')
        assert line.startswith("WeightsUnavailable True weights: 'mel.json' of 'optimizerai/vocos' cannot be written ")
        assert "make room or choose another folder with HF_HOME or cache_dir=" in line
        assert (tmp_path / "file").read_text() == "mine"

    def test_full_disk_is_reported_and_with_room_the_load_succeeds(
        self, client: Client, hub: LoopbackHub, cache: Path, expected: str, tmp_path: Path
    ) -> None:
        # A limit on the size of files stands for a full disk: it needs no rights, and gives EFBIG instead of ENOSPC.
        full = f"""
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
{MEL}"""
        (line,) = client.run(hub, cache, full)
        assert line.startswith("WeightsUnavailable True weights: 'mel.safetensors' of 'optimizerai/vocos' cannot be ")
        assert "written to the cache" in line
        assert [path.name for path in snapshots(cache)] == ["mel.json"]
        assert client.run(hub, cache, MEL) == [expected]
        assert_whole(cache, tmp_path / "root")


class TestAtOnce:
    """Many that load the same codec into an empty cache."""

    def fetched_once(self, hub: LoopbackHub) -> None:
        assert sorted(request.file for request in hub.matching("GET")) == ["mel.json", WEIGHTS]

    def test_sixteen_threads(self, client: Client, hub: LoopbackHub, cache: Path, expected: str) -> None:
        program = """
found, together = [], threading.Barrier(16)
def load():
    together.wait()
    found.append(digest(get_voco("mel")))
threads = [threading.Thread(target=load) for _ in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(found), *set(found))
"""
        assert client.run(hub, cache, program) == [f"16 {expected}"]
        self.fetched_once(hub)

    def test_sixteen_processes(self, client: Client, hub: LoopbackHub, cache: Path, expected: str) -> None:
        hub.latency = 0.05  # so that all of them have begun before the first has its files
        children = [client.start(hub, cache, MEL) for _ in range(16)]
        assert [client.lines(child) for child in children] == [[expected]] * 16
        self.fetched_once(hub)


class Marking:
    """Something that leaves a trace when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def pickled(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


class TestPickle:
    """The older public files, which could run code."""

    @pytest.mark.parametrize("write", [pickled, torch.save])
    @pytest.mark.parametrize("place", ["alone", "state_dict", "metadata"])
    @pytest.mark.parametrize(("name", "file"), [("dac", "weights.pth"), ("mel", "pytorch_model.bin")])
    def test_code_is_refused_and_not_run(
        self, name: str, file: str, place: str, write: Callable[[Any, Path], None], tmp_path: Path
    ) -> None:
        marker = tmp_path / "marker"
        evil = Marking(marker)
        content = {"alone": evil, "state_dict": {"state_dict": {"x": evil}}, "metadata": {"metadata": {"kwargs": evil}}}
        write(content[place], tmp_path / file)
        message = f"{file}: refused, for reading it would run code of its own"
        with pytest.raises(CheckpointError, match=message) as caught:
            get_voco(name, weights=tmp_path).load()
        assert "\n" not in str(caught.value)
        assert not marker.exists()
        pickle.loads(pickle.dumps(evil))
        assert marker.exists()  # it would have worked

    def test_honest_file_of_the_oldest_kind_loads(self, tmp_path: Path) -> None:
        OTHERS["charactr-mel"].write(tmp_path)
        expected = digest(get_voco("mel", weights=tmp_path))
        state = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
        torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
        assert (tmp_path / "pytorch_model.bin").read_bytes()[:1] == b"\x80"
        assert digest(get_voco("mel", weights=tmp_path)) == expected

    @pytest.mark.parametrize("is_zip", [True, False])
    def test_tensor_larger_than_its_storage_takes_no_memory(self, is_zip: bool, tmp_path: Path) -> None:
        # Each of the two large weights would have 4 TiB.
        sizes = {
            "n_mels": 4,
            "n_fft": 16,
            "hop_length": 4,
            "num_layers": 1,
            "dim": 1 << 20,
            "intermediate_dim": 1 << 20,
        }
        with torch.device("meta"):
            network = Mel().build(MelConfig(**sizes))
        state = {n: torch.zeros(1).expand(t.shape) for n, t in network.state_dict().items()}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(sizes))
        torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=is_zip)
        assert (tmp_path / "pytorch_model.bin").stat().st_size < 20_000
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(CheckpointError, match=r"pytorch_model.bin: \S+ has more elements than the file holds"):
            get_voco("mel", weights=tmp_path).load()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


ABSURD = """
from vocos.config import MAX_ITEMS, MAX_SIZE
from pathlib import Path

folder = Path(FOLDER)
HUGE = 10**400
before, tried, made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0, 0

def count(module, name, value):
    global made
    made += 1

torch.nn.modules.module.register_module_parameter_registration_hook(count)
torch.nn.modules.module.register_module_module_registration_hook(count)
most = 0
for name, config_type in {"mel": mel.MelConfig, "encodec": encodec.EncodecConfig, "dac": dac.DacConfig,
                          "dacvae": dacvae.DacVaeConfig, "oobleck": oobleck.OobleckConfig}.items():
    for field, kind in config_type.kinds.items():
        limit = kind.range.high if kind.type is int else MAX_SIZE
        values = [2, limit, limit + 1, HUGE, -HUGE, [1] * 300_000, [HUGE], [[[[1]]]], {"a": {"b": HUGE}}, "x" * 300_000]
        if kind.is_list:
            items = limit if kind.type is int else 1e300
            values += [[items] * MAX_ITEMS, [items] * (MAX_ITEMS + 1), [6] * MAX_ITEMS, [1] * 300_000 + [HUGE]]
        for value in values:
            (folder / "config.json").write_text(json.dumps({field: value}))
            tried += 1
            made = 0
            try:
                get_voco(name, weights=folder).load()
                print(f"{name} took {field} {str(value)[:40]}")
            except CheckpointError as error:
                if len(str(error)) > 1000:
                    print(f"{name} {field} {str(value)[:40]}: a message of {len(str(error))} characters")
            except Exception as error:
                print(f"{name} {field} {str(value)[:40]}: {type(error).__name__}: {str(error)[:200]}")
            most = max(most, made)
print(tried, most, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_absurd_configs_are_refused_at_once_and_in_little_memory(
    client: Client, hub: LoopbackHub, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    save_file({"x": torch.zeros(1)}, tmp_path / "config" / "model.safetensors", metadata={OWN_MARK: "1"})
    program = ABSURD.replace("FOLDER", repr(str(tmp_path / "config")))
    *problems, totals = client.run(hub, cache, program)
    assert not problems, "\n".join(problems)
    tried, made, kibibytes = (float(number) for number in totals.split())
    assert tried > 300
    assert made < 20_000  # modules and parameters of the largest network that was begun; measured: 4238
    assert kibibytes < 500_000


# Each name is a list of nine times the one before: few bytes of YAML, and 9 ** 6 items for whoever visits them all.
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcde", "bcdef", strict=True)
)


class TestConfigMadeToHarm:
    """What YAML and pickles can say and JSON cannot."""

    def refused(self, folder: Path, name: str, file: str, message: str) -> None:
        with pytest.raises(CheckpointError, match=message) as caught:
            get_voco(name, weights=folder)
        assert str(folder / file) in str(caught.value)
        assert len(str(caught.value)) < 1000

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("*f", r"must be an integer from 1 to 1024, got \[\[\[\.\.\.\], "),
            ("&loop [*loop]", r"must be an integer from 1 to 1024, got \[\[\[\.\.\.\]\]\]$"),
            ("0x" + "f" * 5000, "must be an integer from 1 to 1024, got an integer of 20000 bits"),
            ("1:" * 300 + "1", "must be an integer from 1 to 1024, got an integer of 1773 bits"),
            (
                "!!python/object/apply:os.getcwd []",
                "not a readable config: ConstructorError: could not determine a constructor",
            ),
            ("2001-99-99", "not a readable config: ValueError: month must be in 1..12"),
            *(
                (value, "not a readable config")
                for value in ('!!int ""', '!!float ""', "!!bool maybe", "!!timestamp now")
            ),
        ],
    )
    def test_value_of_yaml(self, value: str, message: str, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text(f"{BOMB}n_mels: {value}\n")
        self.refused(tmp_path, "mel", "config.yaml", message)

    def test_class_path_without_end(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text(f"{BOMB}feature_extractor: {{class_path: *f, init_args: {{}}}}\n")
        self.refused(tmp_path, "mel", "config.yaml", "feature_extractor is a ")

    def test_option_without_end(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text(f"{BOMB}hidden_size: 4\nhidden_act: *f\n")
        self.refused(tmp_path, "mel", "config.yaml", r"hidden_act is \[\[.*\.\.\., only 'gelu' is supported")

    def test_value_of_a_pickle_deeper_than_the_stack(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        content = {"metadata": {"kwargs": {"sample_rate": 16000, "n_codebooks": "PLACE"}}, "state_dict": {}}
        torch.save(content, path, _use_new_zipfile_serialization=False)
        place = b"X\x05\0\0\0PLACE"  # the opcode of a string; those of an empty list and of appending it are ] and a
        path.write_bytes(path.read_bytes().replace(place, b"]" * 10_000 + b"a" * 9_999))
        self.refused(tmp_path, "dac", "weights.pth", r"n_codebooks must be an integer from 1 to 256, got \[\[\[\.\.\.")

    def test_codebook_of_one_entry(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"codebook_size": 1}')
        save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={OWN_MARK: "1"})
        with pytest.raises(CheckpointError):
            get_voco("encodec", weights=tmp_path).load()


class TestCommandLine:
    """One line, no traceback."""

    def fails(self, client: Client, hub: LoopbackHub, cache: Path, *arguments: str) -> str:
        child = client.start(hub, cache, f"sys.exit(cli.main({list(arguments)!r}))")
        assert client.wait(child) == 1
        assert child.out.read_text() == ""
        (line,) = child.err.read_text().splitlines()
        return line

    def test_info_of_a_gated_repository(self, client: Client, hub: LoopbackHub, cache: Path) -> None:
        hub.gated.add(LARGE)
        line = self.fails(client, hub, cache, "info", "mel", "--weights", LARGE)
        assert line.startswith("vocos: weights: 'org/large' is gated; accept its licence at https://huggingface.co/org")

    def test_roundtrip_with_weights_that_arrive_short(
        self, client: Client, hub: LoopbackHub, cache: Path, tmp_path: Path
    ) -> None:
        hub.truncate(DEFAULT_REPOSITORY, WEIGHTS, after=20_000)
        sample = Path(__file__).parents[1] / "vocos" / "assets" / "sample.flac"
        target = tmp_path / "out.wav"
        line = self.fails(client, hub, cache, "roundtrip", "--voco", "mel", str(sample), "-o", str(target))
        assert line.startswith("vocos: weights: downloading 'mel.safetensors' of 'optimizerai/vocos' failed: ")
        assert not target.exists()
