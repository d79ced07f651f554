"""What a bundle finds wrong by its own checks, before the first cell of a comparison: in one line, nothing written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medtl.bundles import preflight
from medtl.compare import standing
from medtl.compare.plan import Request, cells_of
from medtl.compare.standing import common_mistake

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "breastmnist"


@pytest.fixture(scope="module")
def breast() -> Path:
    """The prepared sample of the smallest fine-tune bundle."""
    from data_prep import sample

    return Path(sample.prepared("breastmnist"))


def overrides(data: Path, **more: str) -> dict[str, str]:
    return {"dataset_dir": str(data), "backbone": "resnet18", "num_workers": "0", **more}


TRAIN = BUNDLE / "configs" / "train.json"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"epochs": "0"}, "--epochs 0: expected a whole number of at least 1"),
        ({"image_size": "5"}, "--image_size 5: expected a whole number of at least 32"),
        ({"key_metric": "foo"}, "--key_metric foo is not one of auc, "),
        ({"device": "abacus"}, "--device abacus cannot be used: "),
        ({"freeze": "all"}, "--freeze all: expected none, trunk "),
        ({"positive_class": "well"}, "--positive_class well is not one of malignant, normal_or_benign"),
        ({"precision": "fp8"}, "precision 'fp8' is not one of auto, "),
        ({"optimizer#lr": "much"}, "TypeError: "),
    ],
)
def test_a_run_is_checked_up_to_where_it_would_write(breast: Path, more: dict[str, str], said: str) -> None:
    assert preflight.mistake(TRAIN, overrides(breast, **more)).startswith(said)


def test_what_would_begin_is_not_begun(breast: Path, tmp_path: Path) -> None:
    assert preflight.mistake(TRAIN, overrides(breast, output_dir=str(tmp_path / "run"))) == ""
    assert list(tmp_path.iterdir()) == []


def own_process(config: Path, overrides: dict[str, str]) -> str:
    return str(os.getpid())


def no_end(config: Path, overrides: dict[str, str]) -> str:
    os._exit(1)


def test_where_there_may_be_a_gpu_the_comparison_itself_looks_at_none(
    breast: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr(preflight, "mistake", own_process)
    assert int(standing._preflight(TRAIN, overrides(breast))) != os.getpid()
    monkeypatch.setattr(preflight, "mistake", no_end)
    assert standing._preflight(TRAIN, overrides(breast)) == ""


def test_what_is_bad_for_some_cells_is_theirs_to_say(breast: Path, tmp_path: Path) -> None:
    """A picture of 40 pixels is no whole number of ViT's patches; ResNet takes it."""
    ids = {"image_size": "40", "num_workers": "0"}
    request = Request(BUNDLE, breast, ("vit_b16", "resnet18"), ("random",), (0,), tmp_path / "grid", ids=ids)
    (transformer,) = [cell for cell in cells_of(request) if cell.backbone == "vit_b16"]
    assert common_mistake(request, cells_of(request), preflight.mistake) == ""
    assert "40" in common_mistake(request, [transformer], preflight.mistake)
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_says_it_in_one_line(breast: Path, tmp_path: Path) -> None:
    command = ["compare", str(BUNDLE), "--dataset_dir", str(breast), "--backbones", "resnet18,resnet34"]
    command += ["--inits", "random", "--seeds", "0,1", "--out", str(tmp_path / "deep" / "grid"), "--epochs", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "medtl", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    line = "medtl: --epochs 0: expected a whole number of at least 1\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    assert list(tmp_path.iterdir()) == []
