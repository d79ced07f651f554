"""A data set is one file: the guide's example, put into a folder of $MEDTL_PLUGINS, does what the guide says."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from data_prep import sample
from data_prep.__main__ import app as data_prep
from data_prep.sets import module_of
from medtl import cli
from medtl.cards import dataset_cards
from medtl.errors import UsageError

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "adding_a_data_set.md"


@pytest.fixture
def kneeset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The guide's one file, where the guide says that it may lie."""
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "plugins" / "data_prep" / "kneeset.py"
    path.parent.mkdir(parents=True)
    path.write_text(block, encoding="utf-8")
    monkeypatch.setenv("MEDTL_PLUGINS", str(tmp_path / "plugins"))
    return path


@pytest.mark.usefixtures("kneeset")
def test_the_example_prepares_a_data_set(prep: Callable[..., Any], tmp_path: Path) -> None:
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


@pytest.mark.usefixtures("kneeset")
def test_it_is_listed_and_has_a_sample(
    prep: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "kneeset        KneeSet: healthy/ and worn/" in CliRunner().invoke(data_prep, ["--list"]).stdout
    (row,) = (
        row
        for row in json.loads(CliRunner().invoke(cli.app, ["list", "--json"]).stdout)["datasets"]
        if row["name"] == "kneeset"
    )
    assert (row["classes"], row["published"]) == (["healthy", "worn"], {"healthy": 900, "worn": 600})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sample._cache.cache_clear()
    try:
        ended = prep("kneeset", "--raw", "sample")
        assert (ended.status, ended.listed["sample"], len(ended.entries)) == (0, True, 48)
        assert len(json.loads((sample.prepared("kneeset") / "datalist.json").read_text())["training"]) == 36
    finally:
        sample._cache.cache_clear()


def test_worker_processes_find_it(kneeset: Path, tmp_path: Path) -> None:
    kneeset.write_text(kneeset.read_text(encoding="utf-8").replace("A_PIECE = 256", "A_PIECE = 12"), encoding="utf-8")
    (tmp_path / "raw").mkdir()
    module_of("kneeset").make_sample(tmp_path / "raw")
    words = ["kneeset", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "out"), "--workers", "2"]
    assert CliRunner().invoke(data_prep, words).exit_code == 0
    assert len(list((tmp_path / "out" / ".progress").glob("*.json"))) == 4


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('name="kneeset"', 'name="knees"', r"kneeset\.py: its card's name is 'knees'; expected 'kneeset'"),
        ('    url="https://example.org/kneeset",\n', "", r"kneeset\.py: CARD: missing 1 required .*'url'"),
        ('"CC BY 4.0"', "LICENCE", r"kneeset\.py: licence of CARD must be written out"),
        ("disk_gb=", "disk=", r"kneeset\.py: CARD has no disk; expected of name, title"),
        ("import re\n", "import re re\n", r"kneeset\.py is not Python: invalid syntax"),
    ],
)
def test_a_card_that_cannot_be_read_is_one_line(kneeset: Path, old: str, new: str, reason: str) -> None:
    text = kneeset.read_text(encoding="utf-8")
    assert old in text
    kneeset.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError, match=reason):
        dataset_cards()


def test_a_name_that_is_taken_and_a_file_without_a_command(
    kneeset: Path, prep: Callable[..., Any], tmp_path: Path
) -> None:
    text = kneeset.read_text(encoding="utf-8")
    kneeset.write_text(text.replace("def command(", "def commando("), encoding="utf-8")
    ended = prep("kneeset", "--raw", tmp_path)
    assert ended.status == 2
    assert "kneeset.py has a card and no function command" in ended.err
    kneeset.with_name("tb.py").write_text(text.replace('name="kneeset"', 'name="tb"'), encoding="utf-8")
    ended = prep("tb", "--raw", tmp_path)
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "there is a data set tb already" in ended.err
