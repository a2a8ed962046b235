"""One self-contained page about runs: leaderboard, figures, classes, videos, and where each number comes from.

    write_report(open_runs(folders), Path("report.html"), Options())

    page.py        runs to a file: what stands on the page, in which order
    boards.py      a table and its runs as what the template shows
    words.py       what each score is, in a sentence
    classes.py     IoU of each class, methods side by side
    origins.py     where numbers come from: run, key, weights, command
    videos.py      which videos and frames are shown, within a budget of bytes
    sheets.py      frames and label maps as few small pictures
    render.py      the template; names are escaped, scripts are named by their hash

The page asks no other host for anything and says so to the browser (its content security policy).
"""

from __future__ import annotations

from .page import Options, write_report

__all__ = ["Options", "write_report"]
