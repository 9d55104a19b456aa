"""Memory that a call needs beyond weights, input and output, for 1, 4 and 16 minutes of audio.

    python benchmarks/memory_of_length.py

Each call runs in a process of its own, on networks of small width with random weights, so that what grows with the
length is not hidden by the weights. The memory is the peak of the process less what it had before the call and less
the output.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

MINUTES = (1, 4, 16)
BLOCKS = {"encoder_dim": 8, "encoder_rates": (2, 4, 8, 8), "decoder_dim": 64, "decoder_rates": (8, 8, 4, 2)}
SEANET = {"num_filters": 4, "hidden_size": 16}
NETWORKS: dict[str, dict[str, Any]] = {
    "mel": {"dim": 32, "intermediate_dim": 64, "num_layers": 2},
    "griffinlim": {},
    "encodec": {"n_filters": 4, "dim": 32, "intermediate_dim": 64, "num_layers": 2, "input_channels": 16},
    "encodec_24khz": SEANET,
    "encodec_32khz": SEANET,
    "encodec_48khz": SEANET,
    "dac_44khz": {**BLOCKS, "latent_dim": 64},
    "dacvae": {**BLOCKS, "latent_dim": 16},
    "oobleck": {"encoder_hidden_size": 8, "decoder_channels": 8, "decoder_input_channels": 4},
}
CALLS = ("encode", "decode", "encode_codes", "decode_codes")


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def child(name: str, call: str, minutes: float) -> None:
    """Run one call, and print what it needed."""
    import torch
    from streams import filled

    from vocos import ScaledCodes, get_voco

    torch.set_grad_enabled(False)
    voco = get_voco(name)
    voco.weights._config = voco.config_type.parse({**voco.config, **NETWORKS[name]})
    filled(voco) if NETWORKS[name] else voco.load()

    def given(minutes: float) -> Any:
        samples = int(minutes * 60 * voco.sampling_rate)
        frames = voco.encode_length(samples)
        if call.startswith("encode"):
            return torch.zeros(1, samples, voco.channel).uniform_(-0.5, 0.5)
        if call == "decode":
            return torch.zeros(1, frames, voco.latent_dim).uniform_(-0.5, 0.5)
        codes = torch.randint(0, voco.codebook_size, (1, frames, voco.n_codebooks))
        chunks = getattr(voco.hyperparameters, "chunks", None)
        return ScaledCodes(codes, torch.ones(1, len(chunks.piece_frames(frames)))) if chunks else codes

    getattr(voco, call)(given(0.02))  # what a first call sets up
    x = given(minutes)
    before = peak_bytes()
    found = getattr(voco, call)(x)
    outputs = [found.codes, found.scales] if hasattr(found, "scales") else [found]
    size = sum(output.numel() * output.element_size() for output in outputs)
    print(json.dumps((peak_bytes() - before - size) / 2**20))


def measured(name: str, call: str, minutes: float) -> str:
    """What a call needs, in MiB; a dash where the codec has no such call, or refuses to work on a stream."""
    command = [sys.executable, __file__, "--child", name, call, str(minutes)]
    here = Path(__file__).parent
    run = subprocess.run(command, capture_output=True, text=True, cwd=here, check=False)  # noqa: S603
    return f"{float(run.stdout):.0f}" if run.returncode == 0 else "-"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=3)
    parser.add_argument("--only", nargs="*", default=list(NETWORKS))
    arguments = parser.parse_args()
    if arguments.child:
        name, call, minutes = arguments.child
        child(name, call, float(minutes))
        return
    from vocos import get_voco

    print("| MiB beyond weights, input and output | " + " | ".join(f"{m} min" for m in MINUTES) + " | |")
    print("| --- " * (len(MINUTES) + 2) + "|")
    for name in arguments.only:
        voco = get_voco(name)
        for call in CALLS if voco.n_codebooks else CALLS[:2]:
            reason = voco.stream_obstacle("encoder" if call.startswith("encode") else "decoder")
            if reason is not None:
                print(f"| {name} {call} " + "| " * (len(MINUTES) + 1) + f"whole: {reason} |", flush=True)
                continue
            cells = [measured(name, call, minutes) for minutes in MINUTES]
            print(f"| {name} {call} | " + " | ".join(cells) + " | |", flush=True)


if __name__ == "__main__":
    main()
