"""The documents name files, commands and ids that exist. Needs nothing but pytest."""

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("bundles/*/docs/README.md")])
BLOCK = re.compile(r"```\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_repository_paths_in_commands_exist(document: Path) -> None:
    for block in BLOCK.findall(document.read_text(encoding="utf-8")):
        for path in re.findall(r"(?:bundles|medtl|docs|benchmarks)/[\w./-]+\.\w+", block):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_overrides_in_bundle_commands_are_ids(document: Path) -> None:
    """Each --word of a ``monai.bundle run`` line is an id of the configs that it names."""
    known = {"config_file", "nproc_per_node"}
    for line in "\n".join(BLOCK.findall(document.read_text(encoding="utf-8"))).splitlines():
        if "monai.bundle run" not in line:
            continue
        configs = re.findall(r"bundles/[\w/]+\.json", line)
        assert configs, line
        ids = {key for path in configs for key in json.loads((ROOT / path).read_text())}
        assert set(re.findall(r"--([a-z_]+)", line)) - known <= ids, line


def test_dask_takes_the_lines_that_the_documents_show() -> None:
    pytest.importorskip("distributed", reason="needs Dask: pip install 'medtl[dask]'")
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    lines = re.findall(r"^\w+\$ dask (scheduler|worker) (.*)$", text, re.MULTILINE)
    assert {name for name, _ in lines} == {"scheduler", "worker"}
    for name, words in lines:
        command = importlib.import_module(f"distributed.cli.dask_{name}").main
        command.make_context(name, shlex.split(words))  # click ends where an option is unknown


def test_readme_has_the_two_commands_and_ci_runs_the_second() -> None:
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    first = (
        "pip install -e . -c constraints.txt && "
        "python -m monai.bundle run --config_file bundles/cpmid_resnet18/configs/train.json"
    )
    assert blocks[0].strip() == first
    assert blocks[1].strip() == "pip install tox && tox"
    assert (ROOT / ".ci" / "run").read_text().strip().splitlines()[-1] == blocks[1].strip()


def test_every_document_stands_in_the_index_once() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", index, re.MULTILINE) == ["Start", "How-to", "Reference", "Explanation"]
    documents = {path.name for path in (ROOT / "docs").iterdir() if path.suffix in {".md", ".ipynb"}} - {"README.md"}
    assert sorted(re.findall(r"^\| \[[^]]+\]\((\S+)\)", index, re.MULTILINE)) == sorted(documents)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_headings_name_a_heading(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text(encoding="utf-8")):
        text = ((document.parent / target) if target else document).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert anchor in anchors, f"{target}#{anchor}"


def test_versions_agree() -> None:
    version = re.search(r'__version__ = "(.+)"', (ROOT / "medtl" / "version.py").read_text())
    assert version is not None
    assert f"version: {version[1]}" in (ROOT / "CITATION.cff").read_text()


def test_every_dependency_is_pinned_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^+ ]+", pin) for pin in pins)
    assert "torch==2.13.0" in pins


def test_bundles_and_data_sets_are_documented() -> None:
    data = (ROOT / "docs" / "data.md").read_text()
    cards = "".join(path.read_text() for path in (ROOT / "data_prep").glob("*.py"))
    for name in re.findall(r'^    name="(\w+)",$', cards, re.MULTILINE):
        assert f"`{name}`" in data, name
    readme = (ROOT / "README.md").read_text()
    for folder in (ROOT / "bundles").glob("[!_]*"):
        assert f"bundles/{folder.name}" in readme


def test_figures_stand_with_the_sample_preset() -> None:
    """The bundle's document repeats the preset of its config."""
    config = json.loads((ROOT / "bundles/cpmid_resnet18/configs/train.json").read_text())
    document = (ROOT / "bundles/cpmid_resnet18/docs/README.md").read_text()
    for name in ("epochs", "batch_size", "image_size"):
        preset = re.fullmatch(r"\$facade\.preset\(@data, '(\w+)', (\d+), sample=(\d+)\)", config[name])
        assert preset is not None
        assert preset[1] == name
        (row,) = (line for line in document.splitlines() if line.startswith(f"| `--{name}`"))
        assert f"| {preset[2]} | {preset[3]} |" in row
