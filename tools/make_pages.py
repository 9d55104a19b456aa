"""Write what README.md and docs/ say of codecs, files of weights and times, from the codecs' rows and the results.

Only what stands between `<!-- made by make table: NAME -->` and `<!-- end -->` is written. A codec without a page gets
one.

    python tools/make_pages.py
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vocos import Voco, get_voco
from vocos.registry import BUILT_IN, BuiltIn
from vocos.weights.source import DEFAULT_REPOSITORY, Source

ROOT = Path(__file__).parent.parent
CODECS = ROOT / "docs" / "codecs"
RESULTS = ROOT / "benchmarks" / "results"
MARKED = re.compile(r"(<!-- made by make table: (\w+) ?(\w*) -->\n).*?(<!-- end -->)", re.DOTALL)
NEW_PAGE = """# {title}

{text}

<!-- made by make table: facts {module} -->
<!-- end -->

## Checkpoints

<!-- made by make table: checkpoints {module} -->
<!-- end -->

## Files of weights

<!-- made by make table: formats {module} -->
<!-- end -->

## Streams

<!-- made by make table: streams {module} -->
<!-- end -->
"""


def pages() -> dict[Path, str]:
    """Every page, with what it should say."""
    found = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    texts = {path: path.read_text(encoding="utf-8") for path in found}
    for module in modules():
        texts.setdefault(CODECS / f"{module}.md", new_page(module))
    return {path: MARKED.sub(partial(filled, path), text) for path, text in texts.items()}


def filled(page: Path, match: re.Match[str]) -> str:
    """A marked block with its contents."""
    begin, block, argument, end = match.groups()
    links = "docs/codecs/" if page.parent == ROOT else "" if page.parent == CODECS else "codecs/"
    return f"{begin}\n{BLOCKS[block](argument or links)}\n\n{end}"


def new_page(module: str) -> str:
    """A page for a codec that has none: the docstring of its module, and the blocks."""
    text = sys.modules[class_of(module).__module__].__doc__ or module
    title = text.partition("\n")[0].partition(":")[0].rstrip(".")
    return NEW_PAGE.format(title=title, text=text.strip(), module=module)


def modules() -> dict[str, list[str]]:
    """The registered names of each module of `vocos.codecs`, those of one architecture together."""
    names: dict[str, list[str]] = {}
    for name, row in BUILT_IN.items():
        names.setdefault(row.target.partition(":")[0], []).append(name)
    return names


def class_of(module: str) -> type[Voco[Any]]:
    return type(get_voco(modules()[module][0]))


# Blocks


def codecs(links: str) -> str:
    """The table of codecs. Names of equal facts, which differ in their weights alone, share a line."""
    lines: dict[tuple[object, ...], list[str]] = {}
    for name, row in BUILT_IN.items():
        facts = (row.target, row.sampling_rate, row.channel, row.latent_dim, row.hop_length, row.n_codebooks)
        lines.setdefault(facts, []).append(name)
    header = ["codec", "good for", "audio", "latents", "codes", "weights", "licence"]
    return table(header, [codec_line(names, links) for names in lines.values()])


def codec_line(names: list[str], links: str) -> list[str]:
    name, row = names[0], BUILT_IN[names[0]]
    source = type(get_voco(name)).checkpoints[name].source
    more = f" and {len(names) - 1} more" if names[1:] else ""
    return [
        f"[`{name}`]({links}{row.target.partition(':')[0]}.md){more}",
        row.about,
        audio(row),
        f"{row.latent_dim} x {row.sampling_rate / row.hop_length:.1f}/s",
        f"{row.n_codebooks} x {row.codebook_size}" if row.n_codebooks else "",
        short_place(source, type(get_voco(name)).known) if source else "none",
        "; ".join(words(source)) if source else "",
    ]


def facts(module: str) -> str:
    """What is known of the names of one architecture without any weights."""
    header = ["name", "good for", "audio", "latent size", "samples per frame", "frames/s", "codes", "kbps"]
    return table(header, [fact_line(name) for name in modules()[module]])


def fact_line(name: str) -> list[str]:
    row = BUILT_IN[name]
    kbps = f"{row.bits_per_second / 1000:.4g}" if row.bits_per_second else ""
    codes = f"{row.n_codebooks} x {row.codebook_size}" if row.n_codebooks else ""
    rate = f"{row.sampling_rate / row.hop_length:.2f}"
    return [f"`{name}`", row.about, audio(row), str(row.latent_dim), str(row.hop_length), rate, codes, kbps]


def streams(module: str) -> str:
    """What of an architecture can be spread over time, with which delay, or why not."""
    lines = [[f"`{name}`", *map(stream_cell, get_voco(name).stream_facts().values())] for name in modules()[module]]
    return table(["name", "encode", "decode"], lines)


def stream_cell(found: dict[str, Any]) -> str:
    """A direction: its delay and its state, or the reason."""
    if "reason" in found:
        return f"no: {found['reason']}"
    delay = (
        f"{found['delay_samples']} samples, {1000 * found['delay_seconds']:.1f} ms" if found["delay_samples"] else "0"
    )
    return f"delay {delay}; state {found['state_bytes'] / 1000:.0f} kB"


def checkpoints(module: str) -> str:
    """The registered checkpoints of an architecture, and other public ones that it can read."""
    cls = class_of(module)
    calls = [(f'get_voco("{name}")', row.source) for name, row in cls.checkpoints.items()]
    first = next(iter(cls.checkpoints))
    calls += [(f'get_voco("{first}", {arguments(source)})', source) for source in cls.known]
    lines = [[f"`{call}`", place(source), terms(source), paper(source.paper)] for call, source in calls if source]
    return table(["call", "weights", "licence", "paper"], lines) if lines else "This codec has no weights."


def arguments(source: Source) -> str:
    """The arguments of `get_voco` that name a source."""
    return f'weights="{source.repository}"' + (f', subfolder="{source.subfolder}"' if source.subfolder else "")


def formats(module: str) -> str:
    """The files that an architecture reads and writes."""
    cls = class_of(module)
    if not any(row.source for row in cls.checkpoints.values()):
        return "There are none."
    read = ", ".join(known.name for known in cls.formats)
    files = ", ".join(pair(names) for names in dict.fromkeys([("config.json", "model.safetensors"), *cls.layouts]))
    written = ", ".join(f"`{target.name}` ({pair(target.files)})" for target in cls.targets)
    return (
        f"- Names of tensors that are recognised: {read}, and this library's own.\n"
        f"- Files that are looked for in a folder or repository: {files}.\n"
        f"- `vocos convert --to` writes: `vocos` ({pair(('config.json', 'model.safetensors'))})"
        + (f", {written}." if written else ".")
    )


def all_formats(links: str) -> str:
    """A line for each architecture: whose files it reads and writes."""
    lines = []
    for module, names in modules().items():
        cls = class_of(module)
        if cls.formats:
            read = ", ".join(known.name for known in cls.formats)
            written = ", ".join(["`vocos`", *(f"`{target.name}`" for target in cls.targets)])
            lines.append([f"[{', '.join(f'`{name}`' for name in names)}]({links}{module}.md)", read, written])
    return table(["codec", "reads tensors named as in", "`vocos convert --to`"], lines)


def speed(links: str) -> str:
    """Times beside other implementations: those of 10 s, one clip, of the last results that are kept."""
    rows = [row for row in results("cpu.csv") if row["seconds"] == "10.0" and row["batch"] == "1"]
    header = ["10 s of audio", "beside", "theirs", "with torch.compile", "ours, float32", "ours, bfloat16"]
    cases = dict.fromkeys(row["case"] for row in rows)
    return table(header, [speed_line(case, [row for row in rows if row["case"] == case]) for case in cases])


def speed_line(case: str, rows: list[dict[str, str]]) -> list[str]:
    eager = {row["dtype"]: row for row in rows if not row["peer"].endswith("torch.compile")}
    compiled = next((row for row in rows if row["peer"].endswith("torch.compile")), None)
    peer = eager["float32"]["peer"].removesuffix(", torch 2.13.0+cpu")

    def ours(row: dict[str, str] | None) -> str:
        return f"{float(row['ours_median_seconds']):.2f} s, {float(row['speedup']):.1f}x" if row else ""

    theirs = [f"{float(row['theirs_median_seconds']):.2f} s" if row else "" for row in (eager["float32"], compiled)]
    return [case, peer, *theirs, ours(eager["float32"]), ours(eager.get("bfloat16"))]


def gpu(links: str) -> str:
    """Times on GPUs beside eager PyTorch in the same dtype, of all results that are kept."""
    lines = []
    for path in sorted(RESULTS.glob("gpu-*.csv")):
        rows = [row for row in results(path.name) if row["times_eager"]]
        works = dict.fromkeys((row["work"], row["dtype"]) for row in rows)
        for work in works:
            found = {row["contestant"]: row for row in rows if (row["work"], row["dtype"]) == work}
            lines.append(
                [path.stem.removeprefix("gpu-"), *work, *(gpu_cell(found.get(name)) for name in GPU_CONTESTANTS)]
            )
    return table(["GPU", "work", "dtype", *GPU_CONTESTANTS.values()], lines)


GPU_CONTESTANTS = {
    "eager": "eager PyTorch",
    "recipe": "torch.compile, channels-last, captured",
    "ours": "ours",
    "ours, captured": "ours, captured",
}


def gpu_cell(row: dict[str, str] | None) -> str:
    return f"{float(row['ms']):.1f} ms, {float(row['times_eager']):.2f}x" if row else ""


def plugin(links: str) -> str:
    """The modules of the distribution that tests/plugin is."""
    modules = sorted((ROOT / "tests" / "plugin" / "src").glob("*.py"))
    return "\n\n".join(f"```python\n{path.read_text(encoding='utf-8').strip()}\n```" for path in modules)


def results(name: str) -> list[dict[str, str]]:
    """The lines of a file of results."""
    with (RESULTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


BLOCKS: dict[str, Callable[[str], str]] = {
    block.__name__: block for block in (codecs, facts, streams, checkpoints, formats, all_formats, speed, gpu, plugin)
}

# Cells


def audio(row: BuiltIn) -> str:
    return f"{row.sampling_rate / 1000:g} kHz {'mono' if row.channel == 1 else 'stereo'}"


def place(source: Source) -> str:
    tree = f"/tree/main/{source.subfolder}" if source.subfolder else ""
    size = f", {source.size_mb:.0f} MB" if source.size_mb else ""
    private = " (private)" if source.repository == DEFAULT_REPOSITORY else ""
    return f"[{source.repository}](https://huggingface.co/{source.repository}{tree}){size}{private}"


def short_place(source: Source, others: Sequence[Source]) -> str:
    """Where the weights are; of private ones the size, and the first public ones that the codec reads instead."""
    if source.repository != DEFAULT_REPOSITORY:
        return place(source)
    instead = next((other for other in others if not other.is_gated), None)
    return f"{source.size_mb:.0f} MB, private" + (f"; or {place(instead)}, {words(instead)[0]}" if instead else "")


def terms(source: Source) -> str:
    stated, *rules = words(source)
    return "; ".join([f"[{stated}]({source.license_url})" if source.license_url else stated, *rules])


def words(source: Source) -> list[str]:
    """The licence and the restrictions."""
    stated = source.license or ("see its page" if source.license_url else "not stated")
    gated = ["gated"] if source.is_gated else []
    return [stated, *gated, *(["not for commercial use"] if source.is_commercial is False else [])]


def paper(identifier: str | None) -> str:
    return f"[{identifier}](https://arxiv.org/abs/{identifier})" if identifier else ""


def pair(names: tuple[str | None, str]) -> str:
    return " + ".join(f"`{name}`" for name in names if name)


def table(header: list[str], lines: list[list[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
