"""medtl from Python: the same runs as from the command line, and mistakes as exceptions."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bundle_runs import ROOT, bundle_here, config
from fine_tune_lists import CLASSES, some_list
from torch import nn

import medtl
from medtl import datalist
from medtl.api.model import SAMPLE_SIZE, USUAL_SIZE
from medtl.api.origin import origin_of
from medtl.networks.classifier import build_classifier

pytestmark = pytest.mark.slow

FOLDER = ROOT / "bundles" / "folder"
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 6, "num_workers": 0, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def place(module_path: Path) -> Path:
    return some_list(module_path / "data", CLASSES["tb"], folds=3)


@pytest.fixture(scope="module")
def data(place: Path) -> datalist.DataList:
    return medtl.load_data(place, fold=1)


@pytest.fixture(scope="module")
def weights(module_path: Path) -> Path:
    """A start: the weights of another task's network."""
    torch.manual_seed(7)
    path = module_path / "start.pt"
    torch.save(build_classifier("resnet18", 5).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def run(data: datalist.DataList, weights: Path, module_path: Path) -> medtl.Run:
    model = medtl.build("resnet18", data, init=weights, image_size=32, seed=3)
    return medtl.fit(model, data, out=module_path / "runs" / "a", **QUICK)


def command(place: Path, out: Path, **ids: Any) -> None:
    """The same by ``python -m monai.bundle run``."""
    given = {"dataset_dir": place, "output_dir": out, "image_size": 32, **QUICK, **ids}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    status, printed = bundle_here("run", "--config_file", config("train", folder=FOLDER), *words)
    assert status == 0, printed


def equal(one: Path, other: Path) -> bool:
    """Whether two model.pt hold the same numbers."""
    these, those = (torch.load(path / "model.pt", weights_only=True) for path in (one, other))
    return these.keys() == those.keys() and all(torch.equal(these[name], those[name]) for name in these)


def test_the_data_list_remembers_fold_and_fraction(place: Path) -> None:
    listed = medtl.load_data(place, fold=1, train_fraction=0.5, seed=4)
    assert (listed.fold, listed.train_fraction, listed.drawn_with) == (1, 0.5, 4)
    assert {entry["fold"] for entry in listed.validation} == {1}
    assert 0 < len(listed.training) < 8
    whole = medtl.load_data(str(place / "datalist.json"))
    assert (whole.fold, whole.train_fraction) == (None, 1.0)
    with pytest.raises(medtl.UsageError, match="fold 9"):
        medtl.load_data(place, fold=9)


def test_a_run_from_python_is_the_commands_to_the_last_bit(
    run: medtl.Run, place: Path, weights: Path, tmp_path: Path
) -> None:
    command(place, tmp_path / "line", init=weights, seed=3, fold=1)
    for name in ("predictions.csv", "metrics.json"):
        assert (run.folder / name).read_bytes() == (tmp_path / "line" / name).read_bytes(), name
    assert equal(run.folder, tmp_path / "line")
    line = medtl.Run(tmp_path / "line").record
    for known in ("bundle", "task", "network", "preprocessing", "start", "data", "recipe", "config_files"):
        assert getattr(run.record, known) == getattr(line, known), known


def test_another_seed_makes_the_same_model_again(
    run: medtl.Run, data: datalist.DataList, place: Path, tmp_path: Path
) -> None:
    model = medtl.build("resnet18", data, image_size=32)
    other = medtl.fit(model, data, seed=5, out=tmp_path / "python", **QUICK)
    command(place, tmp_path / "line", seed=5, fold=1)
    assert (other.record.seed, other.record.recipe["init"]) == (5, "random")
    assert equal(other.folder, tmp_path / "line")


def test_a_changed_model_is_trained_as_it_is(data: datalist.DataList, tmp_path: Path) -> None:
    model = medtl.build("resnet18", data, image_size=32)
    with torch.no_grad():
        model.get_parameter("fc.bias").copy_(torch.tensor([9.0, -9.0]))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run = medtl.fit(model, data, out=tmp_path / "a", learning_rate=1e-9, **QUICK)
    assert run.predictions("test")["prob_normal"].min() > 0.99
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    record = run.record
    assert record.start is not None
    assert (record.start.init, record.recipe["init"], record.start.coverage) == ("given", "given", 1.0)
    assert len(record.start.sha256) == 64
    assert record.network == {**origin_of(model, "").literal, "image_size": 32}
    assert record.overrides["network_def"] == "<ResNet>"
    assert run.network().get_parameter("fc.bias")[0].item() == pytest.approx(9, abs=1e-3)


def test_weights_loaded_into_a_changed_model_bring_their_normalisation(
    data: datalist.DataList, weights: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs.pt"
    theirs.write_bytes(weights.read_bytes())
    half = [0.5, 0.5, 0.5]
    (tmp_path / "theirs.card.json").write_text(
        json.dumps({"input": {"mean": half, "std": half}, "licence": "CC0", "data": {"name": "elsewhere"}})
    )
    model = medtl.build("resnet18", data, image_size=32)
    with torch.no_grad():
        model.get_parameter("fc.bias").copy_(torch.tensor([9.0, -9.0]))
    medtl.load_weights(model, theirs)
    record = medtl.fit(model, data, out=tmp_path / "a", **QUICK).record
    assert record.start is not None
    assert (record.start.init, record.start.licence, record.start.trained_on) == ("given", "CC0", ("elsewhere",))
    assert record.preprocessing is not None
    assert (record.preprocessing.mean, record.preprocessing.std) == ((0.5,) * 3, (0.5,) * 3)


def test_what_a_changed_model_cannot_have_is_refused(data: datalist.DataList, tmp_path: Path) -> None:
    model = medtl.build("resnet18", data, image_size=32)
    model.get_parameter("conv1.weight").requires_grad_(False)
    with pytest.raises(medtl.UsageError, match="freeze='trunk'"):
        medtl.fit(model, data, out=tmp_path / "a")
    with pytest.raises(medtl.UsageError, match=r"dropout 0\.5 needs a model that is made again"):
        medtl.fit(model, data, out=tmp_path / "a", dropout=0.5)


def test_the_model_has_the_weights_that_its_run_begins_with(data: datalist.DataList, tmp_path: Path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    model = medtl.build("resnet18", data, image_size=32, seed=2)
    assert torch.equal(torch.rand(3), expected)  # the session's own random numbers go on as they were
    run = medtl.fit(model, data, out=tmp_path / "a", learning_rate=1e-12, weight_decay=0, **QUICK)
    trained = run.network().state_dict()
    for name, tensor in model.named_parameters():
        assert torch.allclose(trained[name], tensor, atol=1e-7), name


def test_metrics_and_predictions_are_those_of_the_files(run: medtl.Run) -> None:
    written = json.loads((run.folder / "metrics.json").read_text())
    plain, wide = run.metrics("test"), run.metrics("test", intervals=True)
    assert wide == {name[5:]: value for name, value in written.items() if name.startswith("test_")}
    assert set(wide) - set(plain) >= {"brier_lo", "brier_hi"}
    assert plain == {name: wide[name] for name in plain}
    assert {"auc", "accuracy", "brier"} <= set(plain)
    assert run.metrics("validation")["accuracy"] == written["val_accuracy"]
    table = run.predictions()
    with open(run.folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(table["image"]) == [row["image"] for row in rows]
    assert list(table["prob_tuberculosis"]) == [float(row["prob_tuberculosis"]) for row in rows]
    assert table["label"].dtype.kind == "i"
    assert set(run.predictions("test")["split"]) == {"test"}
    assert (run.predictions("test")["label"] == run.predictions("test")["prob_tuberculosis"].gt(0.5)).mean() == (
        pytest.approx(plain["accuracy"])
    )


def test_what_a_run_does_not_hold_is_said(run: medtl.Run, tmp_path: Path) -> None:
    assert repr(run) == f"<Run {run.folder}: resnet18 from start.pt, finished>"
    with pytest.raises(medtl.UsageError, match="split 'tset' is not one of train, val, test"):
        run.metrics("tset")
    with pytest.raises(medtl.UsageError, match=r"metrics\.json has no metrics of the train split"):
        run.metrics("train")
    with pytest.raises(medtl.UsageError, match=r"holds no run\.json"):
        medtl.Run(tmp_path)


def test_an_evaluation_finds_what_the_run_found(run: medtl.Run, data: datalist.DataList, tmp_path: Path) -> None:
    again = medtl.evaluate(run)
    assert again.folder.parent == run.folder / "evaluations"
    assert again.metrics("test") == pytest.approx(run.metrics("test"))
    val = medtl.evaluate(str(run.folder), data, "val", out=tmp_path / "val")
    assert val.metrics("val")["auc"] == pytest.approx(run.metrics("val")["auc"])
    assert list(val.predictions()["image"]) == [entry["image"] for entry in data.validation]
    other = medtl.load_data(some_list(tmp_path / "other", CLASSES["breastmnist"]))
    with pytest.raises(medtl.UsageError, match="has 2 classes"):
        medtl.evaluate(run, other, out=tmp_path / "no")


def test_what_is_evaluated_on_is_the_list_that_is_given(run: medtl.Run, place: Path, tmp_path: Path) -> None:
    """Not what its file holds besides: neither without a word where some was taken away, nor all of a drawn share."""
    data = medtl.load_data(place, fold=1, train_fraction=0.5, seed=3)
    assert 0 < len(data.training) < len(medtl.load_data(place, fold=1).training)
    model = medtl.build("resnet18", data, image_size=32, seed=3)
    own = medtl.fit(model, data, out=tmp_path / "share", **QUICK)
    for found in (medtl.evaluate(own, split="train"), medtl.evaluate(run, data, "train", out=tmp_path / "given")):
        assert list(found.predictions()["image"]) == [entry["image"] for entry in data.training]
    with pytest.raises(medtl.UsageError, match=r"medtl\.evaluate: the data list is not what .*datalist\.json holds"):
        medtl.evaluate(run, dataclasses.replace(data, test=data.test[:2]), out=tmp_path / "few")


def test_report_writes_what_the_command_writes(run: medtl.Run) -> None:
    paths = medtl.report(run.folder.parent)
    assert [path.name for path in paths] == ["report.html", "report.md", "report.csv"]
    assert f"{run.metrics()['auc']:.6f}" in paths[2].read_text()


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("init imagnet: no such file .* did you mean imagenet", {"name": "resnet18", "init": "imagnet"}),
        ("did you mean resnet18", {"name": "resnet81"}),
        ("image_size 30: vit_b16 needs", {"name": "vit_b16", "image_size": 30}),
        ("one of the two", {"name": "resnet18", "num_classes": None}),
        ("needs classes", {"name": "resnet18", "num_classes": 0}),
    ],
)
def test_a_network_that_cannot_be_built(words: str, given: dict[str, Any]) -> None:
    with pytest.raises(medtl.MedtlError, match=words):
        medtl.build(**{"num_classes": 2, **given})


def test_built_without_data(weights: Path) -> None:
    network = medtl.build("resnet18", num_classes=4, in_channels=1, image_size=64)
    assert network(torch.zeros(2, 1, 64, 64)).shape == (2, 4)
    assert origin_of(medtl.build("resnet18", num_classes=3), "").image_size == USUAL_SIZE == 224
    started = medtl.build("resnet18", num_classes=3, init=weights)
    assert torch.equal(started.state_dict()["conv1.weight"], torch.load(weights, weights_only=True)["conv1.weight"])


def test_sizes_are_those_of_the_recipe(tmp_path: Path) -> None:
    recipe = json.loads((FOLDER / "configs" / "train.json").read_text())["image_size"]
    assert recipe == f"$facade.preset(@data, 'image_size', {USUAL_SIZE}, sample={SAMPLE_SIZE})"
    listed = medtl.load_data(some_list(tmp_path, CLASSES["tb"]))
    assert origin_of(medtl.build("resnet18", listed), "").image_size == USUAL_SIZE
    assert origin_of(medtl.build("resnet18", dataclasses.replace(listed, sample=True)), "").image_size == SAMPLE_SIZE


def test_weights_are_loaded_with_a_report_or_refused(
    data: datalist.DataList, weights: Path, run: medtl.Run, tmp_path: Path
) -> None:
    network = medtl.build("resnet18", data, image_size=32, seed=3)
    report = medtl.load_weights(network, weights)
    assert report.coverage == report.used == 1
    assert "100.0 % of the trunk's parameters loaded" in str(report)
    again = medtl.fit(network, data, out=tmp_path / "a", **QUICK)  # as if it were built with that start
    assert equal(again.folder, run.folder)
    torch.save(build_classifier("resnet34", 3).state_dict(), tmp_path / "r34.pt")
    before = network.state_dict()["conv1.weight"].clone()
    with pytest.raises(medtl.MedtlError, match=r"r34\.pt does not fit resnet18: .*it fits resnet34"):
        medtl.load_weights(network, tmp_path / "r34.pt")
    assert torch.equal(network.state_dict()["conv1.weight"], before)
    with pytest.raises(medtl.UsageError, match=r"expected a network that medtl\.build made, not Linear"):
        medtl.load_weights(nn.Linear(1, 1), weights)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (r"--lrr 0\.5: train\.json has no id of that name; did you mean --learning_rate", {"lrr": 0.5}),
        ("--epochs 0: expected a whole number of at least 1", {"epochs": 0}),
        ("init mini is said by the model", {"init": "mini"}),
        ("fold 2 is said by the data list", {"fold": 2}),
    ],
)
def test_a_mistake_is_an_exception_and_leaves_no_folder(
    words: str, given: dict[str, Any], data: datalist.DataList, tmp_path: Path
) -> None:
    model = medtl.build("resnet18", data, image_size=32)
    with pytest.raises(medtl.MedtlError, match=words):
        medtl.fit(model, data, out=tmp_path / "a", **{**QUICK, **given})
    assert not (tmp_path / "a").exists()


def test_model_and_data_must_go_together(data: datalist.DataList, place: Path, run: medtl.Run, tmp_path: Path) -> None:
    cases = [
        ("built for 3 classes; the data list has normal, tuberculosis", medtl.build("resnet18", num_classes=3), data),
        ("takes 1 channel", medtl.build("resnet18", num_classes=2, in_channels=1), data),
        ("expected a network that medtl.build made", nn.Linear(2, 2), data),
        (
            "is not what .*datalist.json holds",
            medtl.build("resnet18", data),
            dataclasses.replace(data, training=data.training[:3]),
        ),
        (
            r"seed 0, but the data list's share of the patients was drawn with seed 4",
            medtl.build("resnet18", data),
            medtl.load_data(place, fold=1, train_fraction=0.5, seed=4),
        ),
    ]
    for words, model, listed in cases:
        with pytest.raises(medtl.UsageError, match=words):
            medtl.fit(model, listed, out=tmp_path / "a")
    with pytest.raises(medtl.UsageError, match="holds another run"):
        medtl.fit(medtl.build("resnet18", data, image_size=32), data, out=run.folder, **QUICK)


def test_fit_works_from_any_working_directory(
    data: datalist.DataList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = medtl.fit(medtl.build("resnet18", data, image_size=32), data, **QUICK)
    assert run.folder.parent == Path("runs/folder")
    assert run.metrics("test")["accuracy"] is not None
