from __future__ import annotations

from importlib.util import find_spec

# Without the extra 'models' there is nothing to train with.
collect_ignore_glob = [] if find_spec("torch") and find_spec("open_clip") else ["test_*.py"]
