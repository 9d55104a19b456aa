"""Tables of module paths, ours -> those of public code, for the networks of `blocks` and `seanet`."""

from __future__ import annotations

UNIT = ("snake1", "conv1", "snake2", "conv2")  # of a residual unit, in the order they run


def hub_names(n_encoder_blocks: int, n_decoder_blocks: int) -> dict[str, str]:
    """The names of diffusers (Oobleck) and transformers (DAC)."""
    names = {}
    for half, n_blocks, conv in (("encoder", n_encoder_blocks, "conv1"), ("decoder", n_decoder_blocks, "conv_t1")):
        names[f"{half}.conv_in"] = f"{half}.conv1"
        for i in range(n_blocks):
            ours, theirs = f"{half}.blocks.{i}", f"{half}.block.{i}"
            names |= {f"{ours}.snake": f"{theirs}.snake1", f"{ours}.conv": f"{theirs}.{conv}"}
            names |= {f"{ours}.units.{j}.{part}": f"{theirs}.res_unit{j + 1}.{part}" for j in range(3) for part in UNIT}
        names |= {f"{half}.snake": f"{half}.snake1", f"{half}.conv_out": f"{half}.conv2"}
    return names


def numbered_names(
    encoder: str, decoder: str, inner: str, n_encoder_blocks: int, n_decoder_blocks: int
) -> dict[str, str]:
    """The names of code that numbers the modules in the order they run.

    Args:
        encoder: path of the list of the encoder's modules.
        decoder: path of the list of the decoder's modules.
        inner: name of the list inside every block and residual unit.
        n_encoder_blocks: blocks of the encoder.
        n_decoder_blocks: blocks of the decoder.
    """
    # Numbers in the lists, of a half with 2 blocks: 0 conv_in, 1 and 2 blocks, 3 snake, 4 conv_out. Of a block of the
    # encoder: 0, 1, 2 units, 3 snake, 4 conv; of the decoder: 0 snake, 1 conv, 2, 3, 4 units. Of a unit: as `UNIT`.
    names = {}
    for half, root, n_blocks in (("encoder", encoder, n_encoder_blocks), ("decoder", decoder, n_decoder_blocks)):
        names[f"{half}.conv_in"] = f"{root}.0"
        for i in range(n_blocks):
            names |= numbered_block(f"{half}.blocks.{i}", f"{root}.{i + 1}", inner, is_encoder=half == "encoder")
        names |= {f"{half}.snake": f"{root}.{n_blocks + 1}", f"{half}.conv_out": f"{root}.{n_blocks + 2}"}
    return names


def numbered_block(ours: str, theirs: str, inner: str, is_encoder: bool) -> dict[str, str]:
    """The names of one block: three residual units before (encoder) or after (decoder) a snake and a convolution."""
    first_unit, snake = (0, 3) if is_encoder else (2, 0)
    names = {f"{ours}.snake": f"{theirs}.{inner}.{snake}", f"{ours}.conv": f"{theirs}.{inner}.{snake + 1}"}
    for j in range(3):
        for k, part in enumerate(UNIT):
            names[f"{ours}.units.{j}.{part}"] = f"{theirs}.{inner}.{first_unit + j}.{inner}.{k}"
    return names


def seanet_names(n_strides: int, n_units: int = 1, has_lstm: bool = True) -> dict[str, str]:
    """The names of the original EnCodec for `seanet.SEANetEncoder` and `SEANetDecoder`; ours are those of transformers.

    Args:
        n_strides: stages of each half.
        n_units: residual units of a stage.
        has_lstm: whether there is an LSTM, which has a number of its own.
    """
    # The layers of both halves are numbered in the order they run; an ELU has a number, though no name here. With one
    # unit in a stage and an LSTM, for the rates 8 5 4 2, the stages are 3 long:
    #     encoder   0 conv | 1 unit 2 ELU 3 down | 4 5 6 | 7 8 9 | 10 11 12 | 13 lstm | 14 ELU 15 conv
    #     decoder   0 conv | 1 lstm | 2 ELU 3 up 4 unit | 5 6 7 | 8 9 10 | 11 12 13 | 14 ELU 15 conv
    stage = n_units + 2  # its units, an ELU and a change of rate; in the decoder the units come last
    end = 1 + n_strides * stage
    last = end + 1 + has_lstm
    convs, ups = [(half, f"{place}") for half in ("encoder", "decoder") for place in (0, last)], []
    for start in range(1, end, stage):
        convs.append(("encoder", f"{start + n_units + 1}"))
        up = start + 1 + has_lstm
        ups.append(("decoder", f"{up}"))
        units = [("encoder", start + j) for j in range(n_units)] + [("decoder", up + 1 + j) for j in range(n_units)]
        convs += [(half, f"{unit}.{part}") for half, unit in units for part in ("block.1", "block.3", "shortcut")]
    lstms = (("encoder", end), ("decoder", 1)) if has_lstm else ()
    names = {f"{half}.layers.{n}.lstm": f"{half}.model.{n}.lstm" for half, n in lstms}
    for kind, places in (("conv", convs), ("convtr", ups)):
        for half, place in places:
            ours, theirs = f"{half}.layers.{place}", f"{half}.model.{place}.{kind}"
            names |= {f"{ours}.conv": f"{theirs}.{kind}", f"{ours}.norm": f"{theirs}.norm"}
    return names
