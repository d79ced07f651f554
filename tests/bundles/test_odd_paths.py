"""Paths with commas, hashes, spaces, line breaks and letters beyond ASCII: taken as typed, or told as typed."""

import os
import subprocess
import sys
from pathlib import Path

import fire.parser
import pytest
from monai.bundle import ConfigParser
from PIL import Image
from typer.testing import CliRunner

from medtl.bundles import overrides
from medtl.cli import app
from medtl.errors import UsageError
from medtl.places import paths_of
from medtl.runs.workflow import Workflow

CONFIGS = Path(__file__).parents[2] / "bundles" / "folder" / "configs"
ODD = "ä b,c#d\ne"


def workflow(name: str, typed: str) -> Workflow:
    """As the command line gives it: python-fire reads each value as Python where it can."""
    value = fire.parser.DefaultParseValue(typed)
    return Workflow(CONFIGS.parent, (CONFIGS / "train.json",), {name: value}, command=("run", f"--{name}", typed))


@pytest.mark.parametrize("typed", ["a,b", "run#2", "run #2", "1_2", "(a)", "x#1/y", "$HOME", "@data", "%x"])
def test_what_the_command_line_misreads_is_told_as_typed(typed: str) -> None:
    with pytest.raises(UsageError) as raised:
        overrides.check(workflow("output_dir", typed))
    assert f"--output_dir {typed}: " in str(raised.value)
    assert str(raised.value).endswith(f"./{typed}")
    overrides.check(workflow("output_dir", f"./{typed}"))


@pytest.mark.parametrize("typed", [f"/tmp/{ODD}", f"data/{ODD}", "./my data#1", "my data", "é"])
def test_what_it_reads_rightly_passes(typed: str) -> None:
    overrides.check(workflow("dataset_dir", typed))


def test_a_hash_stays_a_hash_in_a_config() -> None:
    parser = ConfigParser({"output_dir": "/tmp/a#1 b,2", "folder": "@output_dir"})
    parser.parse()
    given = Workflow(Path(), overrides={"output_dir": "/tmp/a#1 b,2"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overrides, "current", lambda: given)
        overrides.keep_paths(parser)
    assert parser.get_parsed_content("output_dir") == "/tmp/a#1 b,2"
    assert parser.get_parsed_content("folder") == "/tmp/a#1 b,2"


def test_commas_of_paths_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a,b", "c", "d,e,f"):
        (tmp_path / name).mkdir()
    assert paths_of("a,b, c,d,e,f,x,y") == [Path(word) for word in ("a,b", "c", "d,e,f", "x", "y")]
    assert paths_of(" ,") == []


@pytest.mark.slow  # a process
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_preparation_and_a_check(tmp_path: Path, locale: str) -> None:
    raw, out = tmp_path / f"raw {ODD}", tmp_path / f"out {ODD}"
    for number in range(8):
        path = raw / f"class {number % 2} {ODD}" / f"{number} {ODD}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").resize((20 + number, 20)).save(path)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    done = subprocess.run(
        [sys.executable, "-m", "data_prep", "folder", "--raw", raw, "--out", out, "--workers", "1"],
        env={**environment, "LC_ALL": locale},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    ended = CliRunner().invoke(app, ["check", str(out)])
    assert "no problem found" in ended.output
