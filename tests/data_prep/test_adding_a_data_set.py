"""The guide's example does what the guide says."""

import importlib.util
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.__main__ import app

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "adding_a_data_set.md"


def test_the_example_prepares_a_data_set(
    prep: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "kneeset.py").write_text(block, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("kneeset", tmp_path / "kneeset.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kneeset", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
    app.command(module.CARD.name)(module.command)
    rng = np.random.default_rng(0)
    for number, name in enumerate(10 * ("healthy", "worn")):
        for side in ("left", "right"):
            path = tmp_path / "raw" / name / f"{number}_{side}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(path)
    shutil.copy(path, path.with_name("odd.png"))
    ended = prep("kneeset", "--raw", tmp_path / "raw")
    assert ended.status == 3
    assert ended.rejected == [("worn/odd.png", "its name is not SUBJECT_SIDE.png")]
    assert len(ended.entries) == 40
    assert len({entry["patient"] for entry in ended.entries}) == 20
    before = (ended.folder / "datalist.json").read_bytes()
    assert prep("kneeset", "--raw", tmp_path / "raw").status == 3
    assert (ended.folder / "datalist.json").read_bytes() == before
