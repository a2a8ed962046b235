"""Training of OV2VSS on a protocol's seen classes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.engine.recipe import header, needed, poly
from ovbench.engine.targets import IGNORE, SeenTargets
from ovbench.methods.base import Setup

from .headers import check_profile
from .learner import Learner, PaperLearner
from .losses import Rule, relabel
from .network import METHOD
from .samples import Sample, Samples, stacked


class Training:
    """The task. One sample is one video: a random target, its clip, and a random further frame.

    Loss: alpha * cross-entropy over the classes asked for + beta * cross-entropy of the auxiliary head
    (OV2VSS, section III-F; see `losses.Rule`). Each step asks for the classes that are present and
    `negatives` absent ones, so its cost need not grow with the vocabulary.
    """

    half = True

    def __init__(self, setup: Setup, seed: int, steps: int | None) -> None:
        protocol, open_split = needed(setup, METHOD)
        self.setup, self.seed = setup, seed
        options = dict(setup.options)
        self.options, self.steps = options, steps or int(options["steps"])
        self.clip_norm = float(options["gradient"]) or None
        self.amp, self.accumulate = str(options["amp"]), int(options["accumulate"])
        _check_parts(int(options["batch"]), self.accumulate)
        self.targets = SeenTargets(protocol)
        torch.manual_seed(seed)
        self.learner = _learner(setup, len(self.targets))
        self.module = self.learner.module
        self.rule = Rule.from_options(options)
        device = torch.device(setup.device)
        self.samples = Samples(open_split("train"), self.targets, options, device)
        self.text = self.learner.text(self.targets.vocabulary)
        self._drawn: tuple[int, list[Sample], NDArray[np.int64]] | None = None

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW in groups: the backbone's rate and `head_rate` times it, with and without weight decay."""
        options, bare = self.options, _bare(self.module, str(self.options["no_decay"]))
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad:
                factor = 1.0 if self.learner.backbone(name) else float(options["head_rate"])
                groups.setdefault((factor, name in bare), []).append(parameter)
        rate, decay = float(options["rate"]), float(options["decay"])
        return torch.optim.AdamW(
            [
                {"params": found, "lr": rate * factor, "weight_decay": 0.0 if without else decay}
                for (factor, without), found in sorted(groups.items(), key=lambda group: group[0])
            ],
            lr=rate,
        )

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then polynomial decay (power 0.9) to zero."""
        return poly(step, self.steps, int(self.options["warmup"]), float(self.options["warmup_ratio"]))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of one batch, a pure function of (seed, step) and the weights."""
        return self.part_loss(step, 0, 1)

    def part_loss(self, step: int, part: int, parts: int) -> tuple[Tensor, dict[str, float]]:
        """What one of `parts` equal parts of the batch adds to its loss.

        Raises:
            UserError: a batch that cannot be cut so.
        """
        batch, asked = self._batch(step)
        _check_parts(len(batch), parts)
        size = len(batch) // parts
        share = slice(part * size, (part + 1) * size)
        loaded = [sample.load() for sample in batch[share]]
        frames = [torch.cat(column) for column in zip(*(f for f, _ in loaded), strict=True)]
        keys = list(zip(*(k for _, k in loaded), strict=True))
        outputs = self.learner.outputs(frames, keys, self.text[asked])
        masks = stacked(batch)
        main, auxiliary = (
            self.rule([getattr(o, head) for o in outputs], labels, share)
            for head, labels in (("logits", relabel(masks, asked)), ("auxiliary", masks))
        )
        total = self.rule.alpha * main + self.rule.beta * auxiliary
        return total, {"main": float(main.detach()), "auxiliary": float(auxiliary.detach())}

    def _batch(self, step: int) -> tuple[list[Sample], NDArray[np.int64]]:
        """The samples of a step, and the classes it asks for."""
        if self._drawn is None or self._drawn[0] != step:
            rng = np.random.default_rng([self.seed, step])
            samples = self.samples.draw(rng, int(self.options["batch"]))
            self._drawn = step, samples, self._asked(rng, stacked(samples), int(self.options["negatives"]))
        return self._drawn[1:]

    def _asked(self, rng: np.random.Generator, masks: NDArray[np.uint8], negatives: int) -> NDArray[np.int64]:
        """Classes of a step: those in the masks and some that are not. All of them for a closed set."""
        if self.learner.closed:
            return np.arange(len(self.text))
        every = np.arange(len(self.targets))
        present = np.setdiff1d(np.unique(masks), [IGNORE]).astype(np.int64)
        absent = np.setdiff1d(every, present)
        return np.concatenate([present, rng.choice(absent, min(negatives, len(absent)), replace=False)])

    def metadata(self) -> dict[str, str]:
        """Header of the weights file."""
        config = self.learner.config_json()
        common = header(self.setup, METHOD, config, self.targets, self.seed, self.steps)
        return {**common, "profile": self.learner.profile}


def _learner(setup: Setup, seen: int) -> Learner:
    if setup.options.get("profile", "paper") == "release":
        from .release.learner import ReleaseLearner

        release: Learner = ReleaseLearner(setup, seen)
        return release
    return PaperLearner(setup, seen)


def _check_parts(batch: int, parts: int) -> None:
    if parts < 1 or batch % parts:
        raise UserError(
            f"a batch of {batch} clips cannot be cut into {parts} equal parts",
            hint="batch must be a multiple of accumulate x the number of processes",
        )


_NORMS = ("LayerNorm", "LayerNorm2d", "GroupNorm", "BatchNorm2d", "SyncBatchNorm")
_POSITIONS = ("pos_embed", "rel_pos")


def _bare(module: nn.Module, rule: str) -> set[str]:
    """Names of the parameters without weight decay.

    "vectors": all of one dimension; "norms": those of norms, and position tables; "names": those whose name
    contains `norm` or `pos_block`, as the official configuration says it.
    """
    names = dict(module.named_parameters())
    if rule == "vectors":
        return {name for name, p in names.items() if p.ndim <= 1}
    if rule == "names":
        return {name for name in names if "norm" in name or "pos_block" in name}
    found = {name for name in names if any(p in name for p in _POSITIONS)}
    for prefix, part in module.named_modules():
        if type(part).__name__ in _NORMS:
            found |= {f"{prefix}.{own}" for own, _ in part.named_parameters(recurse=False)}
    return found


def build(setup: Setup, seed: int, steps: int | None) -> Training:
    """Trainer entry point of the method's card."""
    check_profile(setup)
    return Training(setup, seed, steps)
