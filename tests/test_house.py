"""The rules of the house (docs/architecture.md), checked on the source itself."""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
ROOMS = (
    "core",
    "protocol",
    "store",
    "stats",
    "datasets",
    "metrics",
    "nn",
    "flow",
    "methods",
    "engine",
    "baselines",
    "report",
    "cli",
)
"""Each room may import from those before it."""
LIGHT = ("core", "protocol", "store", "stats", "datasets", "metrics", "report")
HEAVY = ("torch", "torchvision", "open_clip", "timm", "safetensors", "segment_anything", "scipy", "cv2")
TORCH_MODULES = tuple(
    f"ovbench/engine/{name}.py" for name in ("train", "masks", "augment", "parallel", "precision")
) + tuple(f"ovbench/methods/{name}.py" for name in ("fit", "inspect", "stock"))  # of `ovbench weights` alone
"""Outside nn and baselines, only these may import torch when they are imported."""

MEDIAN_LINES, MOST_LINES, LONG_FILES = 150, 400, 0.05
LONG_FUNCTION, LONG_FUNCTIONS = 40, 0.05
MOST_BYTES = 6_000_000


def sources() -> list[Path]:
    return sorted(p for room in ("ovbench", "baselines") for p in (CHECKOUT / room).rglob("*.py"))


def room_of(path: Path) -> str | None:
    parts = path.relative_to(CHECKOUT).parts
    if parts[0] == "baselines":
        return "baselines"
    return parts[1] if len(parts) > 2 else None  # ovbench/__init__.py and __main__.py stand above all rooms


def imports(path: Path, *, top_level: bool = False) -> Iterator[str]:
    """Full names of imported modules; those inside functions and under TYPE_CHECKING only if not `top_level`."""
    package = ".".join(path.relative_to(CHECKOUT).parent.parts).replace("/", ".")
    package = f"ovbench.{package}" if package.startswith("baselines") else package
    for node in walk(ast.parse(path.read_text(encoding="utf-8")), top_level):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            yield ".".join([*base, *([node.module] if node.module else [])])


def walk(node: ast.AST, top_level: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if top_level and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if top_level and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from walk(child, top_level)


def test_imports_point_one_way():
    wrong = []
    for path in sources():
        room = room_of(path)
        if room is None:
            continue
        assert room in ROOMS, f"{path} lies in a room that the plan does not know"
        for name in imports(path):
            parts = name.split(".")
            known = parts[0] == "ovbench" and len(parts) > 1 and parts[1] in ROOMS
            if known and ROOMS.index(parts[1]) > ROOMS.index(room):
                wrong.append(f"{path.relative_to(CHECKOUT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_baseline_imports_another():
    wrong = []
    for path in (CHECKOUT / "baselines").rglob("*.py"):
        own = path.relative_to(CHECKOUT / "baselines").parts[0]
        for name in imports(path):
            parts = name.split(".")
            if parts[:2] == ["ovbench", "baselines"] and len(parts) > 2 and parts[2] != own:
                wrong.append(f"{path.relative_to(CHECKOUT)} imports {name}")
    assert not wrong, "what two methods need belongs into nn/:\n" + "\n".join(wrong)


def test_torch_is_imported_only_where_it_is_used():
    wrong = []
    for path in sources():
        room, name = room_of(path), path.relative_to(CHECKOUT).as_posix()
        if room in ("nn", "baselines") or name in TORCH_MODULES:
            continue
        found = {n.split(".")[0] for n in imports(path, top_level=room not in LIGHT)} & set(HEAVY)
        wrong += [f"{name} imports {', '.join(sorted(found))}"] if found else []
    assert not wrong, "\n".join(wrong)


def test_pandas_and_matplotlib_stay_in_functions():
    for path in sources():
        found = {n.split(".")[0] for n in imports(path, top_level=True)} & {"pandas", "matplotlib", "rich"}
        assert not found, (
            f"{path.relative_to(CHECKOUT)} imports {found} at once, which makes the command line slow"
        )


BARRED = """
import json, sys
class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {heavy}:
            raise ImportError("barred: " + name)
sys.meta_path.insert(0, Barred())
from ovbench.cli.main import main
try:
    main({argv})
except SystemExit as end:
    print(json.dumps([end.code, sorted(m for m in ("torch", "pandas", "matplotlib") if m in sys.modules)]))
"""


def run_barred(*argv: str, cwd: Path) -> tuple[int, list[str], str]:
    """Run a verb in a process in which torch & co. cannot be imported: exit code, heavy modules, all output."""
    code = BARRED.format(heavy=HEAVY, argv=list(argv))
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(CHECKOUT)!r})\n{code}"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    code_and_modules = json.loads(done.stdout.splitlines()[-1])
    return code_and_modules[0], code_and_modules[1], done.stdout + done.stderr


def test_score_and_tables_work_without_torch(tmp_path):
    import numpy as np
    from make_trees import make_camvid

    from ovbench.datasets.open import open_dataset
    from ovbench.protocol.load import load_protocol
    from ovbench.store.masks import write_mask

    root = make_camvid(tmp_path / "data")
    dataset = open_dataset(load_protocol("camvid-8-3-gzs"), root)
    for video_id in dataset.video_ids:
        for frame in dataset.open(video_id).frame_names:
            write_mask(tmp_path / "maps" / video_id / f"{frame}.png", np.zeros((24, 40), np.uint8))
    options = ("--protocol", "camvid-8-3-gzs", "--data-root", "data", "--jobs", "1", "--out", "out")
    for argv in (
        ("score", "--predictions", "maps", *options),
        ("table", "out"),
        ("compare", "out", "out"),
        ("methods",),
        ("protocols",),
        ("run", "--method", "majority", "--videos", "1", *options[:-1], "out2"),
    ):
        code, modules, output = run_barred(*argv, cwd=tmp_path)
        if argv[0] == "run":  # the small tree has no training split; torch is not what is missing
            assert code in (0, 2) and "barred" not in output
        else:
            assert code == 0, output
        assert modules == [], f"{argv[0]} loads {modules}"


def test_help_is_quick():
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "ovbench", "--help"], cwd=CHECKOUT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_files_can_be_read_in_one_sitting():
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in sources()}
    assert statistics.median(lengths.values()) < MEDIAN_LINES
    long = [f"{p.relative_to(CHECKOUT)}: {n}" for p, n in lengths.items() if n > MOST_LINES]
    assert len(long) <= LONG_FILES * len(lengths), "\n".join(long)


def test_most_functions_are_short():
    lengths = {
        f"{p.relative_to(CHECKOUT)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for p in sources()
        for node in ast.walk(ast.parse(p.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    long = [name for name, n in lengths.items() if n > LONG_FUNCTION]
    assert len(long) <= LONG_FUNCTIONS * len(lengths), "\n".join(long)


def test_every_module_and_public_function_says_what_it_is():
    silent = []
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = path.relative_to(CHECKOUT).as_posix()
        if tree.body and not ast.get_docstring(tree):
            silent.append(name)
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if isinstance(node, ast.FunctionDef) and node.name == "build" and room_of(path) == "baselines":
                continue  # the entry point that a method card names; the contract says what it does
            if public and not ast.get_docstring(node):
                silent.append(f"{name}:{node.lineno} {node.name}")
    assert not silent, "\n".join(silent)


def committed() -> list[Path]:
    """Files that are, or are about to be, in the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    paths = [CHECKOUT / name for name in done.stdout.split("\0") if name]
    return [p for p in paths if p.is_file()]


def test_no_paths_of_a_machine_and_no_registry_hosts():
    # in pieces, so that this file is not found by itself
    barred = [
        "/wo" + "rk/",
        "/opt/" + "pypi",
        "py" + "pi.org",
        "python" + "hosted.org",
        "extra-index" + "-url",
    ]
    wrong = []
    binary = (".safetensors", ".png", ".jpg", ".npz", ".npy", ".gz", ".pdf")
    for path in (p for p in committed() if p.suffix not in binary):
        text = path.read_text(encoding="utf-8", errors="replace")
        wrong += [f"{path.relative_to(CHECKOUT)}: {word}" for word in barred if word in text]
    assert not wrong, "\n".join(wrong)


def test_nothing_large_and_nothing_generated_is_committed():
    for path in committed():
        assert path.stat().st_size < MOST_BYTES, f"{path} is too large for a repository"
        assert "__pycache__" not in path.parts and path.suffix != ".pyc"
