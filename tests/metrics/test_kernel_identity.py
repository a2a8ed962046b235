"""What tells two label maps apart: the same bytes on every route, other bytes for every other map."""

from __future__ import annotations

import numpy as np
import pytest

from ovbench.core.native import kernel
from ovbench.methods.labels import identity, outside


def maps():
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 5, (6, 7)), np.ones((40, 50), int)).astype(np.uint8)
    yield from (blocks, blocks.astype(np.uint16), rng.integers(0, 99, (30, 31)).astype(np.uint8))
    yield from (np.zeros((1, 1), np.uint8), np.zeros((2, 900), np.uint8), np.zeros((900, 2), np.uint8))
    yield np.asfortranarray(blocks)[::2, 1::3]
    for place in ((0, 0), (239, 349), (100, 7)):
        other = blocks.copy()
        other[place] += 1
        yield other


@pytest.mark.skipif(kernel("metrics._count") is None, reason="no compiled kernel")
def test_the_same_bytes_on_both_routes(monkeypatch):
    compiled = [identity(m) for m in maps()]
    monkeypatch.setenv("OVBENCH_NATIVE", "0")
    assert [identity(m) for m in maps()] == compiled


def test_every_map_has_its_own():
    found = [identity(m) for m in maps()]
    assert len(set(found)) == len(found)
    assert identity(np.zeros((480, 853), np.uint8)).__sizeof__() < 100


@pytest.mark.parametrize("runs", range(1, 12))
def test_around_the_limit_where_pixels_take_over(runs, monkeypatch):
    flat = np.zeros((1, 160), np.uint8)
    flat[0, : 2 * runs : 2] = 1
    first = identity(flat)
    monkeypatch.setenv("OVBENCH_NATIVE", "0")
    assert identity(flat) == first


def test_identity_does_not_depend_on_byte_order():
    wide = np.arange(4000, dtype=np.uint16).reshape(4, 1000) // 100
    assert identity(wide) == identity(wide.astype(">u2"))


def test_outside_equals_a_direct_statement():
    rng = np.random.default_rng(1)
    for _ in range(300):
        dtype = rng.choice([np.uint8, np.uint16])
        top = int(np.iinfo(dtype).max)
        values = rng.choice([0, 1, 5, 9, top - 1, top], rng.integers(1, 4))
        label_map = rng.choice(values, (3, 4)).astype(dtype)
        names = int(rng.choice([1, 2, 6, 10, top - 1, top, top + 1]))
        bad = [v for v in label_map.ravel().tolist() if v >= names and v != top]
        assert outside(label_map, names) == (min(bad) if bad else None)
