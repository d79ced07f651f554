"""The ratios that the documents quote: on record with command, date and machine, and not below their floors.

Nothing is timed here: a figure changes when somebody measures anew and writes it down.
"""

import ast
import datetime
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RATIOS: list[dict[str, Any]] = json.loads((ROOT / "benchmarks" / "ratios.json").read_text(encoding="utf-8"))["ratios"]
FIELDS = {"name", "claim", "measured", "floor", "command", "date", "machine", "document", "quoted"}


def constant(script: str, name: str) -> Any:
    """The value of a constant of a benchmark, which is not run."""
    for node in ast.parse((ROOT / "benchmarks" / script).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"{script} has no {name}")


@pytest.mark.parametrize("ratio", RATIOS, ids=lambda ratio: ratio["name"])
def test_a_ratio_is_on_record_and_not_below_its_floor(ratio: dict[str, Any]) -> None:
    assert set(ratio) == FIELDS
    assert ratio["measured"] >= ratio["floor"] > 0
    assert datetime.date.fromisoformat(ratio["date"]) >= datetime.date(2026, 11, 1)
    script = next(word for word in ratio["command"].split() if word.startswith("benchmarks/"))
    assert (ROOT / script).is_file()


@pytest.mark.parametrize("ratio", RATIOS, ids=lambda ratio: ratio["name"])
def test_its_document_quotes_the_same_figure(ratio: dict[str, Any]) -> None:
    text = " ".join((ROOT / ratio["document"]).read_text(encoding="utf-8").split())
    assert ratio["quoted"] in text
    assert str(ratio["measured"]) in re.findall(r"[0-9]+(?:[.][0-9]+)?", ratio["quoted"])


def test_names_are_unique() -> None:
    assert len({ratio["name"] for ratio in RATIOS}) == len(RATIOS)


def test_the_floors_are_those_that_the_scripts_print() -> None:
    aims, slices = constant("training.py", "AIMS"), constant("key_slices.py", "TARGETS")
    wanted = {
        "train_resnet18_h200": aims["cuda"]["medtl/bare"],
        "train_resnet50_h200": aims["cuda"]["medtl/bare"],
        "train_zoo_h200": aims["cuda"]["medtl/zoo"],
        "train_resnet18_cpu": aims["cpu"]["medtl/bare"],
        "input_cpu": constant("training.py", "AIM_INPUT"),
        "embed_resnet18_h200": constant("embedding.py", "AIM"),
        **{f"key_slices_{name}": slices[name] for name in ("msd", "chaos", "lidc")},
    }
    floors = {ratio["name"]: ratio["floor"] for ratio in RATIOS}
    assert {name: floors[name] for name in wanted} == wanted
