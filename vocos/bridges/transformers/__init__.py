"""Codecs as the audio tokenizers of transformers.

from vocos.bridges.transformers import audio_tokenizer

musicgen.audio_encoder = audio_tokenizer(get_voco("encodec_32khz"))
bark.codec_model = audio_tokenizer(get_voco("encodec_24khz"))
processor = DiaProcessor(features, tokenizer, audio_tokenizer=audio_tokenizer(get_voco("dac_44khz")))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.voco import Voco

if TYPE_CHECKING:
    from vocos.bridges.transformers.view import View

KINDS = ("dac", "encodec", "mimi")  # whose calls and shapes there are


def audio_tokenizer(voco: Voco[Any], like: str | None = None) -> View:
    """A codec as a model of transformers that makes codes of audio and audio of codes.

    It is a view: it holds the codec itself, whose weights arrive when they are first needed, and no initialiser of a
    model around it touches them. Each kind is a `PreTrainedAudioTokenizerBase` with the calls and shapes of one model:

    | like | is a | `encode(...).audio_codes` | `decode(...).audio_values` | for |
    | --- | --- | --- | --- | --- |
    | "dac" | `DacModel` | `[batch, codebooks, frames]` | `[batch, samples]` | Dia |
    | "encodec" | `EncodecModel` | `[chunks, batch, codebooks, frames]` | `[batch, channel, samples]` | MusicGen, Bark |
    | "mimi" | neither | `[batch, codebooks, frames]` | `[batch, channel, samples]` | CSM |

    Args:
        voco: a codec with codes.
        like: whose calls it gets; None for those of the model of transformers that the codec is, "mimi" if it is none.

    Raises:
        InvalidInput: if it is no codec, or there is no such kind.
        UnsupportedOperation: if the codec has no codes, or transformers is not installed.
    """
    if not isinstance(voco, Voco):
        raise InvalidInput(f"audio_tokenizer: expected a voco, as of get_voco, got a {type(voco).__name__}")
    if like not in (None, *KINDS):
        raise InvalidInput(f"audio_tokenizer: expected like as one of {', '.join(KINDS)}, got {like!r}")
    if voco.n_codebooks is None:
        raise UnsupportedOperation(
            f"audio_tokenizer: {voco.name} has no codes, only continuous latents; encodec, dac and xcodec have codes"
        )
    try:
        from vocos.bridges.transformers.dac import VocoDac
        from vocos.bridges.transformers.encodec import VocoEncodec
        from vocos.bridges.transformers.mimi import VocoTokenizer
    except ImportError as error:
        raise UnsupportedOperation(
            f"audio_tokenizer: this needs the package transformers, which cannot be imported ({error}); pip install "
            "'transformers>=5', or install this package with its extra: pip install '.[bridges]'"
        ) from error
    views: dict[str, Callable[[Voco[Any]], View]] = {"dac": VocoDac, "encodec": VocoEncodec, "mimi": VocoTokenizer}
    return views.get(like or own_config(voco).get("model_type", ""), VocoTokenizer)(voco)


def own_config(voco: Voco[Any]) -> dict[str, Any]:
    """The config of the model of transformers that a codec can be written as; empty if there is none."""
    target = next((known for known in voco.targets if known.name == "transformers"), None)
    return dict(target.config(voco.hyperparameters)) if target else {}
