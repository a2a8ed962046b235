from __future__ import annotations

from importlib.util import find_spec

# The methods with networks cannot be tested without the extra 'models'.
collect_ignore_glob = [] if find_spec("torch") and find_spec("open_clip") else ["test_*.py"]
