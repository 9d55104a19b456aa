"""The commands of `vocos` that deal with codecs and weights. Each takes the arguments that `vocos.cli` has parsed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocos.errors import CheckpointError, InvalidInput, VocoError, WeightsUnavailable

# torch takes more than a second to import: the commands that do not need it answer without.
if TYPE_CHECKING:
    from vocos.voco import Voco


LISTED = ("sampling_rate", "channel", "latent_dim", "hop_length", "n_codebooks", "codebook_size", "bits_per_second")


def list_codecs(arguments: argparse.Namespace) -> None:
    """One line for each codec, or JSON."""
    from vocos.registry import list_vocos

    rows = [_facts(name) for name in list_vocos(arguments.pattern)]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    header = [
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
    table = [header] + [[row["name"], *_described(row)] for row in rows]
    widths = [max(len(line[column]) for line in table if len(line) > column) for column in range(len(header))]
    for line in table:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=False)).rstrip())


def _facts(name: str) -> dict[str, Any]:
    """Facts of a codec: of a built-in one without importing torch; of a broken plugin, its error."""
    from vocos.registry import BUILT_IN, get_voco

    try:
        codec: Any = BUILT_IN[name] if name in BUILT_IN else get_voco(name)
        facts = {key: getattr(codec, key) for key in LISTED}
    except Exception as error:  # a plugin can raise anything, and breaks only its own line
        reason = str(error) if isinstance(error, VocoError) else f"{type(error).__name__}: {error}"
        return {"name": name, "error": " ".join(reason.split())}
    rate = facts["sampling_rate"] / facts["hop_length"]
    known = {"license": codec.license, "source": codec.source, "restrictions": list(codec.restrictions)}
    return {"name": name, **facts, "frame_rate": rate, **known}


def _described(row: dict[str, Any]) -> list[str]:
    if "error" in row:
        return [row["error"]]
    numbers = [str(row[key]) for key in ("sampling_rate", "channel", "latent_dim", "hop_length")]
    codes, rate = "-", "-"
    if row["bits_per_second"] is not None:
        codes, rate = f"{row['n_codebooks']} x {row['codebook_size']}", f"{row['bits_per_second'] / 1000:.2f}"
    licence = row["license"] or ("not stated" if row["source"] else "-")
    licence = "; ".join([licence, *row["restrictions"]])
    return [*numbers, f"{row['frame_rate']:.2f}", codes, rate, licence, row["source"] or "none needed"]


def info(arguments: argparse.Namespace) -> None:
    """What is known of one codec."""
    from vocos.registry import get_voco

    voco = get_voco(arguments.name, weights=arguments.weights)
    facts: dict[str, Any] = {
        "name": voco.name,
        "sampling_rate": voco.sampling_rate,
        "channel": voco.channel,
        "latent_dim": voco.latent_dim,
        "hop_length": voco.hop_length,
        "frame_rate": voco.frame_rate,
        "n_codebooks": voco.n_codebooks,
        "codebook_size": voco.codebook_size,
        "code_columns": voco.code_columns,
        "code_hop_length": voco.code_hop_length if voco.n_codebooks else None,
        "bits_per_second": voco.bits_per_second,
        "license": voco.license,
        "source": voco.source,
        "restrictions": "; ".join(voco.restrictions) or None,
        "alternatives": voco.alternatives,
        "config": voco.config,
    }
    facts["streams"] = voco.stream_facts()
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        if key == "streams":
            print("\n".join(f"{call} as a stream: {_streamed(found)}" for call, found in value.items()))
            continue
        if key == "alternatives":
            print("\n".join([*(f"alternative: {line}" for line in value)] or ["alternatives: none"]))
            continue
        text = ", ".join(f"{name}={part}" for name, part in value.items()) if key == "config" else value
        print(f"{key}: {('not stated' if key == 'license' else 'none') if text is None else text}")


def _streamed(found: dict[str, Any]) -> str:
    """What is known of a stream, or why there is none."""
    if "reason" in found:
        return f"no; {found['reason']}"
    delay = f"{found['delay_samples']} samples, {found['delay_seconds']:.4f} s"
    return f"yes; delay {delay}; state {found['state_bytes'] / 1000:.0f} kB for each row"


def check(arguments: argparse.Namespace) -> int:
    """One line for each codec and dtype. Returns the exit code: 1 if one is broken."""
    from vocos.selftest import check as findings_of

    findings = findings_of(arguments.device, arguments.voco, fetch=arguments.fetch)
    width = max([len("voco"), *(len(found.voco) for found in findings)])
    print(f"{'voco':{width}}  {'device':8}{'dtype':10}{'encode':>10}{'decode':>10}  verdict")
    for found in findings:
        ratios = "".join(f"{'-' if r is None else f'{r:.1f} dB':>10}" for r in (found.encode_db, found.decode_db))
        verdict = ": ".join(filter(None, [found.verdict, found.reason]))
        print(f"{found.voco:{width}}  {found.device:8}{found.dtype:10}{ratios}  {verdict}")
    return int(any(found.verdict == "broken" for found in findings))


# Weights


def fetch(arguments: argparse.Namespace) -> None:
    """Fill the cache, for images that are built to run without network."""
    from vocos.registry import get_voco

    for voco in [get_voco(name) for name in arguments.names]:
        paths = voco.fetch()
        if not paths:
            print(f"{voco.name}: no weights needed")
        for path in paths:
            print(path)
        for rule in voco.restrictions:
            print(f"vocos: {voco.name}: {rule}", file=sys.stderr)


def convert(arguments: argparse.Namespace) -> None:
    """Write weights in another layout."""
    output: Path = arguments.output
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"{output}: expected a folder, this is a file")
    voco = _of_weights(arguments.source, arguments.voco)
    for path in voco.export(output, arguments.to):
        print(path)


def _of_weights(source: str, name: str | None) -> Voco[Any]:
    """The codec of some weights, loaded: the one named, or the only one that can read them."""
    from vocos.registry import BUILT_IN, get_voco, list_vocos

    if name is not None:
        return get_voco(name, weights=source).load()
    if source in list_vocos():
        return get_voco(source).load()
    found: list[Voco[Any]] = []
    refused: dict[str, str] = {}
    for candidate, known in BUILT_IN.items():
        if known.source is not None:
            try:
                voco = get_voco(candidate, weights=source)
                if not any(isinstance(voco, type(other)) for other in found):  # else the same codec at another rate
                    found.append(voco.load())
            except CheckpointError as error:
                refused[candidate] = str(error)
            except WeightsUnavailable:
                if not Path(source).is_dir():  # else another codec's layout may be there
                    raise
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(voco.name for voco in found)
        raise InvalidInput(f"{source}: holds weights of {names}; choose with --voco")
    raise CheckpointError(
        f"{source}: no codec can read this; --voco NAME tells why ({'; '.join(refused.values())[:300]})"
    )
