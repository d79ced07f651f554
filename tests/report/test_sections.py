"""Parts of a report that are asked for, or that come with other runs: groups, facts, external validation, probes."""

import json
from pathlib import Path

import numpy as np
import pytest
from report_grids import LONG, THREE, TWO, guesses, record, truth, write_grid, write_rows, write_run
from sklearn.metrics import roc_auc_score

from medtl.errors import MedtlError, UsageError
from medtl.files import file_hash
from medtl.metrics import calibration, conformal, delong
from medtl.metrics.temperature import fit_temperature, with_temperature
from medtl.report.build import write_report
from medtl.report.facts import AUTHOR, PARTS

pytestmark = pytest.mark.slow

SPLITS = {"val": truth(TWO, 60, "val"), "test": truth(TWO, 150, "test")}


def change(folder: Path, **values: object) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def lines_of(text: str, caption: str) -> list[list[str]]:
    """The rows of the first table whose caption holds some words, as cells."""
    table = text.split(caption)[1].split("\n\n")[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def markdown(folder: Path) -> str:
    return (folder / "report.md").read_text(encoding="utf-8").replace("\\", "")


@pytest.fixture
def grouped(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A run on a data list that says who is who: a third of the patients are men, five are from site B."""
    listed = tmp_path / "list"
    listed.mkdir()
    entries = []
    for number, (image, patient, label) in enumerate(SPLITS["test"]):
        who = int(patient.removeprefix("made/test"))
        group = {"sex": "M" if who % 3 == 0 else "F", "age": 30 + who % 50, "site": "B" if who < 5 else "A"}
        own = {"image": image, "label": label, "patient": patient, "source": "made", "sha256": f"{number:064x}"}
        entries.append({**own, "group": group})
    content = {"name": "made", "classes": list(TWO), "training": [], "validation": [], "test": entries}
    (listed / "datalist.json").write_text(json.dumps(content))
    data = {"sha256": file_hash(listed / "datalist.json"), "entries": {}}
    known = {"task": "classification", "overrides": {"dataset_dir": str(listed)}}
    found = write_run(tmp_path / "runs" / "run", TWO, SPLITS, data=data, **known)
    return tmp_path, found["test"], np.array([entry["group"]["sex"] == "M" for entry in entries])


def test_groups_have_their_own_figures_and_small_ones_none(grouped: tuple) -> None:
    folder, chances, men = grouped
    write_report(folder / "runs", groups="sex,age:40:60,site")
    text = markdown(folder / "runs")
    labels = np.array([label for *_, label in SPLITS["test"]])
    patients = np.array([patient for _, patient, _ in SPLITS["test"]])
    header, _, _, row = lines_of(text, "**AUC by sex on the test split.**")
    assert header[2].startswith("F (")
    assert header[3] == f"M ({len(set(patients[men]))} patients)"
    for cell, own in zip(row[2:], (~men, men), strict=True):
        wanted = roc_auc_score(labels[own], chances[own, 1])
        area = delong.auc_interval(labels[own] == 1, chances[own, 1], patients[own])
        assert cell == f"{wanted:.3f} ({area.low:.3f}–{area.high:.3f})"
    header, _, _, row = lines_of(text, "**Sensitivity by site on the test split.**")
    assert header[3] == "B (fewer than 20 patients)"
    assert row[3] == "– (too few to say)"
    assert lines_of(text, "**AUC by age on the test split.**")[0][2].startswith("under 40 (")


def several_classes(folder: Path, fold: int | None = None, **splits: list[tuple[str, str, int]]) -> np.ndarray:
    """A run on images of which some are listed under both classes; its probabilities of the last split."""
    entries = {LONG[split]: len(rows) for split, rows in splits.items()}
    return write_run(folder, TWO, splits, fold=fold, data={"entries": entries, "sha256": "", "overlaps": []})[
        list(splits)[-1]
    ]


def test_an_image_of_several_classes_is_in_its_group(tmp_path: Path) -> None:
    """As CPMID lists a radiograph under each of its findings. Patient n is a man where n is even, and every third
    image has two entries."""
    rows = [(f"i{n}.png", f"p{n}", label) for n in range(60) for label in ([0, 1] if n % 3 == 0 else [n % 2])]
    chances = several_classes(tmp_path / "runs" / "run", test=rows)
    entries = []
    for image, patient, label in rows:
        own = {"image": image, "label": label, "patient": patient, "source": "made", "sha256": image.ljust(64, "0")}
        entries.append({**own, "group": {"sex": "FM"[int(patient[1:]) % 2 == 0]}})
    content = {"name": "made", "classes": list(TWO), "training": [], "validation": [], "test": entries}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    record = json.loads((tmp_path / "runs" / "run" / "run.json").read_text())
    record["data"]["sha256"] = file_hash(tmp_path / "datalist.json")
    change(tmp_path / "runs" / "run", data=record["data"])
    write_report(tmp_path / "runs", groups="sex", dataset_dir=tmp_path)
    text = markdown(tmp_path / "runs")
    header, _, _, line = lines_of(text, "**AUC by sex on the test split")
    assert header[2:] == ["F (30 patients)", "M (30 patients)"]
    labels, men = np.array([label for *_, label in rows]), np.array([int(who[1:]) % 2 == 0 for _, who, _ in rows])
    for cell, own in zip(line[2:], (~men, men), strict=True):
        assert cell.startswith(f"{roc_auc_score(labels[own], chances[own, 1]):.3f} (")
    assert "60 images of 60 patients" in text


def test_an_image_of_several_classes_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    validated = [("a.png", "p1", 0), ("a.png", "p1", 1), *((f"v{n}.png", f"v{n}", n % 2) for n in range(8))]
    several_classes(tmp_path / "run", val=validated, test=[("a.png", "p9", 0), *SPLITS["test"][:20]])
    write_report(tmp_path)
    assert "1 image in more than one split of run, such as a.png." in markdown(tmp_path)


def test_folds_that_share_an_image_of_several_classes_are_refused(tmp_path: Path) -> None:
    rows = [(f"i{n}.png", f"p{n}", n % 2) for n in range(16)]
    several_classes(tmp_path / "first", fold=0, val=[("a.png", "a", 0), ("a.png", "a", 1), *rows[:8]])
    several_classes(tmp_path / "second", fold=1, val=[("a.png", "a", 0), *rows[8:]])
    with pytest.raises(MedtlError, match=r"a.png is validated by first and second"):
        write_report(tmp_path)


def test_groups_of_another_list_or_of_nothing_are_refused(grouped: tuple, tmp_path: Path) -> None:
    folder = grouped[0] / "runs"
    with pytest.raises(UsageError, match="age, sex, site of its images"):
        write_report(folder, groups="scanner")
    other = tmp_path / "other"
    other.mkdir()
    (other / "datalist.json").write_text("{}")
    with pytest.raises(UsageError, match="not the data list of the runs"):
        write_report(folder, groups="sex", dataset_dir=other)
    change(folder / "run", overrides={"dataset_dir": "/nowhere"})
    with pytest.raises(UsageError, match="--dataset_dir DIR must name"):
        write_report(folder, groups="sex")
    write_report(folder, groups="sex", dataset_dir=grouped[0] / "list")


def complete(folder: Path, seed: int) -> None:
    """A run that records all that can be."""
    write_run(folder, TWO, SPLITS, seed=seed, init="cpmid")
    made = json.loads((folder / "run.json").read_text())
    change(
        folder,
        task="classification",
        config={},
        overrides={},
        network={"_target_": "build_classifier", "backbone": "resnet18", "num_classes": 2},
        preprocessing={"image_size": 224, "channels": 1, "mean": [0.4], "std": [0.2]},
        start={**made["start"], "trained_on": ["elsewhere"]},
        data={**made["data"], "overlaps": []},
        threshold={"positive": 1, "positive_class": TWO[1], "rule": "youden", "value": 0.4},
    )


def authors(folder: Path) -> set[str]:
    write_report(folder, facts=True)
    rows = lines_of(markdown(folder), "**Facts for a methods section.**")
    return {row[0] for row in rows if len(row) > 1 and row[1] == AUTHOR}


def without(content: dict, key: str) -> dict:
    head, _, rest = key.partition(".")
    return {k: without(v, rest) if k == head else v for k, v in content.items() if k != head or rest}


# what a run needs to be counted at all, and the seed, cannot be taken away
NEEDED = ("data.name", "data.sha256", "data.classes", "seed")


def test_a_fact_that_one_run_lacks_is_the_authors(tmp_path: Path) -> None:
    for seed in (0, 1):
        complete(tmp_path / f"run{seed}", seed)
    items = [item for part in PARTS.values() for item in part]
    before = authors(tmp_path)
    assert not before & {item.asked for item in items}
    text = markdown(tmp_path)
    assert "| random seeds | 0; 1 | run.json, seed |" in text
    assert (
        "| origin of the decision threshold | 0.400 for tuberculosis, by youden on validation | run.json, threshold |"
        in text
    )
    assert "by patient: no patient and no file is in more than one split or fold | run.json, data.overlaps |" in text
    whole = json.loads((tmp_path / "run1" / "run.json").read_text())
    for key in sorted({item.key for item in items} - set(NEEDED)):
        (tmp_path / "run1" / "run.json").write_text(json.dumps(without(whole, key)))
        moved = authors(tmp_path) - before
        assert moved == {item.asked for item in items if f"{item.key}.".startswith(f"{key}.")}, key


def test_temperatures_and_sets_are_fixed_on_validation(tmp_path: Path) -> None:
    found = write_run(tmp_path / "run", THREE, {"val": truth(THREE, 60, "val"), "test": truth(THREE, 90, "test")})
    labels = {
        split: np.array([label for *_, label in truth(THREE, n, split)]) for split, n in (("val", 60), ("test", 90))
    }
    people = {split: [who for _, who, _ in truth(THREE, n, split)] for split, n in (("val", 60), ("test", 90))}
    write_report(tmp_path)
    text = markdown(tmp_path)
    temperature = fit_temperature(labels["val"], found["val"])
    after = calibration.scores(labels["test"], with_temperature(found["test"], temperature))
    *_, row = lines_of(text, "**Calibration of the probabilities.**")
    assert row[4] == f"{temperature:.2f}"
    assert [cell.split()[0] for cell in row[5:]] == [f"{after[name]:.3f}" for name in ("ece", "brier", "nll")]
    quantile = conformal.fit_quantile(labels["val"], found["val"], people["val"])
    right, sizes = conformal.covered(labels["test"], found["test"], quantile)
    whose = np.unique(people["test"], return_inverse=True)[1]
    *_, row = lines_of(text, "**Sets of classes that are to hold the true one 90% of the time.**")
    assert row[1].startswith(f"{(np.bincount(whose, right) / np.bincount(whose)).mean():.3f} (")
    assert row[2] == f"{(np.bincount(whose, sizes) / np.bincount(whose)).mean():.2f}"


def test_external_validation_stands_beside_the_runs_own_test_split(tmp_path: Path) -> None:
    rows = truth(TWO, 80, "elsewhere")
    for init in ("random", "cpmid"):
        run = tmp_path / init
        write_run(run, TWO, SPLITS, init=init)
        place = run / "external" / "there_test"
        place.mkdir(parents=True)
        chances = guesses(rows, 2, 0.9, (7, len(init)))
        table = [[i, p, "test", label, *row] for (i, p, label), row in zip(rows, chances, strict=True)]
        write_rows(
            place / "predictions.csv", ["image", "patient", "split", "label", *(f"prob_{c}" for c in TWO)], table
        )
        made = record("there", TWO, {"test": 80}, init=init)
        about = {
            "run_predictions_sha256": file_hash(run / "predictions.csv"),
            "leaks": {"compared_with": 300, "alike": []} if init == "cpmid" else {"not_compared": "gone"},
            "alpha": 0.1,
            "quantile": 0.6,
        }
        (place / "run.json").write_text(json.dumps({**made, "external": about, "evaluated_split": "test"}))
        accuracy = float((chances.argmax(axis=1) == [label for *_, label in rows]).mean())
        (place / "metrics.json").write_text(json.dumps({"test_accuracy": accuracy}))
    write_report(tmp_path)
    text = markdown(tmp_path)
    people = len({patient for _, patient, _ in rows})
    lines = lines_of(text, f"**Own test split and there, test split (80 images of {people} patients).**")
    assert lines[0][1:3] == ["AUC, own", "AUC, external"]
    truths = np.array([label for *_, label in rows])
    for line in lines[3:]:
        chances = guesses(rows, 2, 0.9, (7, len(line[0])))
        assert line[2].startswith(f"{roc_auc_score(truths, chances[:, 1]):.3f} (")
        right, _ = conformal.covered(truths, chances, 0.6)
        whose = np.unique([patient for _, patient, _ in rows], return_inverse=True)[1]
        assert line[-1].startswith(f"{(np.bincount(whose, right) / np.bincount(whose)).mean():.3f} (")
    assert "random/external/there_test: not compared with what the run was fitted on." in text
    assert "no patient, file or picture of the 300 that the run was fitted on." in text
    assert "2 runs." in text.split("## Results")[0], "validations are no runs of their own"
    (tmp_path / "cpmid" / "predictions.csv").unlink()
    write_report(tmp_path)
    assert "| cpmid/external/there_test | resnet18 | cpmid | 0 | – | validates a run that is not here |" in markdown(
        tmp_path
    )
    alone = tmp_path / "cpmid" / "external" / "there_test"
    write_report(alone)
    assert "medtl evaluate RUN --dataset_dir DATASET_DIR --split test" in markdown(alone)


def test_a_probes_times_are_columns_of_the_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", TWO, SPLITS, times={"embed_s": 12.34, "head_s": 0.056})
    write_run(tmp_path / "b", TWO, SPLITS, init="cpmid")
    write_report(tmp_path)
    header, _, *lines = lines_of(markdown(tmp_path), "**Runs.**")
    assert header[-2:] == ["embed", "head"]
    assert [line[-2:] for line in lines] == [["12.3 s", "0.056 s"], ["–", "–"]]


def test_many_starts_have_a_line_each_and_few_are_drawn(tmp_path: Path) -> None:
    inits = ("random", *(f"start{n:02d}" for n in range(11)))
    write_grid(tmp_path, THREE, ("resnet18",), inits, (0,), {"test": 60})
    write_report(tmp_path)
    text = markdown(tmp_path)
    header, _, group, *lines = lines_of(text, "**Results on the test split")
    assert header[1:3] == ["AUC", "Accuracy"]
    assert (group[0], len(lines)) == ("**resnet18**", 12 + 2)
    assert lines[-1][0].startswith("majority class")
    assert text.count("**resnet18, ") == 7, "confusion matrices"
    assert "**resnet18, random**" in text
    assert "the 7 highest starts of each row, the baseline among them" in text
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    shown = [float(bar.split("</span>")[0].split()[0]) for bar in page.split('<span class="shown">')[1:-1]]
    assert len(shown) == 12
    assert shown == sorted(shown, reverse=True)


def test_the_positive_class_of_the_data_list_is_the_reports(tmp_path: Path) -> None:
    write_run(tmp_path / "run", TWO, SPLITS, data={"positive": TWO[0]})
    write_report(tmp_path)
    assert f"AUC (positive class: {TWO[0]})" in markdown(tmp_path)
    assert f"Positive class: {TWO[0]} (as the runs name it)" in markdown(tmp_path)
