"""Table III of OV2VSS: each row changes the network or the loss as it says, and the defaults stay what they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ovbench.baselines.ov2vss.config import Config  # noqa: E402
from ovbench.baselines.ov2vss.losses import Rule  # noqa: E402
from ovbench.baselines.ov2vss.model import OV2VSS, FrameFeatures  # noqa: E402
from torch import Tensor  # noqa: E402

from ovbench.core.paths import room  # noqa: E402
from ovbench.engine.evaluate import execute  # noqa: E402
from ovbench.engine.plan import Request, make_plan  # noqa: E402
from ovbench.engine.training import plan_training  # noqa: E402
from ovbench.methods.registry import card  # noqa: E402
from ovbench.report.model import Run  # noqa: E402

TRAINED_ALIKE = ("alpha-0_1", "alpha-10", "beta-0_1", "beta-10", "every-label")


def config(row: str) -> Config:
    ours = card("ov2vss")
    name = "world" if row == "full" else f"world-t3-{row}"
    return Config.from_options({**ours.options, **ours.variants[name].options})


def build(row: str) -> OV2VSS:
    torch.manual_seed(0)
    net = OV2VSS(config(row)).eval()
    with torch.no_grad():  # as after training: nothing is 0 that would hide a part
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return net


def frame(seed: int) -> FrameFeatures:
    draw = torch.Generator().manual_seed(seed)
    sizes = [(24, 40), (12, 20), (6, 10), (3, 5)]
    scales = [torch.randn(1, 48, *size, generator=draw) for size in sizes]
    return FrameFeatures(scales, torch.randn(1, 64, 6, 10, generator=draw))


@torch.no_grad()
def logits(net: OV2VSS, seeds: Sequence[int], far: int = 9) -> Tensor:
    text = torch.randn(3, 6, 64, generator=torch.Generator().manual_seed(99))
    text = torch.nn.functional.normalize(text, dim=-1)
    return net(net.regions(frame(far)), [frame(s) for s in seeds], text).logits


@pytest.mark.parametrize(
    ("row", "past", "far"),
    [
        ("baseline", False, False),
        ("random-frame", False, True),
        ("fusion", True, True),
        ("no-carry", True, True),
        ("no-random-frame", True, False),
        ("no-ffn", True, True),
        ("add", True, True),
        ("full", True, True),
    ],
)
def test_what_each_row_looks_at(row: str, past: bool, far: bool) -> None:
    net = build(row)
    first = logits(net, [0, 1, 2, 3])
    assert (not torch.equal(first, logits(net, [0, 7, 2, 3]))) == past
    assert (not torch.equal(first, logits(net, [0, 1, 2, 3], far=8))) == far
    assert not torch.equal(first, logits(net, [0, 1, 2, 6])), "the target always counts"


def test_text_is_refined_by_the_video_in_the_last_component_only() -> None:
    text, clip = torch.randn(3, 6, 64), [frame(s) for s in range(4)]
    for row, refined in (("baseline", False), ("random-frame", False), ("fusion", False), ("full", True)):
        found = build(row)._text(text, clip)
        assert torch.equal(found[0], text) != refined, row


def test_attention_alone_has_no_feed_forward_layer() -> None:
    names = set(build("full").state_dict()) - set(build("no-ffn").state_dict())
    assert names and all(
        n.startswith(("encode_text.feed_forward.", "encode_text.norm_hidden.")) for n in names
    )


def test_addition_guides_through_the_weights_of_the_cost() -> None:
    """With addition, silent cost weights silence the guide too; with concatenation it has weights of its own."""
    for row, heard in (("add", False), ("full", True)):
        net = build(row)
        with torch.no_grad():
            net.decoder.from_cost.weight.zero_()
            cost = torch.randn(1, 2, 12, 6, 10)
            found = [
                net.decoder(cost, context, frame(0).scales[0])
                for context in (torch.randn(1, 48, 24, 40), torch.randn(1, 48, 24, 40))
            ]
        assert (not torch.allclose(found[0], found[1], atol=1e-6)) == heard
    assert "decoder.from_guide.weight" not in build("add").state_dict()


@pytest.mark.parametrize("row", TRAINED_ALIKE)
def test_rows_of_the_loss_share_the_network(row: str) -> None:
    other = "no-random-frame" if row == "every-label" else "full"
    assert config(row) == config(other)
    assert set(build(row).state_dict()) == set(build(other).state_dict())


@pytest.mark.parametrize(
    ("row", "alpha", "beta"),
    [("full", 1, 1), ("alpha-0_1", 0.1, 1), ("alpha-10", 10, 1), ("beta-0_1", 1, 0.1), ("beta-10", 1, 10)],
)
def test_loss_weights(row: str, alpha: float, beta: float) -> None:
    ours = card("ov2vss")
    name = "world" if row == "full" else f"world-t3-{row}"
    rule = Rule.from_options({**ours.options, **ours.variants[name].options})
    assert (rule.alpha, rule.beta, rule.everywhere) == (alpha, beta, False)


def test_training_follows_the_row() -> None:
    """The weights reach the loss, and every frame of a clip has labels where the row says so."""
    weighted, every = (
        plan_training("ov2vss", "world-27-9", variant=f"world-t3-{row}").build(0, 1)
        for row in ("alpha-10", "every-label")
    )
    with torch.no_grad():
        total, parts = weighted.loss(0)
    assert float(total) == pytest.approx(10 * parts["main"] + parts["auxiliary"], rel=1e-5)
    drawn = [len(task.samples.draw(np.random.default_rng(0), 1)[0].masks) for task in (weighted, every)]
    assert drawn == [1, 4]


def test_defaults_are_unchanged(tmp_path: Path) -> None:
    """The shipped weights give what was counted with them before there were switches."""
    kept = room("results") / "world" / "world-27-9" / "ov2vss-seed0"
    if not kept.is_dir():
        pytest.skip("the committed run of the shipped weights is not here")
    request = Request(
        "ov2vss:world", "world-27-9", weights=Path("seed0"), videos=1, jobs=1, out=tmp_path / "run"
    )
    execute(make_plan(replace(request, device="cpu")))
    ours, then = Run.open(tmp_path / "run").records[0], Run.open(kept).records[0]
    assert ours.video_id == then.video_id
    a, b = (
        {(t, p): n for t, p, n in zip(j.truth, j.prediction, j.pixels, strict=True)}
        for j in (r.counts.joint for r in (ours, then))
    )
    assert sum(abs(a.get(k, 0) - b.get(k, 0)) for k in {*a, *b}) <= 1e-4 * sum(b.values())
