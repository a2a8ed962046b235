"""What a key and a manifest say of a method: files beside its weights, packages, what it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ovbench.core.errors import UserError
from ovbench.core.paths import room
from ovbench.engine import environment, manifest
from ovbench.engine.plan import Plan, Request, make_plan
from ovbench.methods.card import read_card
from ovbench.methods.registry import card


def plan_of(weights: Path) -> Plan:
    settings = {"clip": "world"}
    return make_plan(Request("sam2-clip", "world-27-9", weights=weights, settings=settings, device="cpu"))


def test_the_config_beside_the_weights_is_part_of_the_key(tmp_path: Path) -> None:
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    weights.write_bytes(b"weights")
    keys = []
    for size in (1024, 512):
        config.write_text(json.dumps({"model_type": "sam2_video", "image_size": size}))
        plan = plan_of(weights)
        keys.append(plan.run_key)
        assert manifest._manifest(plan)["weights"]["beside"] == plan.key_parts["beside"]
    config.unlink()
    keys.append(plan_of(weights).run_key)  # the method itself says that it is missing
    assert len(set(keys)) == 3


def test_transformers_is_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = plan_of(tmp_path / "model.safetensors")
    assert before.key_parts["transformers"] == environment.package_version("transformers")
    monkeypatch.setattr("ovbench.engine.plan.package_version", lambda name: f"0 of {name}")
    assert plan_of(tmp_path / "model.safetensors").key_parts["transformers"] == "0 of transformers"
    assert {"transformers", "segment-anything", "scipy"} <= set(environment.versions())


@pytest.mark.parametrize("run", ["sam-clip-seed0", "san-seed0", "maskclip-world"])
def test_other_keys_have_the_parts_that_they_had(run: str) -> None:
    path = room("results") / "world/world-27-9" / run / "manifest.json"
    if not path.is_file():
        pytest.skip(f"there is no kept run {run}")
    kept = json.loads(path.read_text())
    name, variant = kept["method"]["id"], kept["method"]["variant"]
    now = make_plan(Request(name, "world-27-9", variant=variant, device="cpu"))
    assert set(now.key_parts) == set(kept["key"])
    assert now.key_parts["options"] == kept["key"]["options"]


def test_a_manifest_says_what_the_variant_was_trained_on() -> None:
    for variant in ("world", "vit-b"):
        asked = Request("sam-clip", "world-27-9", variant=variant, untrained=True, device="cpu")
        stated = manifest.method_facts(make_plan(asked))["trained_on"]
        assert any("SA-1B" in text for text in stated) == (variant == "vit-b")
    assert card("sam-clip").trained_on_for("vit-b") == card("sam-clip").trained_on


@pytest.mark.parametrize("name", ["../config.json", "a/b.json", "..", ""])
def test_only_files_beside_the_weights_can_be_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "method.toml"
    path.write_text(f'id = "m"\ntitle = "M"\nkind = "image"\nsegmenter = "a:b"\nbeside = ["{name}"]\n')
    with pytest.raises(UserError, match="beside"):
        read_card(path)
