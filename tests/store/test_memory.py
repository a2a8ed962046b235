"""Freed label maps stay with the process: page faults, counted in a process of their own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys
import numpy as np
from ovbench.core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def frames(n):
    for _ in range(n):
        maps = [np.full((480, 853), 7, np.uint8) for _ in range(4)]
        del maps
frames(5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
frames(100)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 100)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_frames_reuse_the_pages_of_earlier_frames():
    faults = {}
    for how in ("keep", "default"):
        done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True)
        faults[how] = float(done.stdout)
    assert faults["keep"] < 10 < faults["default"]  # 4 maps are 400 pages
