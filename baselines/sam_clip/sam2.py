"""SAM 2 through transformers: regions of a frame, and the same regions in the frames that follow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ovbench.core.errors import UserError, missing_extra
from ovbench.core.types import Image
from ovbench.nn.checkpoint import load_weights
from ovbench.nn.seeded import fill_by_name
from ovbench.nn.weights_file import listing

from .config import GridConfig
from .regions import Regions, cut, join, none_of, suppress

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HINT = (
    "give model.safetensors of a folder such as facebook/sam2.1-hiera-tiny, with its config.json beside it"
)
_AT_ONCE = 32  # masks at the frame's size


class Sam2:
    """A `Sam2VideoModel`: asked at points of a frame, or given regions to follow.

    Args:
        model: in evaluation mode, frozen.
        config: when a mask counts as a region.
        where: the config.json that it was made from, for errors.
    """

    def __init__(self, model: Any, config: GridConfig, where: Path | None = None) -> None:
        self.model, self.config, self.where = model, config, where
        side = model.config.image_size
        self.side = int(side if isinstance(side, int) else side[0])

    def pixels(self, image: Image) -> Tensor:
        """(H, W, 3) uint8 RGB -> (1, 3, S, S): squashed to a square, with ImageNet's statistics."""
        device = self.model.device
        x = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None].float() / 255
        x = F.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False, antialias=True)
        mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (_MEAN, _STD))
        return (x - mean) / std

    def regions(self, image: Image) -> Regions:
        """What a grid of points finds in a frame, best first; the frame is encoded once.

        Raises:
            UserError: the network's weights fit its config, but its numbers contradict each other.
        """
        with torch.inference_mode(), _working(self.where):
            return self._regions(image)

    def _regions(self, image: Image) -> Regions:
        config, size = self.config, (int(image.shape[0]), int(image.shape[1]))
        embeddings = self.model.get_image_embeddings(self.pixels(image))
        line = (torch.arange(config.points_per_side, device=self.model.device) + 0.5) / config.points_per_side
        y, x = torch.meshgrid(line, line, indexing="ij")
        points = torch.stack([x, y], dim=-1).reshape(1, -1, 1, 2) * self.side
        parts = []
        for some in points.split(config.points_per_batch, dim=1):
            small, quality = self._ask(embeddings, some)
            keep = (
                quality > config.quality if config.quality > 0 else torch.ones_like(quality, dtype=torch.bool)
            )
            for masks, guess in zip(small[keep].split(_AT_ONCE), quality[keep].split(_AT_ONCE), strict=True):
                if len(masks):
                    large = F.interpolate(masks[None], size, mode="bilinear", align_corners=False)[0]
                    parts.append(cut(large, guess, config.stability, config.stability_offset))
        if not parts:
            return none_of(size, self.model.device)
        found = join(parts)
        found = found[found.masks.flatten(1).any(1)]
        return suppress(found, found.quality, config.nms)

    def _ask(self, embeddings: Sequence[Tensor], points: Tensor) -> tuple[Tensor, Tensor]:
        """(1, B, 1, 2) points in pixels of the square -> (B, 3, h, w) logits and (B, 3) guessed IoU."""
        labels = torch.ones(points.shape[:3], dtype=torch.int, device=points.device)
        sparse, dense = self.model.prompt_encoder(
            input_points=points, input_labels=labels, input_boxes=None, input_masks=None
        )
        masks, quality, _, _ = self.model.mask_decoder(
            image_embeddings=embeddings[-1],
            image_positional_embeddings=self.model.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            high_resolution_features=list(embeddings[:-1]),
        )
        return masks[0], quality[0]

    @torch.inference_mode()
    def follow(self, images: Sequence[Image], masks: Tensor) -> Iterator[Tensor]:
        """Regions of the first frame in each of `images`, one after the other.

        Args:
            images: n frames of a video, (H, W, 3) uint8 RGB each.
            masks: (N, H, W) bool, N >= 1 regions of the first.

        Yields:
            (N, H, W) bool for each frame; an empty mask where SAM 2 has lost a region, or holds it to be hidden.
        """
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        height, width = int(images[0].shape[0]), int(images[0].shape[1])
        device = self.model.device
        # Frames come one by one: with the whole video at hand the model weighs its memory by the video's length.
        # The type has to be said: the class's own default is a text, which it cannot use.
        session = Sam2VideoInferenceSession(None, height, width, device, device, device, torch.float32)
        square = F.interpolate(
            masks[:, None].float(),
            (self.side, self.side),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        for index, mask in enumerate(square >= 0.5):
            session.add_mask_inputs(session.obj_id_to_idx(index), 0, mask[None].float())
        session.obj_with_new_inputs = list(session.obj_ids)
        for image in images:
            with _working(self.where):
                found = self.model(inference_session=session, frame=self.pixels(image)).pred_masks
            large = F.interpolate(found.float(), (height, width), mode="bilinear", align_corners=False)[:, 0]
            yield large > 0


def load_sam2(weights: Path | None, config: GridConfig, device: str = "cpu") -> Sam2:
    """SAM 2 from a folder as transformers publishes it; without a file, its smallest model, name-seeded.

    Args:
        weights: `model.safetensors`, with `config.json` beside it.

    Raises:
        UserError: another file, no config beside it or one of another model, or names that do not fit.
    """
    try:
        from transformers import Sam2VideoConfig, Sam2VideoModel
    except ImportError:
        raise missing_extra("transformers", "sam2") from None
    if weights is None:
        model = Sam2VideoModel(Sam2VideoConfig())
        fill_by_name(model)
    else:
        model = _from_folder(weights)
    where = None if weights is None else weights.parent / "config.json"
    return Sam2(model.eval().requires_grad_(False).to(device), config, where)


def _from_folder(weights: Path) -> Any:
    """The model of a folder, read by transformers, which knows older layouts; nothing may be missing or left over."""
    from transformers import Sam2VideoModel

    _check_folder(weights)
    load_weights(weights)  # says in our words what is wrong with a damaged file
    try:
        with _quiet():
            read: Any = Sam2VideoModel.from_pretrained(  # with its report: a pair
                weights.parent, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    # A config.json can say anything, and transformers fails at it in any way: a division by zero heads, a validation
    # error that derives from Exception alone. Nothing but reading happens here, so whatever it is, the folder is wrong.
    except Exception as error:
        why = "; ".join(line.strip() for line in str(error).splitlines()[:2] if line.strip())
        raise UserError(
            f"transformers cannot make SAM 2 of this config and these weights: {type(error).__name__}: {why}",
            where=weights,
            hint=_HINT,
        ) from error
    model, info = read
    wrong = {kind: sorted(str(n) for n in info.get(f"{kind}_keys", ())) for kind in ("missing", "unexpected")}
    wrong["wrong shape"] = sorted(str(found[0]) for found in info.get("mismatched_keys", ()))
    parts = [listing(kind, names) for kind, names in wrong.items() if names]
    if parts:
        raise UserError(f"the weights do not fit SAM 2: {'; '.join(parts)}", where=weights, hint=_HINT)
    return model


@contextmanager
def _working(where: Path | None) -> Iterator[None]:
    """Sizes in a config.json that contradict each other show when the network runs, not when it is loaded."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError, ArithmeticError) as error:
        if where is None:
            raise
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"SAM 2 fails with the sizes of this config: {why}", where=where, hint=_HINT
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no table of names that do not fit: the error names them. As it was before, afterwards."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _check_folder(weights: Path) -> None:
    path = weights.parent / "config.json"
    if weights.name != "model.safetensors":
        raise UserError(
            f"SAM 2 is read from model.safetensors, not {weights.name}", where=weights, hint=_HINT
        )
    if not path.is_file():
        raise UserError("there is no config.json beside these weights", where=weights, hint=_HINT)
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise UserError(f"this config cannot be read: {error}", where=path, hint=_HINT) from error
    if kind not in ("sam2_video", "sam2"):
        raise UserError(f"this config is of a model '{kind}', not of SAM 2", where=path, hint=_HINT)
