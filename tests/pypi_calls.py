"""What users of PyPI's `vocos` call, for either package of that name: run by the interpreter that has the other one.

    python pypi_calls.py FOLDER OUT.npz     # FOLDER as the fixture of test_pretrained.py leaves it

An environment for it (torchaudio must be one that this torch can import):

    pip install torch torchaudio huggingface_hub numpy scipy einops pyyaml
    pip install --no-deps vocos==0.1.0 encodec==0.1.1
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch


def answers(vocos: Any, audio: torch.Tensor, codes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Everything that a vocoder gives for audio `[B, N]` and, if it has codes, `[K, L]`, step by step."""
    if codes is None:
        features = vocos.feature_extractor(audio)
        hidden = vocos.backbone(features)
        return {
            "features": features,
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


def every_way(vocos_class: Any, extractor_class: Any, folder: Path) -> dict[str, np.ndarray]:
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
    found = answers(vocos, torch.from_numpy(given["audio"]), codes)
    names = [name for name in vocos.state_dict() if not name.startswith("feature_extractor.encodec.")]
    arrays = {name: tensor.detach().numpy() for name, tensor in found.items()}
    return {**arrays, "names": np.array(sorted(names))}


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


if __name__ == "__main__":
    sys.path.pop(0)  # this folder
    import encodec

    import vocos
    from vocos.feature_extractors import EncodecFeatures

    assert vocos.__version__ == "0.1.0", f"this is vocos {vocos.__version__} in {vocos.__file__}"
    place = Path(sys.argv[1])
    if (place / "sizes.json").exists():
        small = _small_encodec(json.loads((place / "sizes.json").read_text()), place / "encodec")
        encodec.EncodecModel.encodec_model_24khz = staticmethod(lambda *args, **kwargs: small)
    np.savez_compressed(sys.argv[2], **every_way(vocos.Vocos, EncodecFeatures, place))
