"""run.json: written and read back, also as earlier versions wrote it."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from medtl.errors import MedtlError, UsageError
from medtl.report.collect import collect
from medtl.runs import record
from medtl.runs.earlier import command_line, nested
from medtl.runs.record import Bundle, Data, Preprocessing, RunRecord, Start

EARLIER = Path(__file__).parent / "finished_by_0.1.0"
WHOLE = RunRecord(
    status="finished",
    bundle=Bundle("tb", "0.1.0"),
    command=("run", "--epochs", "1"),
    config_files=("train.json",),
    overrides={"train#augmentation#flip": 0.25},
    config={"train": {"augmentation": {"flip": 0.25}}, "fold": None},
    task="multilabel",
    network={"_target_": "a.b", "backbone": "resnet18", "num_classes": 2, "in_channels": 3, "image_size": 64},
    preprocessing=Preprocessing(64, 1, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), percentiles=(0.5, 99.5)),
    start=Start("mini", "model.safetensors", "ab" * 32, 1.0, 60, "CC BY 4.0", ("mini",), (0.1,), (0.2,)),
    data=Data("tb", "cd" * 32, ("normal", "tuberculosis"), entries={"training": 3}, overlaps=()),
    recipe={"image_size": 64, "fold": None},
    seed=0,
    metrics={"val_auc": 0.5, "val_brier": None},
    resumed=({"at": "now", "from": "epoch_0001.pt"},),
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    WHOLE.write(tmp_path)
    assert record.read(tmp_path) == WHOLE
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["bundle"] == {"name": "tb", "version": "0.1.0"}
    assert content["not for clinical use"] is True


def test_what_the_contract_asks_for_is_there_even_where_it_is_empty(tmp_path: Path) -> None:
    RunRecord("running").write(tmp_path)
    wanted = "bundle command config overrides task network preprocessing start data versions status"
    assert set(wanted.split()) <= json.loads((tmp_path / "run.json").read_text()).keys()
    assert record.read(tmp_path) == RunRecord("running")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not valid JSON"),
        ("[]", "holds no JSON object"),
        ('{"data": []}', r"has data '\[\]'; expected an object"),
        ('{"data": {"classes": "ab"}}', "has classes 'ab'; expected a list"),
        ('{"command": "run"}', "has command 'run'; expected a list"),
    ],
)
def test_what_is_no_record_is_one_line_that_names_the_file(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(MedtlError, match=words) as told:
        record.read(tmp_path)
    assert str(tmp_path / "run.json") in str(told.value)
    assert record.find(tmp_path) is None


def test_a_folder_without_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no run\.json"):
        record.read(tmp_path)


def test_a_record_of_an_earlier_version_says_what_it_knew() -> None:
    found = record.read(EARLIER)
    assert (found.status, found.bundle, found.task) == ("finished", Bundle("tb", "0.1.0"), "classification")
    assert found.config_files == ("train.json",)
    assert found.overrides == {"epochs": 1, "output_dir": "/tmp/old_run", "train#augmentation#flip": 0.25}
    assert found.config["train"]["augmentation"]["flip"] == 0.25
    assert found.network is not None
    assert found.network | {"_target_": ""} == {
        "_target_": "",
        "backbone": "resnet18",
        "num_classes": 2,
        "in_channels": 3,
        "image_size": 64,
        "dropout": 0.0,
    }
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert found.preprocessing == Preprocessing(64, 1, mean, std)
    assert found.data is not None
    assert (found.data.name, found.data.classes) == ("tb", ("normal", "tuberculosis"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda content: content["config"]["validate"].update(packed="$mine()"), (None, "classification")),
        (lambda content: content.update(metrics={}), ("packed", None)),
        (lambda content: content.update(metrics={"val_auc": 0.5, "val_accuracy": 0.5}), ("packed", "multilabel")),
    ],
)
def test_what_an_earlier_record_does_not_say_is_not_guessed(change: Any, expected: tuple, tmp_path: Path) -> None:
    content = json.loads((EARLIER / "run.json").read_text())
    change(content)
    (tmp_path / "run.json").write_text(json.dumps(content))
    found = record.read(tmp_path)
    assert (found.preprocessing and found.preprocessing.by, found.task) == expected


def test_an_earlier_run_is_reported(tmp_path: Path) -> None:
    shutil.copytree(EARLIER, tmp_path / "run")
    rows = ["a.png,p/1,val,0,0.9,0.1", "b.png,p/2,val,1,0.2,0.8"]
    header = "image,patient,split,label,prob_normal,prob_tuberculosis"
    (tmp_path / "run" / "predictions.csv").write_text("\n".join([header, *rows, ""]))
    (tmp_path / "run" / "metrics.json").write_text('{"val_accuracy": 1.0}')
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    content["data"]["entries"] = {"training": 68, "validation": 2, "test": 0}
    (tmp_path / "run" / "run.json").write_text(json.dumps(content))
    (run,) = collect(tmp_path).runs
    assert (run.backbone, run.init, run.seed) == ("resnet18", "random", 0)
    assert run.splits["val"].kind == "classification"


def test_command_lines_are_read_as_monai_reads_them() -> None:
    words = ["run", "--config_file", "['a/b.json', 'a/c.json']", "--x-y=1", "--z", "-0.5", "--a::b", "x", "--compile"]
    files, overrides = command_line(words)
    assert files == ["a/b.json", "a/c.json"]
    assert overrides == {"x_y": 1, "z": -0.5, "a#b": "x", "compile": True}
    assert command_line([]) == ([], {})


def test_overrides_within_a_config_find_their_places() -> None:
    config = {"a": {"b": [{"c": 1}]}, "a#b#0#c": "2", "a::d": "$x", "q#r": "None", "a#b#7#c": "1"}
    assert nested(config) == {"a": {"b": [{"c": 2}], "d": "$x"}, "q": {"r": None}}


def test_a_record_cannot_be_changed_by_mistake() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        WHOLE.status = "failed"  # type: ignore[misc]
