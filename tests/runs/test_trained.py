"""What lies beside weights says how they were trained: the card of a bundle as much as the run.json of a run."""

from pathlib import Path

import pytest
import torch
from bundle_runs import draw
from released_bundles import START, change_record, made_run, small_list

from medtl import datalist
from medtl.bundles import cohorts, segmentations
from medtl.bundles.release import release
from medtl.datalist import DataList
from medtl.runs.trained import Trained, beside
from medtl.weights.starts import resolve


@pytest.mark.slow
def test_a_card_tells_the_positive_class_of_its_run(tmp_path: Path) -> None:
    classes = ("healthy", "benign/malignant")
    splits = {name: [draw(tmp_path, f"{name}{n}.png", n, 1) for n in range(2)] for name in ("training", "validation")}
    datalist.write(DataList("mine", classes, 1, "none", "test", False, **splits, test=[]), tmp_path)
    listed = datalist.read(tmp_path)
    made_run(tmp_path / "run", listed, bundle="folder", image_size=32, positive_class="benign/malignant")
    release(tmp_path / "run", tmp_path / "made")
    of_run, of_card = beside(str(tmp_path / "run" / "model.pt")), beside(str(tmp_path / "made" / "models" / "model.pt"))
    assert of_run.positive_class == of_card.positive_class == "benign/malignant"
    assert of_run == of_card


def test_weights_at_the_root_have_nothing_beside_them() -> None:
    assert beside("/no_such_model.pt") == Trained()


@pytest.mark.slow
def test_a_checkpoint_was_trained_as_its_run_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    network = made_run(run, small_list(tmp_path / "data"), start=START, hidden=7)
    (run / "checkpoints").mkdir()
    torch.save({"network": network.state_dict()}, run / "checkpoints" / "epoch_0001.pt")
    told = beside(str(run / "model.pt"))
    assert (told.image_size, told.mean) == (48, (0.4, 0.5, 0.6))
    assert beside(str(run / "checkpoints" / "epoch_0001.pt")) == told
    assert segmentations.beside(str(run / "checkpoints" / "epoch_0001.pt")).image_size == 48
    starts = [resolve(str(run / name), "resnet18") for name in ("model.pt", "checkpoints/epoch_0001.pt")]
    assert starts[0].mean == starts[1].mean == told.mean
    assert starts[0].trained_on == starts[1].trained_on
    change_record(run, task="survival")
    assert cohorts.trained_risks(str(run / "checkpoints" / "epoch_0001.pt")).hidden == 7
    monkeypatch.chdir(run / "checkpoints")
    assert beside("epoch_0001.pt").image_size == 48
