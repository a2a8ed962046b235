"""Makes the pictures of docs/figures.md by the commands that stand in it.

    python docs/make_figures.py            # all of them
    python docs/make_figures.py per-class  # those whose commands say this word

Runs that the commands need first (`ovbench run`, `ovbench sweep`) are made below ./runs, and kept.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def commands() -> list[str]:
    """The lines of docs/figures.md that begin with "ovbench", continued ones joined."""
    text = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"(?m)^    (ovbench (?:plot|run|sweep) .*--out .*)$", text)


def main(wanted: list[str]) -> None:
    """Run the commands that hold one of the words, or all."""
    for line in commands():
        if not wanted or any(word in shlex.split(line) for word in wanted):
            print(line, flush=True)
            # through a shell, because the documented commands use * and {}
            program = shlex.join([sys.executable, "-m", "ovbench"])
            subprocess.run(["bash", "-c", line.replace("ovbench", program, 1)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
