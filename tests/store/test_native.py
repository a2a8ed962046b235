"""The compiled row filters by themselves, and when a kernel counts as absent."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from png_cases import filtered, flat_map

from ovbench.core import native


@pytest.fixture
def unfilter():
    found = native.kernel("store._png")
    if found is None:
        pytest.skip(f"kernel {native.absent_because('store._png')}: python hatch_build.py")
    return found.unfilter


@pytest.mark.parametrize("width", [1, 2, 15, 16, 17, 31, 32, 33, 64, 100])
@pytest.mark.parametrize("kind", range(5))
def test_block_by_block(unfilter, width, kind):
    for seed in range(10):
        values = flat_map(seed, 12, width)
        data = filtered(values, [kind] * 12)
        for cut in (1, 5, 12):
            out = np.full((12, width), 77, np.uint8)
            unfilter(data[: cut * (width + 1)], cut, width + 1, out[:cut])
            if cut < 12:
                unfilter(data[cut * (width + 1) :], 12 - cut, width + 1, out[cut:], out[cut - 1])
            np.testing.assert_array_equal(out, values)


def test_a_wrong_call_is_an_error_and_never_a_crash(unfilter):
    data, out = bytes(12), np.zeros((3, 3), np.uint8)
    unfilter(data, 3, 4, out)
    for arguments in (
        (data, 3, 4, np.zeros(8, np.uint8)),
        (data, 2, 4, out),
        (data, 0, 4, out),
        (data, -3, -4, out),
        (data, 1 << 62, 1 << 62, out),
        (data, 12, 1, np.zeros(0, np.uint8)),
        (data, 3, 4, out, bytes(2)),
        (b"\5" + data[1:], 3, 4, out),
    ):
        with pytest.raises(ValueError):
            unfilter(*arguments)
    for arguments in ((data, 3, 4, bytes(9)), (data, 3, 4, out[:, ::-1]), (data, 3, 4, out, 7), (data, 3)):
        with pytest.raises((TypeError, BufferError, ValueError)):
            unfilter(*arguments)


def test_the_switch_is_looked_up_at_every_call(unfilter, monkeypatch):
    monkeypatch.setenv(native.SWITCH, "0")
    assert native.kernel("store._png") is None and native.absent_because("store._png") == "OVBENCH_NATIVE=0"
    monkeypatch.delenv(native.SWITCH)
    assert native.kernel("store._png") is not None and native.absent_because("store._png") is None


def test_absent_stale_and_broken(tmp_path, monkeypatch, unfilter):
    monkeypatch.setenv(native.SWITCH, "1")
    real = native._PACKAGE / "store" / f"_png{native.SUFFIX}"
    monkeypatch.setattr(native, "_PACKAGE", tmp_path)
    load = native._load.__wrapped__
    assert load("store._png") == (None, "not compiled")
    (tmp_path / "store").mkdir()
    copy = tmp_path / "store" / real.name
    shutil.copy(real, copy)
    assert load("store._png")[0] is not None
    source = copy.with_name("_png.c")
    source.write_text("")
    os.utime(source, (copy.stat().st_mtime + 5,) * 2)
    assert load("store._png") == (None, "older than its source")
    assert load("no.such") == (None, "not compiled")
    (tmp_path / "store" / f"_none{native.SUFFIX}").write_bytes(b"")
    missing, why = load("store._none")
    assert missing is None and why is not None and why.startswith("cannot be loaded")


def test_every_source_is_known():
    sources = native._PACKAGE.rglob("_*.c")
    found = {".".join(p.relative_to(native._PACKAGE).with_suffix("").parts) for p in sources}
    assert found <= set(native.kernel_names())
