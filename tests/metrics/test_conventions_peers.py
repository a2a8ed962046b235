"""The conventions against the libraries they are named after, where these can say the same thing."""

from __future__ import annotations

import numpy as np
import pytest
from metrics_cases import Rec, count_video, make_protocol

from ovbench.metrics.score import scores_under

CLASSES = 9
FRAMES, SHAPE = 6, (12, 17)


def case(seed=0, absent=(4, 7), void=0.0):
    """Truth and predictions (N, H, W) in class indices; some are only predicted, 8 occurs nowhere; 255 is void."""
    rng = np.random.default_rng(seed)
    there = [c for c in range(CLASSES - 1) if c not in absent]
    blocks = rng.choice(there, (FRAMES, 3, 4))
    truth = np.kron(blocks, np.ones((1, 4, 5), np.int64))[:, : SHAPE[0], : SHAPE[1]]
    guess = truth.copy()
    noise = rng.random(truth.shape) < 0.3
    guess[noise] = rng.integers(0, CLASSES - 1, int(noise.sum()))
    truth[rng.random(truth.shape) < void] = 255
    return truth, guess


def ours(truth, guess, name):
    protocol = make_protocol((True,) * CLASSES, windows=())
    raw = np.where(truth == 255, 0, truth + 1).astype(np.uint8)
    records = [
        Rec(f"v{i}", count_video(protocol, list(t), list(g.astype(np.uint8))))
        for i, (t, g) in enumerate(((raw[:4], guess[:4]), (raw[4:], guess[4:])))
    ]
    return scores_under(protocol, records, name)["scores"]["all"]


@pytest.fixture
def torch():
    pytest.importorskip("torchmetrics", reason="torchmetrics is needed for agreement with it (extra dev)")
    return pytest.importorskip("torch", reason="torchmetrics needs torch")


@pytest.fixture
def sklearn():
    return pytest.importorskip(
        "sklearn.metrics", reason="scikit-learn is needed for agreement with it (extra dev)"
    )


def test_union_present_is_torchmetrics_jaccard(torch):
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

    truth, guess = case(void=0.1)
    pair = torch.from_numpy(guess), torch.from_numpy(truth)
    index = MulticlassJaccardIndex(CLASSES, average="macro", ignore_index=255)
    found = ours(truth, guess, "union-present")
    assert found["miou"] == pytest.approx(100 * float(index(*pair)), rel=1e-5)
    accuracy = MulticlassAccuracy(CLASSES, average="micro", ignore_index=255)
    assert found["pacc"] == pytest.approx(100 * float(accuracy(*pair)), rel=1e-5)
    weighted = MulticlassJaccardIndex(CLASSES, average="weighted", ignore_index=255)
    assert found["fwiou"] == pytest.approx(100 * float(weighted(*pair)), rel=1e-5)
    # The same index over the classes of the truth alone is our default.
    each = MulticlassJaccardIndex(CLASSES, average="none", ignore_index=255)(*pair).numpy()
    here = np.unique(truth[truth < 255])
    assert ours(truth, guess, "gt-present")["miou"] == pytest.approx(100 * each[here].mean(), rel=1e-5)


def test_means_over_images_are_torchmetrics_mean_iou(torch):
    from torchmetrics.functional.segmentation import mean_iou
    from torchmetrics.segmentation import MeanIoU

    truth, guess = case(1)  # it knows no void
    pair = torch.from_numpy(guess), torch.from_numpy(truth)
    per_image = mean_iou(*pair, num_classes=CLASSES, input_format="index")
    if float(per_image.min()) < 0 or per_image.shape != (FRAMES,):
        pytest.skip("this torchmetrics averages otherwise (before 1.8)")
    assert ours(truth, guess, "per-image")["miou"] == pytest.approx(100 * float(per_image.mean()), rel=1e-5)
    metric = MeanIoU(CLASSES, input_format="index")
    for part in (slice(0, 2), slice(2, FRAMES)):  # a mean over pairs: batches do not matter
        metric.update(pair[0][part], pair[1][part])
    assert ours(truth, guess, "per-image-class")["miou"] == pytest.approx(
        100 * float(metric.compute()), rel=1e-5
    )


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn_jaccard(sklearn, seed):
    truth, guess = case(seed, void=0.05)
    kept = truth != 255
    flat = truth[kept], guess[kept]
    every = list(range(CLASSES))
    score = sklearn.jaccard_score(*flat, labels=every, average="macro", zero_division=0)
    assert ours(truth, guess, "all-classes")["miou"] == pytest.approx(100 * score)
    found = ours(truth, guess, "union-present")
    assert found["miou"] == pytest.approx(
        100 * sklearn.jaccard_score(*flat, average="macro", zero_division=0)
    )
    assert found["fwiou"] == pytest.approx(
        100 * sklearn.jaccard_score(*flat, average="weighted", zero_division=0)
    )
    assert found["pacc"] == pytest.approx(100 * sklearn.accuracy_score(*flat))
    assert found["macc"] == pytest.approx(
        100 * sklearn.recall_score(*flat, labels=np.unique(flat[0]), average="macro", zero_division=0)
    )


def test_scikit_learn_confusion(sklearn):
    """mIoU from its matrix by the formula of the VSPW script."""
    truth, guess = case(3, void=0.05)
    kept = truth != 255
    table = sklearn.confusion_matrix(truth[kept], guess[kept], labels=range(CLASSES)).astype(float)
    rows, columns, hits = table.sum(1), table.sum(0), np.diag(table)
    there = rows > 0
    found = ours(truth, guess, "gt-present")
    assert found["miou"] == pytest.approx(100 * (hits / (rows + columns - hits + 1e-300))[there].mean())
    assert found["macc"] == pytest.approx(100 * (hits / np.maximum(rows, 1))[there].mean())
