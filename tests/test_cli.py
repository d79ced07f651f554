"""The medtl command: quick, plain, and one line for a mistake."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bundle_runs import BUNDLE
from typer import Typer
from typer.main import get_command
from typer.testing import CliRunner

from data_prep.msd_tasks import MSD_TASKS
from medtl.__main__ import main
from medtl.cards import dataset_cards
from medtl.cli import app
from medtl.commands.analyse import app as analyse
from medtl.commands.weights import weights

pytestmark = pytest.mark.slow


def medtl(*words: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", "medtl", *words], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_list_as_json_names_data_sets_bundles_and_weights() -> None:
    found = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)
    assert set(found) == {"datasets", "bundles", "networks", "starts", "weights"}
    assert {row["name"] for row in found["datasets"]} == set(dataset_cards())
    assert "cpmid_resnet18" in {row["name"] for row in found["bundles"]}
    (cpmid,) = (row for row in found["datasets"] if row["name"] == "cpmid")
    assert len(cpmid["classes"]) == 20
    assert cpmid["published"]["Nodule"] == 4708


def test_weights_are_looked_up_in_the_stated_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"")
    monkeypatch.setenv("MEDTL_WEIGHTS", str(tmp_path))
    found = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)
    assert found["weights"][0]["name"] == "mine.safetensors"


def test_networks_and_starts_are_listed_and_those_of_libraries_by_a_pattern() -> None:
    found = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)
    assert {"resnet18", "vit_b16", "densenet121"} <= {row["name"] for row in found["networks"]}
    assert {"random", "imagenet", "cpmid", "mini"} <= {row["name"] for row in found["starts"]}
    only = CliRunner().invoke(app, ["list", "--json", "--networks", "*/mobilenet_v2"])
    assert [row["name"] for row in json.loads(only.stdout)["networks"]] == ["torchvision/mobilenet_v2"]
    held = CliRunner().invoke(app, ["list", "--json", "--networks", "convnextv2_atto"])
    assert "timm/convnextv2_atto" in [row["name"] for row in json.loads(held.stdout)["networks"]]


@pytest.mark.parametrize("folder", ["old [red]", "a[", "b[/]"])
def test_brackets_in_a_path_are_listed_as_they_are(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rich takes them for markup: some vanish, and some end in a traceback."""
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "resnet18_imagenet.pt").write_bytes(b"")
    monkeypatch.setenv("MEDTL_WEIGHTS", str(tmp_path / folder))
    monkeypatch.setenv("COLUMNS", "300")
    shown = CliRunner().invoke(app, ["list"], catch_exceptions=False).stdout
    assert str(tmp_path / folder / "resnet18_imagenet.pt") in shown


def test_bundles_that_an_init_would_take_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--init mini`` looks for a bundle's folder and its zip in $MEDTL_WEIGHTS, too."""
    (tmp_path / "medtl_mini_resnet50" / "models").mkdir(parents=True)
    (tmp_path / "medtl_mini_resnet50" / "models" / "model.safetensors").write_bytes(b"")
    (tmp_path / "mini_resnet34.zip").write_bytes(b"")
    monkeypatch.setenv("MEDTL_WEIGHTS", str(tmp_path))
    found = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)
    assert [row["name"] for row in found["weights"][:2]] == ["mini_resnet34.zip", "medtl_mini_resnet50"]


def test_listing_imports_neither_torch_nor_monai() -> None:
    script = "import sys; from medtl.cli import app; app(['list'], standalone_mode=False); print(sorted(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "'torch'" not in printed
    assert "'monai'" not in printed


def test_check_of_a_bundle_and_of_nothing() -> None:
    status, printed = medtl("check", str(BUNDLE))
    assert (status, "no problem found" in printed) == (0, True)
    status, printed = medtl("check", "/nowhere")
    assert (status, printed.count("\n")) == (2, 1)
    assert "/nowhere: no such folder" in printed


GROUPS = pytest.mark.parametrize(
    ("words", "group"),
    [(["--help"], app), (["weights", "--help"], weights), (["analyse", "--help"], analyse)],
    ids=["medtl", "weights", "analyse"],
)
NO_VERBS = {"A", "An", "By", "Of", "Other", "Than", "That", "The", "Their", "What", "Where", "Which"}


def commands_of(group: Typer) -> dict[str, Any]:
    return dict(get_command(group).commands)


@GROUPS
def test_help_shows_whole_summaries(words: list[str], group: Typer) -> None:
    """Click cuts what does not fit, and ends it with dots; a summary is one short sentence that begins with a verb."""
    shown = CliRunner().invoke(app, words, env={"COLUMNS": "80"}).output
    listed = dict(line.split(maxsplit=1) for line in shown.partition("Commands:")[2].splitlines() if line.strip())
    assert set(listed) == set(commands_of(group))
    for command, summary in listed.items():
        assert summary.endswith("."), command
        assert not summary.endswith("..."), command
        assert len(summary) <= 55, command
        assert summary.split()[0] not in NO_VERBS, command


@GROUPS
def test_help_of_every_option_is_a_sentence(words: list[str], group: Typer) -> None:
    for name, command in commands_of(group).items():
        for option in command.params:
            said = getattr(option, "help", None)
            if said is None:
                assert option.name == "context", f"{name} {option.name}"
                continue
            assert said.endswith((".", "…")), f"{name}: {said}"
            assert said[0].isupper(), f"{name}: {said}"
            assert said.split()[0] not in NO_VERBS, f"{name}: {said}"


@pytest.mark.parametrize(
    ("words", "stopped"),
    [
        (["report", "RUNS"], "medtl.report.build.write_report"),
        (["evaluate", "RUN", "--dataset_dir", "DATA"], "medtl.external.evaluate.evaluate_run"),
        (["explain", "RUN", "a.png"], "medtl.explain.build.explain_run"),
        (["probe", "DATA", "--starts", "random", "--out", "OUT"], "medtl.features.probe.probe"),
        (["weights", "get", "imagenet", "--backbone", "resnet18"], "medtl.weights.installing.install"),
        (["check", "bundles/tb"], "medtl.bundles.check.check_bundle"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_ctrl_c_is_one_line_of_every_command(
    words: list[str], stopped: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stopped, stop)
    monkeypatch.setattr(sys, "argv", ["medtl", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130
    assert capsys.readouterr() == ("", "medtl: interrupted\n")


def test_readme_names_every_command() -> None:
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    for command in commands_of(app):
        assert f"`medtl {command}" in readme, command
    for command, group in (("weights", weights), ("analyse", analyse)):
        for part in commands_of(group):
            assert f"`medtl {command} {part}" in readme, part


def test_unknown_command_suggests() -> None:
    status, printed = medtl("chek", "x")
    assert status == 2
    assert "Did you mean 'check'" in printed.strip().splitlines()[-1]


def test_published_counts_are_those_of_the_paper() -> None:
    """Table 1 of the CPMID paper: 20 classes whose rows add up to 528,281."""
    cards = dataset_cards()
    cpmid, chexpert, msd, lidc = (cards[name] for name in ("cpmid", "chexpert", "msd", "lidc"))
    assert len(cpmid.classes) == len(set(cpmid.classes)) == 20
    assert set(cpmid.published) == set(cpmid.classes)
    assert sum(cpmid.published.values()) == 528_281
    assert sum(msd.published.values()) == 4788 + 372 + 2143 + 465 + 216
    assert cpmid.published == {**chexpert.published, **msd.published, **lidc.published}
    assert msd.classes == tuple(task.organ for task in MSD_TASKS.values())
    assert cards["chexpert"].classes == tuple(chexpert.published)


@pytest.mark.parametrize("content", ["[]", "{", "3"])
def test_a_bundle_whose_metadata_is_none_is_listed(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundles" / "odd" / "configs").mkdir(parents=True)
    (tmp_path / "bundles" / "odd" / "configs" / "metadata.json").write_text(content)
    (tmp_path / "bundles" / "odd" / "configs" / "train.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["list", "--json"])
    assert found.exit_code == 0
    (odd,) = (bundle for bundle in json.loads(found.stdout)["bundles"] if bundle["name"] == "odd")
    assert "its metadata.json cannot be read" in odd["description"]
