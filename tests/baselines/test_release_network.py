"""OV2VSS' release network: what the recordings of the official code do not catch, on parts or small inputs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from ovbench.baselines.ov2vss.release import backbone as sam
from ovbench.baselines.ov2vss.release.backbone import Attention, Backbone, Block
from ovbench.baselines.ov2vss.release.fusion import Fusion
from ovbench.baselines.ov2vss.release.head import DecodeHead
from ovbench.baselines.ov2vss.release.names import dead_entries
from ovbench.baselines.ov2vss.release.network import ReleaseNetwork, release_scores
from ovbench.baselines.ov2vss.release.predictor import Corr, Decoder
from ovbench.baselines.ov2vss.release.refiner import Refiner
from ovbench.baselines.ov2vss.release.tokens import TokenPool, grid_sizes, pool
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.nn.checkpoint import apply
from ovbench.nn.seeded import fill_by_name


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def filled(module: nn.Module) -> nn.Module:
    fill_by_name(module)
    return module.eval()


class NoClip(nn.Module):
    """Stands where CLIP's model stands; the head never calls it."""


@pytest.fixture(scope="module")
def head() -> DecodeHead:
    return filled(DecodeHead(NoClip()))  # type: ignore[return-value]


def some_maps(frames: int = 1, h: int = 6, w: int = 9) -> list[list[Tensor]]:
    return [[torch.randn(1, 256, h, w) for _ in range(4)] for _ in range(frames)]


def test_block_norms_divide_with_1e_5():
    """SAM's own is 1e-6; with small inputs the two differ plainly."""
    block = Block(14)
    x = torch.randn(1, 3, 768) * 1e-3
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(block.norm1(x), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(block.norm2(x), expected, rtol=1e-5, atol=1e-6)
    assert {m.eps for n, m in Backbone().blocks.named_modules() if isinstance(m, nn.LayerNorm)} == {1e-5}


def test_neck_norms_divide_with_1e_6_over_channels():
    """Convolution, norm, convolution, norm, written out channel by channel."""
    net = Backbone()
    for conv in (net.neck[0], net.neck[2]):
        nn.init.normal_(conv.weight, std=1e-4)
    x = torch.randn(1, 4, 5, 768) * 1e-2
    out = net.through_neck(x)

    def norm(y: Tensor) -> Tensor:
        y = y - y.mean(1, keepdim=True)
        return y / (y.pow(2).mean(1, keepdim=True) + 1e-6).sqrt()

    expected = norm(
        F.conv2d(norm(F.conv2d(x.permute(0, 3, 1, 2), net.neck[0].weight)), net.neck[2].weight, padding=1)
    )
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    assert out.std() < 0.99  # with a smaller eps it would be 1


def plain_attention(attn: Attention, x: Tensor) -> Tensor:
    """SAM's attention on one grid (h, w, 768), every pair of places by itself."""
    h, w = x.shape[:2]
    q, k, v = attn.qkv(x).view(h * w, 3, 12, 64).permute(1, 2, 0, 3)
    scores = (q * 64**-0.5) @ k.mT
    rows, columns = sam.relative(attn.rel_pos_h, h), sam.relative(attn.rel_pos_w, w)
    y, z = torch.arange(h * w) // w, torch.arange(h * w) % w
    scores += torch.einsum("aqd,qkd->aqk", q, rows[y[:, None], y[None, :]])
    scores += torch.einsum("aqd,qkd->aqk", q, columns[z[:, None], z[None, :]])
    return attn.proj((scores.softmax(-1) @ v).transpose(0, 1).reshape(h, w, 768))


@pytest.mark.parametrize("most", [2**25, 1])
def test_attention_on_the_whole_grid_and_in_windows(monkeypatch: pytest.MonkeyPatch, most: int):
    """Windows reach over the edge: what stands there has the bias as query, key and value."""
    monkeypatch.setattr(sam, "_MOST_BIAS", most)
    attn, x = filled(Attention(14)), torch.randn(2, 5, 17, 768)
    torch.testing.assert_close(attn(x, 0)[1], plain_attention(attn, x[1]), rtol=1e-4, atol=1e-5)
    padded = F.pad(x, (0, 0, 0, 11, 0, 9))
    whole = torch.cat([plain_attention(attn, padded[0, :, :14]), plain_attention(attn, padded[0, :, 14:])], 1)
    torch.testing.assert_close(attn(x, 14)[0], whole[:5, :17], rtol=1e-4, atol=1e-5)


def test_positions_of_4096_cells_are_taken_as_they_lie():
    """The official code compares numbers of cells: a 32 x 128 grid reads the 64 x 64 table row after row."""
    net = Backbone()
    net.pos_embed.normal_()
    assert torch.equal(net.positions(32, 128).flatten(1, 2), net.pos_embed[:, 1:])
    square = net.pos_embed[:, 1:].view(1, 64, 64, 768).permute(0, 3, 1, 2)
    resized = F.interpolate(square, (5, 7), mode="bicubic", align_corners=False)
    assert torch.equal(net.positions(5, 7).permute(0, 3, 1, 2), resized)


def test_grids_round_half_to_even():
    assert grid_sizes(30, 30) == [(15, 15), (8, 8), (5, 5), (4, 4)]  # 7.5 -> 8, 3.75 -> 4
    assert grid_sizes(36, 64) == [(18, 32), (9, 16), (6, 11), (4, 8)]  # 4.5 -> 4
    assert grid_sizes(20, 28) == [(10, 14), (5, 7), (3, 5), (2, 4)]  # 2.5 -> 2, 3.5 -> 4
    assert sum(h * w for h, w in grid_sizes(36, 64)) == 818
    with pytest.raises(UserError, match="too small"):
        grid_sizes(4, 30)


def test_tokens_are_normed_means_plus_their_neighbourhood():
    x, tokens = torch.randn(2, 8, 11, 9), filled(TokenPool(8))
    parts = []
    for conv, size in zip(tokens.d_convs, grid_sizes(11, 9), strict=True):
        means = F.adaptive_avg_pool2d(x, size)
        parts.append((means + conv(means)).flatten(2))
    expected = F.layer_norm(torch.cat(parts, 2).mT, (8,), tokens.norm.weight, tokens.norm.bias)
    torch.testing.assert_close(tokens(pool(x)), expected)


def test_refiner_is_one_channel_images_normed_alone():
    """Officially each key is an image of its own batch entry."""
    refiner = filled(Refiner())
    h, w, keys = 6, 9, 4
    given = [torch.randn(2, h * w, keys) * 10 for _ in range(3)]
    images = [x.mT.reshape(2 * keys, 1, h, w) for x in given]

    def level(part: nn.Sequential, x: Tensor) -> Tensor:
        return F.relu(part[1](part[0].conv2(x)))  # type: ignore[operator, union-attr]

    x = level(refiner.encoder_layer4, images[0]) + level(refiner.encoder_layer3, images[1])
    x = level(refiner.encoder_layer4to3, x) + level(refiner.encoder_layer2, images[2])
    expected = level(refiner.encoder_layer3to2, x).view(2, keys, h * w).mT
    torch.testing.assert_close(refiner(*given, (h, w)), expected, rtol=1e-4, atol=1e-5)


def test_fusion_hands_on_matrices_instead_of_attention(head: DecodeHead):
    """(Q K') V in full size, then pooled, as officially, against Q (K' V) of pooled frames."""
    far, older, *_ = some_maps(2)
    fusion: Fusion = head.hypercorre_module
    for n, m in ((4, 1), (1, 4)):
        down = head.get_submodule(f"linear_down_c{n}.proj")

        def places(x: Tensor, down: nn.Module = down) -> Tensor:
            return down(x[0].flatten(1).T)

        first = fusion.layer("pooling_mhsa_fk", m)(pool(places(far[n - 1]).T.view(1, 256, 6, 9)))
        keys, values = fusion.layer("pk", m)(first), fusion.layer("f", m, "p")(first)
        read = fusion.layer("k", n)(places(older[n - 1])) @ keys[0].T @ values[0]
        second = fusion.layer("pooling_mhsa_sk", m)(pool(read.T.view(1, 256, 6, 9)))
        expected = fusion.layer("i", m)(second).mT @ fusion.layer("iv", m)(second)
        memory = fusion.first_memory(n, head.grids(far)[n - 1])
        ours = fusion.second_memory(n, memory, head.grids(older)[n - 1])
        assert (ours - expected).abs().max() < 1e-4 * expected.abs().max()


def test_who_reaches_the_target(head: DecodeHead):
    """Far frame, t-9, t-6 and t do; t-3 is no argument at all; c1 of the target is not read."""
    far, older, newer, target = some_maps(4)
    known = head.far(far)
    context = head.context(known, older, newer, target)
    other = some_maps()[0]
    assert not torch.allclose(head.context(head.far(other), older, newer, target), context, rtol=1e-3)
    assert not torch.allclose(head.context(known, other, newer, target), context, rtol=1e-3)
    assert not torch.allclose(head.context(known, older, other, target), context, rtol=1e-3)
    assert not torch.allclose(head.context(known, older, newer, other), context, rtol=1e-3)
    shallow = [other[0], *target[1:]]
    assert torch.equal(head.context(known, older, newer, shallow), context)


def test_enhanced_features_are_not_transposed(head: DecodeHead):
    context, regions = torch.randn(2, 54, 256), torch.randn(2, 81, 256)
    out = head.enhanced(context, regions, (6, 9))
    assert torch.equal(out.flatten(1), head.mul_attention(context, regions).flatten(1))


def test_batches_are_frames_side_by_side(head: DecodeHead):
    frames = some_maps(8)
    single = [head.context(head.far(f[0]), f[1], f[2], f[3]) for f in (frames[:4], frames[4:])]
    both = [
        [torch.cat(pair) for pair in zip(a, b, strict=True)]
        for a, b in zip(frames[:4], frames[4:], strict=True)
    ]
    far = head.far(both[0])
    torch.testing.assert_close(
        head.context(far, both[1], both[2], both[3]), torch.cat(single), rtol=1e-3, atol=1e-2
    )
    assert far.regions.shape == (2, 81, 256)


def test_layouts_differ_and_legacy_depends_on_order_and_number_of_names():
    corr = filled(Corr())
    guided, features = torch.randn(1, 3, 80, 24, 24), torch.randn(1, 256, 6, 9)
    moved = guided[:, [2, 0, 1]]
    fixed = corr.decode(guided, features)
    torch.testing.assert_close(corr.decode(moved, features), fixed[:, [2, 0, 1]])
    torch.testing.assert_close(corr.decode(guided[:, :2], features), fixed[:, :2])
    corr.layout = "legacy"
    legacy = corr.decode(guided, features)
    assert not torch.allclose(legacy, fixed, atol=1e-3)
    assert not torch.allclose(corr.decode(moved, features), legacy[:, [2, 0, 1]], atol=1e-3)
    assert not torch.allclose(corr.decode(guided[:, :2], features), legacy[:, :2], atol=1e-3)


def test_shared_parts_of_guide_and_decoder_are_the_whole_layers():
    """Concatenating what classes share, as officially, gives the same."""
    corr = filled(Corr())
    volume, deep = torch.randn(2, 3, 80, 24, 24), torch.randn(2, 128, 6, 9)
    resized = F.interpolate(deep, (24, 24), mode="bilinear", align_corners=False)
    whole = torch.cat([corr.conv1(volume[1]), resized[1:].expand(3, -1, -1, -1)], dim=1)
    expected = corr.layers["3"]["downlinear"](whole.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(corr.guide(volume, deep)[1], expected, rtol=1e-4, atol=1e-4)
    decoder: Decoder = corr.decodeh1
    guidance = torch.randn(2, 64, 72, 72)
    raised = torch.cat([decoder.decoder1["up"](volume[1]), guidance[1:].expand(3, -1, -1, -1)], dim=1)
    expected = decoder.head(decoder.decoder1["conv"]["double_conv"](raised))[:, 0]
    torch.testing.assert_close(decoder(volume, guidance)[1], expected, rtol=1e-4, atol=1e-4)


def test_scores_pass_through_a_square_and_are_cut_by_small_inputs():
    logits = torch.randn(1, 3, 120, 120)
    scores = release_scores(logits, (320, 448), (263, 371))
    x = logits.sigmoid()
    for size in ((480, 480), (320, 448), (263, 371)):
        x = F.interpolate(x, size, mode="bilinear", align_corners=False)
    assert torch.equal(scores, x.softmax(1))
    cut = logits.clone()
    cut[..., 96:, :] = 50
    assert torch.equal(release_scores(cut, (96, 160), (40, 50)), release_scores(logits, (96, 160), (40, 50)))


def test_checkpoints_may_lack_dead_entries_and_nothing_else(head: DecodeHead):
    """What `load_official` does, on the head alone: dead names are known one by one, not by prefix."""
    dead = {
        n.removeprefix("decode_head."): s for n, s in dead_entries().items() if n.startswith("decode_head.")
    }
    own = {name: value.clone() for name, value in head.state_dict().items()}
    assert not {n for n in own if not n.endswith("num_batches_tracked")} & set(dead)
    apply(head, {**own, **{name: torch.zeros(shape) for name, shape in dead.items()}}, ignore=dead)
    apply(head, own, ignore=dead)
    for stranger in ("corr.layers.0.more.weight", "hypercorre_module.q5.weight", "linear_c5.proj.bias"):
        with pytest.raises(UserError, match="1 unexpected .*" + stranger):
            apply(head, {**own, stranger: torch.zeros(1)}, ignore=dead)
    live = "hypercorre_module.q2.weight"
    with pytest.raises(UserError, match="1 missing .*" + live):
        apply(head, {n: v for n, v in own.items() if n != live}, ignore=dead)
    fallback = "linear_fuse.bn.running_var"
    with pytest.raises(UserError, match="1 missing .*" + fallback):
        apply(head, {n: v for n, v in own.items() if n != fallback}, ignore=dead)
    with pytest.raises(UserError, match=r"1 wrong shape \(dsn_head.4.weight \(19, 512, 1, 1\)"):
        apply(head, {**own, "dsn_head.4.weight": torch.zeros(19, 512, 1, 1)}, ignore=dead)


def test_norm_statistics_are_read(head: DecodeHead):
    maps = some_maps()[0]
    before = head.fused(maps), head.far(maps).regions
    for name in ("linear_fuse.bn", "dsn_head.1"):
        norm = head.get_submodule(name)
        kept = norm.running_mean.clone()
        norm.running_mean.add_(1)
        after = head.fused(maps), head.far(maps).regions
        norm.running_mean.copy_(kept)
        which = 0 if name.startswith("linear") else 1
        assert not torch.allclose(after[which], before[which], rtol=1e-3)


def test_gradients_reach_all_but_the_fallback(head: DecodeHead):
    far, older, newer, target = some_maps(4)
    with torch.enable_grad():
        known = head.far(far)
        context = head.context(known, older, newer, target)
        features = head.enhanced(context, known.regions, (6, 9))
        clip, text = torch.randn(1, 512, 24, 24), torch.randn(2, 80, 512)
        logits = head.predictor(features, head.deep(target), clip, text)
        loss = logits.square().mean() + head.auxiliary(context, (6, 9)).square().mean()
        names, parameters = zip(*head.named_parameters(), strict=True)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    idle = {n for n, g in zip(names, gradients, strict=True) if g is None or not g.any()}
    assert {".".join(n.split(".")[:1]) for n in idle} == {
        *(f"linear_c{n}" for n in range(1, 5)),
        "linear_fuse",
    }


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision_runs_and_stays_near(head: DecodeHead, dtype: torch.dtype):
    """Context is computed in float32 whatever the precision: its sums overflow float16."""
    frames, clip, text = some_maps(4), torch.randn(1, 512, 24, 24), torch.randn(2, 80, 512)

    def logits(frames: list[list[Tensor]]) -> Tensor:
        far, older, newer, target = frames
        known = head.far(far)
        features = head.enhanced(head.context(known, older, newer, target), known.regions, (6, 9))
        return head.predictor(features, head.deep(target), clip, text).float()

    exact = logits(frames)
    with torch.autocast("cpu", dtype):
        near = logits([[x.to(dtype) for x in maps] for maps in frames])
        assert head.context(head.far(frames[0]), *frames[1:]).dtype == torch.float32
        single = head.fused(frames[3])
    assert torch.isfinite(near).all() and torch.isfinite(single).all()
    assert (near - exact).abs().max() < 0.1 * exact.std() + 0.02


def test_unknown_layout():
    with pytest.raises(UserError, match="corr_layout"):
        ReleaseNetwork("newest")
