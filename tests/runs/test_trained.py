"""What lies beside weights says how they were trained: the card of a bundle as much as the run.json of a run."""

from pathlib import Path

import pytest
from bundle_runs import draw
from released_bundles import made_run

from medtl import datalist
from medtl.bundles.release import release
from medtl.datalist import DataList
from medtl.runs.trained import Trained, beside


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
