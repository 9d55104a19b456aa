"""What users of PyPI's `vocos` call, for either package of that name: run by the interpreter that has the other one.

    python pypi_calls.py OUT.npz            # the classes and functions, by themselves
    python pypi_calls.py OUT.npz FOLDER     # a vocoder; FOLDER as the fixture of test_pretrained.py leaves it

`make pypi` makes an environment for it.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch


def answers(
    vocos: Any, audio: torch.Tensor, codes: torch.Tensor | None, features: torch.Tensor | None = None
) -> dict[str, torch.Tensor]:
    """Everything that a vocoder gives for audio `[B, N]` and, if it has codes, `[K, L]`, step by step.

    With features, the vocoder starts from those: the quietest bands of a spectrogram are the rounding of a processor.
    """
    if codes is None:
        own = vocos.feature_extractor(audio)
        features = own if features is None else features
        hidden = vocos.backbone(features)
        return {
            "features": own,
            "hidden": hidden,
            "head": vocos.head(hidden),
            "decode": vocos.decode(features),
            "call": vocos(audio),
            "call_ignoring_a_bandwidth": vocos(audio, bandwidth_id=torch.tensor([1])),
        }
    found = {"from_codes": vocos.codes_to_features(codes), "from_batch": vocos.codes_to_features(codes[:, None])}
    extractor = vocos.feature_extractor
    found["encoder"] = extractor.encodec.encoder(audio[:, None])
    for row in range(4):
        told = torch.tensor([row])
        found[f"features_{row}"] = features = extractor(audio, bandwidth_id=told)
        found[f"codes_after_{row}"] = extractor.get_encodec_codes(audio)
        found[f"hidden_{row}"] = hidden = vocos.backbone(features, bandwidth_id=told)
        found[f"head_{row}"] = vocos.head(hidden)
        found[f"decode_{row}"] = vocos.decode(found["from_codes"], bandwidth_id=told)
        found[f"call_{row}"] = vocos(audio, bandwidth_id=told)
    extractor.encodec.set_target_bandwidth(3.0)
    found["codes_of_3_kbps"] = extractor.get_encodec_codes(audio)
    return found


def every_way(
    vocos_class: Any, extractor_class: Any, folder: Path, features: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The answers of a vocoder made from a config and a state dict, as programs do it that have the files."""
    vocos = vocos_class.from_hparams(str(folder / "config.yaml"))
    state = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    if isinstance(vocos.feature_extractor, extractor_class):
        encodec = vocos.feature_extractor.encodec.state_dict()
        state.update({f"feature_extractor.encodec.{name}": tensor for name, tensor in encodec.items()})
    vocos.load_state_dict(state)
    vocos = vocos.eval().to("cpu")
    given = np.load(folder / "given.npz")
    codes = torch.from_numpy(given["codes"]) if "codes" in given else None
    told = None if features is None else torch.from_numpy(features)
    found = answers(vocos, torch.from_numpy(given["audio"]), codes, told)
    names = [name for name in vocos.state_dict() if not name.startswith("feature_extractor.encodec.")]
    arrays = {name: tensor.detach().numpy() for name, tensor in found.items()}
    return {**arrays, "names": np.array(sorted(names))}


FACE = {
    "feature_extractors": ("FeatureExtractor", "MelSpectrogramFeatures", "EncodecFeatures"),
    "heads": ("FourierHead", "ISTFTHead", "IMDCTSymExpHead", "IMDCTCosHead"),
    "models": ("Backbone", "VocosBackbone", "VocosResNetBackbone"),
    "modules": ("ConvNeXtBlock", "AdaLayerNorm", "ResBlock1", "safe_log", "symlog", "symexp"),
    "spectral_ops": ("ISTFT", "MDCT", "IMDCT"),
    "pretrained": ("Vocos", "instantiate_class", "FeatureExtractor", "EncodecFeatures", "FourierHead", "Backbone"),
}
CONSTANTS = ("window", "fb", "pre_twiddle", "post_twiddle")
SPECTRUM = (2, 33, 9)  # of a transform of 64 samples
# Name of a case, its class, the arguments, and what it is called with: shapes, or a shape and the id of a condition.
MODULES: list[tuple[str, str, tuple[Any, ...], dict[str, Any], list[tuple[Any, ...]]]] = [
    ("mel_center", "feature_extractors.MelSpectrogramFeatures", (24000, 256, 64, 20), {}, [(1500,), (2, 1, 1500)]),
    ("mel_same", "feature_extractors.MelSpectrogramFeatures", (16000, 256, 64, 20, "same"), {}, [(2, 1500)]),
    ("istft_same", "spectral_ops.ISTFT", (64, 16, 64), {}, [SPECTRUM, (2, 33, 1)]),
    ("istft_center", "spectral_ops.ISTFT", (64, 16, 64, "center"), {}, [SPECTRUM, SPECTRUM[1:]]),
    ("istft_short", "spectral_ops.ISTFT", (64, 16, 48, "center"), {}, [SPECTRUM]),
    ("mdct_same", "spectral_ops.MDCT", (32,), {}, [(2, 160), (163,), (2, 1, 160)]),
    ("mdct_center", "spectral_ops.MDCT", (32, "center"), {}, [(2, 160), (163,)]),
    ("imdct_same", "spectral_ops.IMDCT", (32,), {}, [(2, 9, 16), (2, 1, 16)]),
    ("imdct_center", "spectral_ops.IMDCT", (32, "center"), {}, [(2, 9, 16)]),
    ("adanorm", "modules.AdaLayerNorm", (4, 8), {"eps": 1e-3}, [((2, 9, 8), [1]), ((2, 9, 8), [[1], [3]])]),
    ("block", "modules.ConvNeXtBlock", (8, 24, 0.5), {}, [(2, 8, 9)]),
    ("block_bare", "modules.ConvNeXtBlock", (8, 24, 0.0), {}, [(2, 8, 9)]),
    ("block_ada", "modules.ConvNeXtBlock", (8, 24, 0.5, 4), {}, [((2, 8, 9), [2]), ((2, 8, 9), [[1], [3]])]),
    ("residual", "modules.ResBlock1", (8,), {}, [(2, 8, 19)]),
    ("residual_5", "modules.ResBlock1", (8, 5, (1, 2, 4), 0.2, 0.3), {}, [(2, 8, 19)]),
    ("backbone", "models.VocosBackbone", (10, 8, 24, 3), {}, [(2, 10, 9)]),
    (
        "backbone_ada",
        "models.VocosBackbone",
        (10, 8, 24, 3, None, 4),
        {},
        [((2, 10, 9), [1]), ((2, 10, 9), [[1], [3]])],
    ),
    ("resnet", "models.VocosResNetBackbone", (10, 8, 2), {}, [(2, 10, 9)]),
    ("head_same", "heads.ISTFTHead", (8, 64, 16), {}, [(2, 9, 8), (2, 1, 8)]),
    ("head_center", "heads.ISTFTHead", (8, 64, 16, "center"), {}, [(2, 9, 8)]),
    ("symexp_same", "heads.IMDCTSymExpHead", (8, 32), {}, [(2, 9, 8)]),
    ("symexp_center", "heads.IMDCTSymExpHead", (8, 32, "center", 24000), {}, [(2, 9, 8)]),
    ("cos", "heads.IMDCTCosHead", (8, 32, "center"), {}, [(2, 9, 8)]),
]


def _parameters(thing: Any) -> list[tuple[str, str]]:
    """Names and defaults of the positional parameters, for both packages written alike."""
    found = inspect.signature(thing).parameters.values()
    positional = [parameter for parameter in found if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    lists = [(p.name, list(p.default) if isinstance(p.default, tuple) else p.default) for p in positional]
    return [(name, "" if default is inspect.Parameter.empty else repr(default)) for name, default in lists]


def signatures() -> dict[str, Any]:
    """Parameters of every public class and function, and the classes that it is one of."""
    found: dict[str, Any] = {}
    for module, names in FACE.items():
        for name in names:
            thing = getattr(importlib.import_module(f"vocos.{module}"), name)
            found[f"{module}.{name}"] = {"parameters": _parameters(thing)}
            if inspect.isclass(thing):
                public = {base.__name__ for base in thing.__mro__} & {name for names in FACE.values() for name in names}
                forward = _parameters(thing.forward)
                found[f"{module}.{name}"] |= {"bases": sorted(public), "forward": forward}
    return found


def _facts(module: torch.nn.Module) -> dict[str, Any]:
    """Attributes of a module and of those in it, by path: numbers and words."""
    plain = (int, float, str, type(None))
    return {
        f"{path}.{name}": value
        for path, inner in module.named_modules()
        if type(inner).__module__.startswith(("vocos", "torchaudio"))
        for name, value in {**inner._parameters, **vars(inner)}.items()
        if isinstance(value, plain) and not name.startswith(("_", "call_super_init", "training"))
    }


def modules() -> dict[str, np.ndarray]:
    """What every module gives with weights and inputs that follow from names and shapes alone, its names and facts."""
    found: dict[str, np.ndarray] = {"signatures": np.array(json.dumps(signatures()))}
    for case, path, arguments, options, inputs in MODULES:
        where, _, name = path.partition(".")
        module = getattr(importlib.import_module(f"vocos.{where}"), name)(*arguments, **options).eval()
        drawn, state = np.random.default_rng(0), module.state_dict()
        for key in sorted(state):
            if key.rpartition(".")[2] in CONSTANTS:
                found[f"{case}__{key}"] = state[key].numpy()
            else:
                state[key] = torch.from_numpy(drawn.normal(0, 0.3, state[key].shape).astype(np.float32))
        module.load_state_dict(state)
        shapes = {key: list(tensor.shape) for key, tensor in state.items()}
        found[f"{case}__shapes"] = np.array(json.dumps(shapes, sort_keys=True))
        found[f"{case}__facts"] = np.array(json.dumps(_facts(module), sort_keys=True))
        for number, given in enumerate(inputs):
            shape, *condition = given if isinstance(given[0], tuple) else (given,)
            value = torch.from_numpy(drawn.normal(0, 1, shape).astype(np.float32))
            if case.startswith("istft"):
                value = torch.complex(value, torch.from_numpy(drawn.normal(0, 1, shape).astype(np.float32)))
            word = "bandwidth_id" if where == "models" else "cond_embedding_id"
            ids = torch.tensor(condition[0] if condition else 0)
            with torch.no_grad():
                found[f"{case}__{number}"] = module(value, **({word: ids} if condition else {})).numpy()
    functions = importlib.import_module("vocos.modules")
    values = torch.linspace(-3, 3, 25)
    for name in ("safe_log", "symlog", "symexp"):
        found[name] = getattr(functions, name)(values).numpy()
    found["safe_log_clipped"] = functions.safe_log(values, clip_val=0.5).numpy()
    return found


def _small_encodec(config: dict[str, Any], weights: Path) -> Any:
    """PyPI's EnCodec at another size than the published one."""
    import encodec
    from encodec.modules import SEANetDecoder, SEANetEncoder
    from encodec.quantization import ResidualVectorQuantizer

    others = {"n_q", "bins", "sample_rate", "target_bandwidths", "normalize", "segment", "overlap", "name"}
    sizes = {name: value for name, value in config.items() if name not in others | {"trim_right_ratio"}}
    model = encodec.EncodecModel(
        SEANetEncoder(**sizes),
        SEANetDecoder(**sizes, trim_right_ratio=config["trim_right_ratio"]),
        ResidualVectorQuantizer(dimension=config["dimension"], n_q=config["n_q"], bins=config["bins"]),
        *(config[name] for name in ("target_bandwidths", "sample_rate", "channels", "normalize", "segment")),
        overlap=config["overlap"],
        name=config["name"],
    )
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model.eval()


def _let_it_run() -> None:
    """Make up for what newer environments lack: see `allow_torchaudio`; and SciPy moved a window."""
    worker = Path(__file__).parents[1] / "benchmarks" / "bench" / "pypi_worker.py"
    specification: Any = importlib.util.spec_from_file_location("pypi_worker", worker)
    helper = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(helper)
    helper.allow_torchaudio()
    import scipy.signal

    scipy.signal.cosine = scipy.signal.windows.cosine


if __name__ == "__main__":
    sys.path.pop(0)  # this folder
    _let_it_run()
    import encodec

    import vocos

    assert vocos.__version__ == "0.1.0", f"this is vocos {vocos.__version__} in {vocos.__file__}"
    if len(sys.argv) == 2:
        np.savez_compressed(sys.argv[1], **modules())
        sys.exit()
    from vocos.feature_extractors import EncodecFeatures

    place = Path(sys.argv[2])
    if (place / "sizes.json").exists():
        small = _small_encodec(json.loads((place / "sizes.json").read_text()), place / "encodec")
        encodec.EncodecModel.encodec_model_24khz = staticmethod(lambda *args, **kwargs: small)
    np.savez_compressed(sys.argv[1], **every_way(vocos.Vocos, EncodecFeatures, place))
