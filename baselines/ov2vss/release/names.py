"""Names that an official checkpoint holds and that nothing reads, with their shapes.

Source: the official code's module tree for local_configs/vit/vitb/vitb.py. An entry stands here if it never
reaches the target's scores in either path: layers that are never called (a second cost-volume net, a CAT-Seg
aggregator, focal blocks), layers whose result is dropped (steps 1 and 2 of the refiner, layers 0 to 2 of the
cost volume, the text guidance), the class slot's token, counters and index tables.
"""

from __future__ import annotations

from collections.abc import Iterator

Shape = tuple[int, ...]
Entry = tuple[str, Shape]

HEAD = "decode_head."
FUSION = "decode_head.hypercorre_module."
AGGREGATOR = "decode_head.predictor.transformer."
CORR = "decode_head.predictor.corr."
SPARE_CORR = "decode_head.corr."


def dead_entries() -> dict[str, Shape]:
    """{name: shape} of all dead entries. A checkpoint may hold or lack them; their values are ignored."""
    parts = (_single(), _fusion(), _aggregator(), _corr(), _spare_corr())
    return {name: shape for part in parts for name, shape in part}


def _affine(name: str, *weight: int, bias: int | None = None) -> Iterator[Entry]:
    yield f"{name}.weight", weight
    yield f"{name}.bias", (weight[0] if bias is None else bias,)


def _single() -> Iterator[Entry]:
    yield "backbone.cls_token", (1, 1, 768)
    yield from _affine(HEAD + "conv_seg", 124, 128, 1, 1)
    yield from _affine(HEAD + "sr2", 256, 256, 4, 4)
    yield from _affine(HEAD + "sr3", 256, 256, 2, 2)
    yield from _affine(HEAD + "sr1_feat", 256, 256, 4, 4)
    yield from _affine(HEAD + "linearconv1", 512, 256, 1, 1)
    yield from _affine(HEAD + "linearc2", 256, 256)
    yield from _affine(HEAD + "corrconv1", 256, 256, 3, 3)
    yield from _affine(HEAD + "corrconv2", 256, 256, 3, 3)
    yield from _affine(HEAD + "linear_ref", 256, 1024)
    for norm in ("linear_fuse.bn", "aux_head.1", "dsn_head.1"):
        yield f"{HEAD}{norm}.num_batches_tracked", ()


def _fusion() -> Iterator[Entry]:
    for name in ("q1", "f4", "linear1", *(f"{kind}{n}" for kind in ("fs", "vs") for n in range(1, 5))):
        yield from _affine(FUSION + name, 256, 256)
    yield from _affine(FUSION + "linear2", 512, 512)
    for step in (1, 2, 3):
        yield from _affine(f"{FUSION}pooling_proj_linear_{step}", 256, 1024)
    kernels = {"4": 3, "3": 5, "2": 5, "4to3": 3, "3to2": 3}
    for step in (1, 2):
        for level, side in kernels.items():
            name = f"{FUSION}hpn{step}.encoder_layer{level}"
            yield from _affine(f"{name}.0.conv2", 1, 1, side, side)
            yield from _affine(f"{name}.1", 1)


def _aggregator() -> Iterator[Entry]:
    for i in range(2):
        yield from _swin(f"{AGGREGATOR}layers.{i}.swin_block.", 128, 256, masks=("block_2",))
        yield from _class_attention(f"{AGGREGATOR}layers.{i}.attention.", 128, 256)
    yield from _affine(AGGREGATOR + "conv1", 128, 8, 7, 7)
    yield from _affine(AGGREGATOR + "guidance_projection.0", 128, 256, 3, 3)
    yield from _affine(AGGREGATOR + "text_guidance_projection.0", 128, 512)
    yield from _affine(AGGREGATOR + "decoder_guidance_projection.0.0", 32, 256, 3, 3)
    yield from _affine(AGGREGATOR + "decoder_guidance_projection.1.0", 16, 128, 3, 3)
    for i, (into, up, out) in enumerate(((128, 96, 64), (64, 48, 32)), start=1):
        name = f"{AGGREGATOR}decoder{i}."
        yield from _affine(name + "up", into, up, 2, 2, bias=up)
        for conv, inputs in ((0, into), (3, out)):
            yield f"{name}conv.double_conv.{conv}.weight", (out, inputs, 3, 3)
            yield from _affine(f"{name}conv.double_conv.{conv + 1}", out)
    yield from _affine(AGGREGATOR + "head", 1, 32, 3, 3)


def _corr() -> Iterator[Entry]:
    yield from _affine(CORR + "text_linear", 128, 512)
    yield from _affine(CORR + "text_guidance_projection.0", 128, 512)
    for i in range(4):
        for block in range(2):
            yield from _focal(f"{CORR}layers.{i}.decoder_focal.blocks.{block}.")
        if i < 3:
            yield from _affine(f"{CORR}layers.{i}.downlinear", 80, 208)


def _spare_corr() -> Iterator[Entry]:
    yield from _affine(SPARE_CORR + "text_linear", 128, 512)
    yield from _affine(SPARE_CORR + "text_guidance_projection.0", 128, 512)
    yield from _affine(SPARE_CORR + "conv1", 80, 80, 7, 7)
    for i in range(4):
        yield from _swin(f"{SPARE_CORR}layers.{i}.image_block.", 80, 208, masks=("block_1", "block_2"))
        yield from _class_attention(f"{SPARE_CORR}layers.{i}.text_block.", 80, 208)
    yield from _affine(SPARE_CORR + "proj_img_1.0", 64, 256, 3, 3)
    yield from _affine(SPARE_CORR + "proj_img_c4.0", 128, 512, 3, 3)
    yield from _affine(SPARE_CORR + "decodeh1.decoder1.up", 80, 16, 3, 3, bias=16)
    yield SPARE_CORR + "decodeh1.decoder1.conv.double_conv.0.weight", (64, 80, 3, 3)
    yield from _affine(SPARE_CORR + "decodeh1.decoder1.conv.double_conv.1", 64)
    yield from _affine(SPARE_CORR + "decodeh1.head", 1, 64, 3, 3)


def _swin(name: str, width: int, guided: int, masks: tuple[str, ...]) -> Iterator[Entry]:
    for block in ("block_1", "block_2"):
        if block in masks:
            yield f"{name}{block}.attn_mask", (4, 144, 144)
        yield from _affine(f"{name}{block}.norm1", width)
        yield from _affine(f"{name}{block}.attn.q", width, guided)
        yield from _affine(f"{name}{block}.attn.k", width, guided)
        yield from _affine(f"{name}{block}.attn.v", width, width)
        yield from _affine(f"{name}{block}.attn.proj", width, width)
        yield from _affine(f"{name}{block}.norm2", width)
        yield from _affine(f"{name}{block}.mlp.fc1", 4 * width, width)
        yield from _affine(f"{name}{block}.mlp.fc2", width, 4 * width)
    yield from _affine(name + "guidance_norm", 128)


def _class_attention(name: str, width: int, guided: int) -> Iterator[Entry]:
    yield from _affine(name + "attention.q", width, guided)
    yield from _affine(name + "attention.k", width, guided)
    yield from _affine(name + "attention.v", width, width)
    yield from _affine(name + "MLP.0", 4 * width, width)
    yield from _affine(name + "MLP.2", width, 4 * width)
    yield from _affine(name + "norm1", width)
    yield from _affine(name + "norm2", width)


def _focal(name: str) -> Iterator[Entry]:
    yield from _affine(name + "pool_layers.0", 1, 49)
    for i, places in enumerate((49, 9, 4)):
        yield from _affine(f"{name}pool_layers_clips.{i}", 1, places)
    table = name + "attn.relative_position_"
    yield table + "bias_table", (169, 8)
    yield table + "bias_table_to_neighbors", (1, 8, 49, 132)
    yield table + "index", (49, 49)
    yield name + "attn.valid_ind_rolled", (132,)
    yield table + "index_0", (49, 25)
    yield table + "bias_table_to_windows.0", (8, 121)
    for i in range(3):
        yield f"{table}index_clips_{i}", (49, 25)
        yield f"{table}bias_table_to_windows_clips.{i}", (8, 121)
    yield from _affine(name + "norm1", 80)
    yield from _affine(name + "attn.qkv", 240, 80)
    yield from _affine(name + "attn.proj", 80, 80)
    yield from _affine(name + "norm2", 80)
    yield from _affine(name + "mlp.fc1", 320, 80)
    yield from _affine(name + "mlp.fc2", 80, 320)
    yield from _affine(name + "downlinear", 80, 208)
