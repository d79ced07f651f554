"""The script of docs/python.md and the code of the two notebooks run as they stand there, for fewer epochs."""

import json
import re
from pathlib import Path

import pytest
from bundle_runs import ROOT

from data_prep import sample

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))


def code_of(notebook: Path) -> list[str]:
    """The sources of a notebook's code cells."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def quicker(code: str) -> str:
    """One epoch and two seeds."""
    code = re.sub(r"^epochs = \d+$", "epochs = 1", code, flags=re.MULTILINE)
    return re.sub(r"^seeds = .*$", "seeds = (0, 1)", code, flags=re.MULTILINE).replace("epochs=5", "epochs=1")


def test_notebooks_are_small_and_hold_no_outputs() -> None:
    assert [path.name for path in NOTEBOOKS] == ["pretrain_release_finetune.ipynb", "which_start.ipynb"]
    for path in NOTEBOOKS:
        content = json.loads(path.read_text(encoding="utf-8"))
        assert path.stat().st_size < 10_000
        assert (content["nbformat"], content["metadata"]["language_info"]["name"]) == (4, "python")
        for cell in content["cells"]:
            assert cell.get("outputs", []) == []
            assert cell.get("execution_count") is None


def test_the_script_of_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (script, _) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len([line for line in script.splitlines() if line]) == 7
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "breastmnist").symlink_to(sample.prepared("breastmnist"))
    exec(compile(quicker(script), "docs/python.md", "exec"), {})
    assert "imagenet" in (tmp_path / "runs" / "report.md").read_text()
    assert (tmp_path / "runs" / "imagenet" / "predictions.csv").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_code_of_a_notebook_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    names: dict[str, object] = {}
    for number, code in enumerate(code_of(notebook)):
        exec(compile(quicker(code), f"{notebook.name} cell {number}", "exec"), names)
    (report,) = tmp_path.glob("runs/*/report.md")
    start = "imagenet" if notebook.stem == "which_start" else "mine_resnet18"
    assert start in report.read_text()
