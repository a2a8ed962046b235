"""ovbench: a benchmark for open-vocabulary video semantic segmentation.

The public names below are loaded on first use, so that `import ovbench` stays light (no torch, no NumPy).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HERE = Path(__file__).resolve().parent
if not (_HERE / "baselines").is_dir() and (_HERE.parent / "baselines").is_dir():
    # A checkout: baselines/ lies beside the package; a wheel carries it inside.
    __path__.append(str(_HERE.parent))

_PUBLIC = {
    "Vocabulary": "ovbench.protocol.vocabulary",
    "Protocol": "ovbench.protocol.schema",
    "load_protocol": "ovbench.protocol.load",
    "open_video": "ovbench.datasets.open",
    "open_dataset": "ovbench.datasets.open",
    "Video": "ovbench.datasets.base",
    "Segmenter": "ovbench.methods.base",
    "FrameSegmenter": "ovbench.methods.base",
    "create": "ovbench.methods.create",
    "OvbenchError": "ovbench.core.errors",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from .core.errors import OvbenchError as OvbenchError
    from .datasets.base import Video as Video
    from .datasets.open import open_dataset as open_dataset
    from .datasets.open import open_video as open_video
    from .methods.base import FrameSegmenter as FrameSegmenter
    from .methods.base import Segmenter as Segmenter
    from .methods.create import create as create
    from .protocol.load import load_protocol as load_protocol
    from .protocol.schema import Protocol as Protocol
    from .protocol.vocabulary import Vocabulary as Vocabulary


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'ovbench' has no attribute '{name}'")
