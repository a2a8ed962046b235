"""What a run will do, decided before anything is computed; and the key that says which run it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ovbench
from ovbench.core.errors import UserError
from ovbench.core.hashing import hash_file, hash_json
from ovbench.datasets.base import Dataset
from ovbench.datasets.open import open_dataset
from ovbench.flow.open import FlowSpec, key_parts, parse_all
from ovbench.methods.select import Selection, select
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol

from .environment import (
    code_sha256,
    method_sources,
    package_version,
    resolve_device,
    tree_sha256,
    usable_cores,
)


@dataclass(frozen=True)
class Request:
    """A run as the user asks for it; the fields are the options of `ovbench run`."""

    method: str
    protocol: str
    data_root: Path | None = None
    weights: Path | None = None
    variant: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    untrained: bool = False
    videos: int | None = None
    frames: int | None = None
    device: str = "auto"
    jobs: int | None = None
    threads: int = 1
    out: Path | None = None
    save_predictions: bool = False
    fresh: bool = False
    need_images: bool = True
    overlap: str = "auto"  # reading and writing in threads beside the method: auto, on or off
    flow: tuple[str, ...] = ()  # backends of temporal consistency, as in `ovbench.flow.open.parse`
    label_maps: Path | None = None  # a run of the wrapped method, whose label maps are not computed again
    name: str | None = None  # what tables call scored label maps
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A run with everything resolved."""

    request: Request
    protocol: Protocol
    dataset: Dataset
    selection: Selection
    device: str
    jobs: int
    video_ids: tuple[str, ...]
    partial: str | None
    key_parts: Mapping[str, Any]
    flow: tuple[FlowSpec, ...] = ()
    flow_device: str = "cpu"

    @property
    def overlap(self) -> str:
        """When a worker reads and writes in threads: "always", "never", or "measured" (`overlap.Choice`).

        Left to us: always on a GPU, which computes meanwhile; on a CPU where it is worth it and cores are
        free. Label maps on disk are the method's own to read, so scoring them gains next to nothing.
        """
        if self.request.overlap != "auto":
            return "always" if self.request.overlap == "on" else "never"
        if "cuda" in (self.device, self.flow_device):
            return "always"
        free = usable_cores() > self.jobs * self.request.threads
        return "measured" if free and self.selection.card.id != "predictions" else "never"

    @property
    def run_key(self) -> str:
        """SHA-256 of everything that can change a video's counts."""
        return hash_json(self.key_parts)

    @property
    def out(self) -> Path:
        """The run folder: as asked for, else named after protocol, method and run key."""
        if self.request.out is not None:
            return self.request.out
        selection = self.selection
        name = f"{selection.id}-{selection.variant}" if selection.variant else selection.id
        tail = self.run_key[:10]
        if self.request.videos is not None and self.partial is not None:
            tail += f"-first{len(self.video_ids)}"
        return Path("runs", self.protocol.id, name, tail)


def make_plan(request: Request, source_sha256: str | None = None, protocol: Protocol | None = None) -> Plan:
    """Resolve a request.

    Args:
        protocol: the request's, where the caller has loaded it.
        source_sha256: hash of what the method reads besides the frames (label maps on disk).

    Raises:
        UserError: anything in the request that cannot be done, said before work begins.
    """
    for name in ("videos", "frames", "jobs", "threads"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} must be at least 1, not {value}")
    if request.overlap not in ("auto", "on", "off"):
        raise UserError(f"--overlap '{request.overlap}' does not exist", hint="allowed: auto, on, off")
    protocol = protocol or load_protocol(request.protocol)
    selection = select(
        request.method, request.variant, request.settings, request.weights, request.untrained, protocol
    )
    device = resolve_device(request.device, selection.card.needs)
    dataset = open_dataset(protocol, request.data_root, need_images=request.need_images)
    every = tuple(dataset.video_ids)
    if not every:
        raise UserError(f"the split '{protocol.dataset.split}' holds no videos", where=protocol.id)
    chosen = every[: request.videos]
    flow = parse_all(request.flow)
    flow_device = resolve_device(request.device, ("models",)) if any(f.needs_models for f in flow) else "cpu"
    jobs = request.jobs or (1 if "cuda" in (device, flow_device) else usable_cores())
    return Plan(
        request=request,
        protocol=protocol,
        dataset=dataset,
        selection=selection,
        device=device,
        jobs=min(jobs, len(chosen)),
        video_ids=chosen,
        partial=_partial(len(chosen), len(every), request.frames),
        key_parts={
            **_key_parts(request, protocol, selection, device, source_sha256),
            **_beside_key(selection),
            **_wrapper_key(selection),
            **_flow_key(flow, chosen, flow_device),
        },
        flow=flow,
        flow_device=flow_device,
    )


def _partial(chosen: int, total: int, frames: int | None) -> str | None:
    parts = [f"first {chosen} of {total} videos"] if chosen < total else []
    if frames is not None:
        parts.append(f"first {frames} frames of each video")
    return ", ".join(parts) or None


def _key_parts(
    request: Request, protocol: Protocol, selection: Selection, device: str, source: str | None
) -> dict[str, Any]:
    models = "models" in selection.card.needs
    return {
        "protocol": protocol.hash,
        "vocabulary": protocol.vocabulary.hash,
        "method": selection.id,
        "variant": selection.variant,
        "options": public_options(selection.options),
        "weights": selection.weights_sha256,
        "untrained": selection.untrained,
        "source": source,
        "frames": request.frames,
        "threads": request.threads,
        "device": device,
        "torch": package_version("torch") if models else None,
        "ovbench": ovbench.__version__,
        "code": code_sha256(method_sources(selection.card.folder)),
    }


def _beside_key(selection: Selection) -> dict[str, Any]:
    """Only for methods that read more than a weights file, or whose model is a package's own code."""
    parts: dict[str, Any] = {}
    if selection.beside_sha256:
        parts["beside"] = dict(selection.beside_sha256)
    if "sam2" in selection.card.needs:
        parts["transformers"] = package_version("transformers")
    return parts


def _wrapper_key(selection: Selection) -> dict[str, Any]:
    """Nothing for a wrapper that its options and the code of `methods` decide already."""
    parts = selection.wrapper.key(selection.options) if selection.wrapper else {}
    return {"wrapper": parts, "wrapper_code": tree_sha256([_flow_room()])} if parts else {}


def _flow_room() -> Path:
    return Path(ovbench.__file__).resolve().parent / "flow"


def _flow_key(flow: Sequence[FlowSpec], video_ids: Sequence[str], device: str) -> dict[str, Any]:
    """Nothing for a run without flow: what computes it is then no part of the run."""
    if not flow:
        return {}
    parts = [key_parts(spec, video_ids, device) for spec in flow]
    return {"flow": parts, "flow_code": tree_sha256([_flow_room()])}


def public_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a manifest may show them: a file becomes its name and hash, a folder its name."""
    return {key: _public_value(value) for key, value in options.items()}


def _public_value(value: Any) -> Any:
    if isinstance(value, str) and ("/" in value or "." in value):
        path = Path(value)
        if path.is_file():
            return f"{path.name} sha256:{hash_file(path)}"
        if path.is_dir():
            return path.resolve().name
    return value
