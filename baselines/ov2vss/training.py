"""Training of OV2VSS on a protocol's seen classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.datasets.base import Video
from ovbench.engine.targets import IGNORE, SeenTargets
from ovbench.methods.base import Setup

from .clips import clip_indices
from .config import Config
from .model import FrameFeatures
from .network import METHOD, Network, to_tensor


class Training:
    """The task. One sample is one video: a random target, its clip, and a random further frame.

    Loss: alpha * cross-entropy over the classes asked for + beta * cross-entropy of the auxiliary head,
    each a mean over labelled pixels of seen classes (OV2VSS, section III-F). Each step asks for the classes
    that are present and some absent ones, so its cost does not grow with the vocabulary.
    """

    clip_norm = 1.0
    half = True

    def __init__(self, setup: Setup, seed: int, steps: int | None) -> None:
        if setup.protocol is None or setup.open_split is None:
            raise UserError(
                "training needs a protocol", hint="ovbench train --method ov2vss --protocol world-27-9"
            )
        self.setup, self.seed = setup, seed
        options = setup.options
        self.steps = steps or int(options["steps"])
        self.targets = SeenTargets(setup.protocol)
        self.config = Config.from_options({**options, "seen": len(self.targets)})
        torch.manual_seed(seed)
        self.module = Network(self.config, _clip_weights(setup, self.config), setup.device)
        if self.config.clip_trained:
            self.module.clip.train()
        self.text = self.module.text(self.targets.vocabulary).detach()
        self.samples = _Samples(setup, self.module, self.targets)

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW; weight decay on matrices only."""
        trained = [p for p in self.module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.01},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=float(self.setup.options["rate"]))

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then polynomial decay (power 0.9) to zero."""
        warm = min(1.0, (step + 1) / max(1, int(self.setup.options["warmup"])))
        return warm * float((1 - step / self.steps) ** 0.9)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of one batch, a pure function of (seed, step) and the weights."""
        options = self.setup.options
        rng = np.random.default_rng([self.seed, step])
        far, clip, masks = self.samples.draw(rng, int(options["batch"]))
        asked = self._asked(rng, masks, int(options["negatives"]))
        net = self.module.net
        output = net(net.regions(far), clip, self.text[asked], auxiliary=True)
        main = _cross_entropy(output.logits, _relabel(masks, asked))
        auxiliary = _cross_entropy(output.auxiliary, masks)
        total = float(options["alpha"]) * main + float(options["beta"]) * auxiliary
        return total, {"main": float(main.detach()), "auxiliary": float(auxiliary.detach())}

    def _asked(self, rng: np.random.Generator, masks: NDArray[np.uint8], negatives: int) -> NDArray[np.int64]:
        """Classes of a step: those in the masks and some that are not. All of them for learned vectors."""
        every = np.arange(len(self.targets))
        if self.config.text == "learned":
            return every
        present = np.setdiff1d(np.unique(masks), [IGNORE]).astype(np.int64)
        absent = np.setdiff1d(every, present)
        return np.concatenate([present, rng.choice(absent, min(negatives, len(absent)), replace=False)])

    def metadata(self) -> dict[str, str]:
        """Header of the weights file."""
        protocol = self.setup.protocol
        assert protocol is not None
        return {
            "method": METHOD,
            "profile": "paper",
            "variant": self.setup.variant,
            "config": self.config.to_json(),
            "options": json.dumps(dict(self.setup.options), sort_keys=True),
            "protocol": protocol.id,
            "protocol_hash": protocol.hash,
            "vocabulary_hash": self.targets.vocabulary.hash,
            "classes": json.dumps(list(self.targets.vocabulary.names)),
            "seed": str(self.seed),
            "steps": str(self.steps),
        }


def _clip_weights(setup: Setup, config: Config) -> Path | None:
    given = str(setup.options.get("clip_weights", ""))
    if not given and config.clip not in ("world", "tiny"):
        raise UserError(
            f"training '{setup.variant}' starts from a pre-trained CLIP ({config.clip}), and none was given",
            hint="--set clip_weights=FILE (OpenAI's names, safetensors); or --variant small, which needs none",
        )
    return Path(given) if given else None


class _Samples:
    """Draws batches. Frozen CLIP features are kept per frame in half precision, within a bound."""

    _KEPT_BYTES = 1 << 30

    def __init__(self, setup: Setup, network: Network, targets: SeenTargets) -> None:
        assert setup.open_split is not None and setup.protocol is not None
        dataset = setup.open_split("train")
        self.network, self.options = network, setup.options
        self.targets = targets
        self.videos = [dataset.open(v) for v in dataset.video_ids]
        self.labelled = [[i for i in range(len(v)) if v.annotated(i)] for v in self.videos]
        usable = [i for i, frames in enumerate(self.labelled) if frames]
        if not usable:
            raise UserError("the training split has no labelled frame", where=setup.protocol.id)
        self.usable = usable
        self.frames = np.cumsum([len(self.labelled[i]) for i in usable])
        self._clip: dict[tuple[int, int], Tensor] = {}
        self._bytes = 0

    def draw(
        self, rng: np.random.Generator, batch: int
    ) -> tuple[FrameFeatures, list[FrameFeatures], NDArray[np.uint8]]:
        """The far frames' features, the clips' features (oldest first) and the targets' masks (B, H, W)."""
        drawn = [self._one(rng) for _ in range(batch)]
        masks = np.stack([mask for *_, mask in drawn])
        columns = list(
            zip(*(frames for frames, *_ in drawn), strict=True)
        )  # one tuple of images per position
        keys = list(zip(*(names for _, names, _ in drawn), strict=True))
        grads = [self.options["past_grad"]] * (len(columns) - 1) + [True]
        features = [self._features(c, k, g) for c, k, g in zip(columns, keys, grads, strict=True)]
        return features[0], features[1:], masks

    def _one(self, rng: np.random.Generator) -> tuple[list[Tensor], list[Any], NDArray[np.uint8]]:
        pick = int(rng.integers(self.frames[-1]))
        which = self.usable[int(np.searchsorted(self.frames, pick, side="right"))]
        video, labelled = self.videos[which], self.labelled[which]
        target = labelled[int(rng.integers(len(labelled)))]
        mask = self.targets.read(video, target)
        if self.options["still_clips"]:
            return self._still(rng, video, target, mask)
        indices = [int(rng.integers(len(video))), *clip_indices(target)]
        frames = [to_tensor(video.image(i), self.network.device) for i in indices]
        return frames, [(which, i) for i in indices], mask

    def _still(
        self, rng: np.random.Generator, video: Video, target: int, mask: NDArray[np.uint8]
    ) -> tuple[list[Tensor], list[Any], NDArray[np.uint8]]:
        """A clip made of one frame by an imagined camera: for splits whose frames lie seconds apart."""
        image = to_tensor(video.image(target), self.network.device)
        zoom, shift = float(rng.uniform(0.75, 1.0)), rng.uniform(-1, 1, 2) * 0.2
        drift, growth = rng.uniform(-1, 1, 2) * 0.012, float(rng.uniform(-0.008, 0.012))
        flip = bool(rng.integers(2))
        pose = [(zoom * (1 - growth * o), shift + drift * o, flip) for o in (9, 6, 3, 0)]
        gain = float(rng.uniform(0.7, 1.3))
        frames = [_view(image, *p) * gain for p in pose]
        other = to_tensor(video.image(int(rng.integers(len(video)))), self.network.device)
        labels = torch.from_numpy(mask)[None, None].float().to(self.network.device)
        seen = _view(labels + 1, *pose[-1], nearest=True).round()[0, 0].cpu().numpy()
        mask = np.where(seen < 1, IGNORE, seen - 1).astype(np.uint8)
        frames = [torch.clamp(f, 0, 255) for f in (other, *frames)]
        return frames, [None] * 5, mask

    def _features(self, images: tuple[Tensor, ...], keys: tuple[Any, ...], grad: bool) -> FrameFeatures:
        network = self.network
        if network.config.clip_trained:
            with torch.set_grad_enabled(grad):
                return network.features(torch.cat(images))
        clip = torch.cat([self._frozen(i, k) for i, k in zip(images, keys, strict=True)])
        with torch.set_grad_enabled(grad):
            return FrameFeatures(network.backbone_maps(torch.cat(images)), clip)

    @torch.no_grad()
    def _frozen(self, image: Tensor, key: Any) -> Tensor:
        """Features of a frozen CLIP, rounded to half precision whether they are kept or not."""
        if key in self._clip:
            return self._clip[key].float()
        features = self.network.clip_features(image).half()
        if key is not None and self._bytes < self._KEPT_BYTES:
            self._clip[key] = features
            self._bytes += features.numel() * 2
        return features.float()


def _view(
    image: Tensor, zoom: float, shift: NDArray[np.float64], flip: bool, nearest: bool = False
) -> Tensor:
    """What an imagined camera sees of an image (1, C, H, W); 0 outside."""
    side = -zoom if flip else zoom
    rows = [[side, 0.0, float(shift[0])], [0.0, zoom, float(shift[1])]]
    theta = torch.tensor([rows], dtype=image.dtype, device=image.device)
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, mode="nearest" if nearest else "bilinear", align_corners=False)


def _relabel(masks: NDArray[np.uint8], asked: NDArray[np.int64]) -> NDArray[np.uint8]:
    table = np.full(256, IGNORE, np.uint8)
    table[asked] = np.arange(len(asked))
    return table[masks]


def _cross_entropy(logits: Tensor, masks: NDArray[np.uint8]) -> Tensor:
    """Mean over labelled pixels at the logits' own resolution; labels by nearest place."""
    labels = torch.from_numpy(masks).to(logits.device)[:, None].float()
    if tuple(labels.shape[-2:]) != tuple(logits.shape[-2:]):
        labels = F.interpolate(labels, logits.shape[-2:], mode="nearest-exact")
    labels = labels[:, 0].long()
    loss = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    return loss / (labels != IGNORE).sum().clamp(min=1)


def build(setup: Setup, seed: int, steps: int | None) -> Training:
    """Trainer entry point of the method's card."""
    return Training(setup, seed, steps)
