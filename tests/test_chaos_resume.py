"""chaos_deeplabv3 that is killed or told to stop goes on to the last bit of what it would have been; two processes
find what one finds."""

import functools
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import ROOT, config, rows
from chaos_lists import small_list
from resume_runs import Run, differences, iteration, record, run_bundle, undisturbed_runs

from medtl.writers import checkpoint

pytestmark = pytest.mark.slow

FOLDER = ROOT / "bundles" / "chaos_deeplabv3"
SMALL = ("--epochs", "3", "--image_size", "32", "--batch_size", "6", "--output_stride", "16")
HERE = ("--num_workers", "0", "--device", "cpu")
RESUME = ("--resume", "auto")
LAST = 9  # batches, three in each epoch


def started(names: tuple[str, ...], data: Path, out: Path, processes: int, *words: str) -> Run:
    """Some of the bundle's configs in ``out``; the log lies beside it."""
    file = config(*names, folder=FOLDER)
    command = ["run", "--config_file", file, "--dataset_dir", str(data), "--output_dir", str(out), *HERE, *words]
    return Run(functools.partial(run_bundle, command), out.with_suffix(".log"), processes)


def training(data: Path, out: Path, processes: int, *words: str) -> Run:
    names = ("train", "multi_gpu_train") if processes > 1 else ("train",)
    return started(names, data, out, processes, *SMALL, "--learning_rate", "0.003", *words)


def assert_same(run: Path, whole: Path) -> None:
    """All that the two runs left is the same."""
    states = [checkpoint.read(folder / "checkpoints" / "epoch_0003.pt") for folder in (run, whole)]
    assert states[0]["best"]["scored"]["predicted"].keys() == {"MR/5", "MR/8"}
    assert set(differences(*states)) <= {".record.seconds"}
    weights = [torch.load(folder / "model.pt", weights_only=True) for folder in (run, whole)]
    assert differences(*weights) == []
    pictures = [{path.name for path in (folder / "overlays").iterdir()} for folder in (run, whole)]
    assert pictures[0] == pictures[1] == {"val_MR_5.png", "val_MR_8.png", "test_MR_9.png"}
    for name in ("predictions.csv", "metrics.json", "history.csv", *(f"overlays/{name}" for name in pictures[0])):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    for name in ("status", "metrics", "best_epoch", "epochs", "test"):
        assert record(run)[name] == record(whole)[name], name
    assert record(run)["status"] == "finished"


@pytest.fixture(scope="module")
def data(module_path: Path) -> Path:
    return small_list(module_path / "data")


@pytest.fixture(scope="module")
def undisturbed(data: Path, module_path: Path) -> Callable[[int], Path]:
    return undisturbed_runs(functools.partial(training, data), module_path)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_and_told_to_stop_it_goes_on_to_the_same_bits(
    processes: int, undisturbed: Callable[[int], Path], data: Path, tmp_path: Path
) -> None:
    whole, out = undisturbed(processes), tmp_path / "run"

    def writes() -> bool:
        """A checkpoint is half-written, and there is one before it."""
        return iteration(out) >= 4 and any(out.glob("checkpoints/.epoch_*.medtl-part"))

    run = training(data, out, processes, *RESUME, "--save_interval", "0")
    assert run.until(writes), run.log.read_text()
    run.kill()
    assert record(out)["status"] == "running"
    assert 4 <= iteration(out) < LAST
    run = training(data, out, processes, *RESUME)
    assert run.until(lambda: iteration(out) >= 6), run.log.read_text()
    run.tell(signal.SIGTERM)
    assert run.wait() == 75, run.log.read_text()
    assert [process.exitcode for process in run.processes] == [75] * processes
    assert record(out)["status"] == "interrupted"
    newest = checkpoint.found(out / "checkpoints")[0]
    line = run.log.read_text().strip().splitlines()[-1]
    assert line.endswith(f"saved {newest}; go on with the same command and --resume auto")
    assert iteration(out) < LAST
    run = training(data, out, processes, *RESUME)
    assert run.wait() == 0, run.log.read_text()
    assert len(record(out)["resumed"]) == 2
    assert_same(out, whole)


def test_a_run_that_died_while_it_finished_finishes(
    undisturbed: Callable[[int], Path], data: Path, tmp_path: Path
) -> None:
    """Distances and pictures take a while, and the test split is opened by then."""
    whole, out = undisturbed(1), tmp_path / "run"
    shutil.copytree(whole, out, copy_function=os.link)
    shutil.rmtree(out / "overlays")
    for name in ("metrics.json", "predictions.csv", "run.json"):
        (out / name).unlink()
    kept = {name: value for name, value in record(whole).items() if name not in ("metrics", "test", "best_epoch")}
    (out / "run.json").write_text(json.dumps({**kept, "status": "running"}))
    run = training(data, out, 1, *RESUME)
    assert run.wait() == 0, run.log.read_text()
    assert f"going on from {out / 'checkpoints' / 'epoch_0003.pt'}" in run.log.read_text()
    assert_same(out, whole)


def test_two_processes_score_the_same_weights_as_one(
    undisturbed: Callable[[int], Path], data: Path, tmp_path: Path
) -> None:
    weights = ("--weights", str(undisturbed(2) / "model.pt"))
    found = {}
    for processes in (1, 2):
        out = tmp_path / str(processes)
        names = ("train", "multi_gpu_train", "evaluate") if processes > 1 else ("train", "evaluate")
        run = started(names, data, out, processes, *weights)
        run.wait()
        assert {process.exitcode for process in run.processes} == {0}, run.log.read_text()
        found[processes] = rows(out / "predictions.csv")
        masks = {path.name: np.asarray(nib.load(path).dataobj) for path in (out / "masks").iterdir()}
        assert masks.keys() == {"MR_5.nii.gz", "MR_8.nii.gz"}
        if processes == 1:
            alone = masks
    # A processor may sum a convolution in another order for a batch of another size: a voxel on a border may turn.
    assert max((masks[name] != alone[name]).sum() for name in masks) <= 2
    trained = [row for row in rows(undisturbed(2) / "predictions.csv") if row["split"] == "val"]
    for one, two, then in zip(found[1], found[2], trained, strict=True):
        assert one.keys() == two.keys() == then.keys()
        for name, value in one.items():
            for other in (two[name], then[name]):
                if name in ("case", "patient", "split") or not value:
                    assert other == value, name
                else:
                    assert float(other) == pytest.approx(float(value), abs=0.02), name
    assert {row["case"]: bool(row["iou_spleen"]) for row in found[1]}["MR/5"]
