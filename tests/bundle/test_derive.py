"""A derived bundle is the sibling that a person would have written, and runs."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from bundle_runs import CPU, PROBABILITIES, ROOT, SMALL, bundle_here, config, draw, rows
from typer.testing import CliRunner

from data_prep.cpmid import CARD as CPMID
from medtl import datalist
from medtl.bundle.derive import derive
from medtl.cli import app
from medtl.datalist import DataList
from medtl.errors import MedtlError, UsageError

BUNDLES = ROOT / "bundles"
SIBLINGS = ("resnet18", "resnet34", "resnet50", "resnet101", "vit_b16")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("old", ["resnet18", "vit_b16"])
@pytest.mark.parametrize("new", SIBLINGS)
def test_siblings_are_reproduced_to_the_byte(old: str, new: str, tmp_path: Path) -> None:
    derive(BUNDLES / f"cpmid_{old}", new, tmp_path / "deep" / f"cpmid_{new}")
    expected = {name: content for name, content in files(BUNDLES / f"cpmid_{new}").items() if "models" not in name}
    assert files(tmp_path / "deep" / f"cpmid_{new}") == expected
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [f"cpmid_{new}"]


def test_a_derived_densenet_is_named_and_cited_as_such(tmp_path: Path) -> None:
    out = tmp_path / "cpmid_densenet121"
    done = CliRunner().invoke(
        app, ["derive", str(BUNDLES / "cpmid_resnet18"), "--backbone", "densenet121", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert "DenseNet-121 with the recipe of cpmid_resnet18" in done.stdout
    text = "".join(content.decode() for content in files(out).values())
    assert not re.search(r"resnet|residual", text, re.IGNORECASE)
    metadata = json.loads((out / "configs/metadata.json").read_text())
    assert metadata["name"] == "cpmid_densenet121"
    assert metadata["description"].startswith("DenseNet-121 pretrained on CPMID")
    assert metadata["references"][-1].endswith("Densely Connected Convolutional Networks, CVPR 2017")
    checked = CliRunner().invoke(app, ["check", str(out)])
    assert checked.exit_code == 0, checked.output


def test_a_derived_bundle_trains_an_epoch_and_predicts(tmp_path: Path) -> None:
    out, data, run = tmp_path / "cpmid_densenet121", tmp_path / "data", tmp_path / "run"
    derive(BUNDLES / "cpmid_resnet50", "densenet121", out)
    pictures = {split: [draw(data, f"{split}{n}.png", n, 0) for n in range(4)] for split in ("training", "validation")}
    datalist.write(DataList("cpmid", CPMID.classes, 1, "none", "", False, **pictures, test=[]), data)
    words = ("--dataset_dir", str(data), "--output_dir", str(run), *SMALL, "--batch_size", "4")
    status, printed = bundle_here("run", "--config_file", config("train", folder=out), *words)
    assert status == 0, printed
    assert json.loads((run / "run.json").read_text())["bundle"]["name"] == "cpmid_densenet121"
    words = ("--input", str(data / "images"), "--weights", str(run / "model.pt"), "--output_dir", str(tmp_path / "o"))
    status, printed = bundle_here(
        "run", "--config_file", config("inference", folder=out), *words, "--image_size", "32", *CPU
    )
    assert status == 0, printed
    assert {*PROBABILITIES} <= set(rows(tmp_path / "o" / "predictions.csv")[0])


def test_wrong_arguments_are_told(tmp_path: Path) -> None:
    source = BUNDLES / "cpmid_resnet18"
    with pytest.raises(UsageError, match=r"--backbone densenet12: .* is not one of .* did you mean densenet121\?"):
        derive(source, "densenet12", tmp_path / "new")
    with pytest.raises(UsageError, match=r"--out .* exists already"):
        derive(source, "densenet121", tmp_path)
    with pytest.raises(UsageError, match=r"is not a bundle: LICENSE is missing"):
        derive(tmp_path, "densenet121", tmp_path / "new")
    for old, new, words in (
        ('"backbone": "resnet18"', '"backbone": "@backbone"', "takes any network already: run it with --backbone"),
        ('"backbone": "resnet18"', '"backbone": "alexnet"', "alexnet is not one of"),
        ('"network_def"', '"other_def"', "names no network"),
        ('"imports": [', '"imports": ]', "is not valid JSON"),
    ):
        shutil.copytree(source, tmp_path / "copy")
        change(tmp_path / "copy", old, new)
        with pytest.raises(MedtlError, match=words):
            derive(tmp_path / "copy", "densenet121", tmp_path / "new")
        shutil.rmtree(tmp_path / "copy")
    assert not (tmp_path / "new").exists()


def change(folder: Path, old: str, new: str) -> None:
    path = folder / "configs" / "train.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_weights_of_the_old_network_stay_behind(tmp_path: Path) -> None:
    source = tmp_path / "cpmid_resnet18"
    shutil.copytree(BUNDLES / "cpmid_resnet18", source)
    (source / "models").mkdir()
    (source / "models" / "model.pt").write_bytes(b"weights")
    (source / "card.json").write_text("{}")
    (source / "docs" / "figure.png").write_bytes(b"\x89PNG\xff")
    derive(source, "resnet34", tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"LICENSE", "configs", "docs"}
    assert (tmp_path / "new/docs/figure.png").read_bytes() == b"\x89PNG\xff"


def test_the_commands_of_the_document_do_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundles").symlink_to(BUNDLES)
    document = (ROOT / "docs" / "adding_a_network.md").read_text()
    blocks = "".join(re.findall(r"```\n(.*?)```", document, re.DOTALL))
    run = [shlex.split(line)[1:] for line in blocks.splitlines() if line.startswith("medtl ")]
    assert [words[0] for words in run] == ["derive", "check"]
    for words in run:
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
