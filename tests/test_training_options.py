"""What ``--accumulate``, ``--ema``, ``--mixup`` and ``--sync_batchnorm`` do to a run, by their ids."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from bundle_runs import BUNDLE, CPU, ROOT, bundle_here, config, last_line, rows
from fine_tune_lists import CLASSES, some_list
from monai.bundle import ConfigParser

from medtl.writers import checkpoint

pytestmark = pytest.mark.slow

TB = ROOT / "bundles" / "tb"
TINY = ("--image_size", "32", *CPU)
ALL = ("--ema", "0.7", "--mixup", "0.4", "--accumulate", "2")


@pytest.fixture(scope="module")
def data(module_path: Path) -> Path:
    return some_list(module_path, CLASSES["tb"])


def parsed(folder: Path, data: Path, out: Path, **values: object) -> ConfigParser:
    """A bundle's train.json with some values, begun as MONAI begins it."""
    parser = ConfigParser()
    parser.read_config(config("train", folder=folder))
    parser.read_meta(str(folder / "configs" / "metadata.json"))
    small = {"image_size": 32, "num_workers": 0, "device": "cpu", "dataset_dir": str(data), "output_dir": str(out)}
    parser.update({**small, "bundle_root": str(folder), **values})
    return parser


def trained(folder: Path, data: Path, out: Path, *words: str) -> dict[str, torch.Tensor]:
    """The weights that a run leaves."""
    told = ("--dataset_dir", str(data), "--output_dir", str(out), *TINY, *words)
    status, printed = bundle_here("run", "--config_file", config("train", folder=folder), *told)
    assert status == 0, printed
    return torch.load(out / "model.pt", weights_only=True)


def test_model_pt_holds_the_moving_average_of_the_steps(data: Path, tmp_path: Path) -> None:
    decay, out = 0.7, tmp_path / "run"
    parser = parsed(TB, data, out, ema=decay, accumulate=2, epochs=1, batch_size=2, learning_rate=0.01)
    parser.get_parsed_content("initialize")
    network = parser.get_parsed_content("network")
    steps: list[dict[str, np.ndarray]] = []

    def seen(*_: object) -> None:
        steps.append({name: value.detach().numpy().copy() for name, value in network.state_dict().items()})

    parser.get_parsed_content("optimizer").register_step_post_hook(seen)
    parser.get_parsed_content("train#trainer").run()
    assert len(steps) == 3  # 12 images, 2 a batch, 2 batches a step
    expected = steps[0]
    for weights in steps[1:]:
        for name, value in weights.items():
            counts = name.endswith("num_batches_tracked")
            expected[name] = value if counts else decay * expected[name] + (1 - decay) * value
    saved = torch.load(out / "model.pt", weights_only=True)
    assert list(saved) == list(expected)
    for name, value in saved.items():
        assert np.allclose(value.numpy(), expected[name], rtol=1e-5, atol=1e-6), name
    last = steps[-1]["fc.weight"]
    assert not np.allclose(saved["fc.weight"].numpy(), last, atol=1e-5)
    kept = checkpoint.read(checkpoint.found(out / "checkpoints")[0])
    assert np.array_equal(kept["network"]["fc.weight"].numpy(), last)  # training goes on from the weights themselves


@pytest.mark.parametrize("name", ["tb", "medtl_mini_resnet18"])
def test_the_average_is_what_is_validated_chosen_and_tested(name: str, data: Path, tmp_path: Path) -> None:
    folder, run = ROOT / "bundles" / name, tmp_path / "run"
    options = ALL if name == "tb" else ("--ema", "0.7", "--accumulate", "2")
    words = ("--epochs", "2", "--batch_size", "2", "--learning_rate", "0.001")
    trained(folder, data, run, *words, *options)
    recipe = json.loads((run / "run.json").read_text())["recipe"]
    assert (recipe["ema"], recipe["accumulate"], recipe.get("mixup")) == (0.7, 2, 0.4 if name == "tb" else None)
    predicted = rows(run / "predictions.csv")
    columns = [column for column in predicted[0] if column.startswith("prob_")]
    for split in ("val", "test") if name == "tb" else ("val",):
        out = tmp_path / split
        told = ("--weights", str(run / "model.pt"), "--dataset_dir", str(data), "--output_dir", str(out), *CPU)
        names = config("train", "evaluate", folder=folder)
        status, printed = bundle_here("run", "--config_file", names, *told, "--split", split, *options)
        assert status == 0, printed
        evaluated = rows(out / "predictions.csv")
        validated = [row for row in predicted if row["split"] == split]
        assert [row["image"] for row in evaluated] == [row["image"] for row in validated]
        for one, other in zip(evaluated, validated, strict=True):
            assert [float(one[c]) for c in columns] == pytest.approx([float(other[c]) for c in columns], abs=1e-5)


def test_two_batches_a_step_are_one_of_twice_the_size(data: Path, tmp_path: Path) -> None:
    """In a whole run: the same images in the same order, schedule and all. Batch norm sees batches; it is frozen."""
    words = ("--freeze", "trunk", "--epochs", "2", "--learning_rate", "0.01", "--warmup", "0.4")
    one = trained(TB, data, tmp_path / "one", *words, "--batch_size", "4")
    two = trained(TB, data, tmp_path / "two", *words, "--batch_size", "2", "--accumulate", "2")
    assert [row["learning_rate"] for row in rows(tmp_path / "one" / "history.csv")] == [
        row["learning_rate"] for row in rows(tmp_path / "two" / "history.csv")
    ]
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("folder", [TB, BUNDLE], ids=lambda path: path.name)
def test_mixup_reaches_the_batches_and_the_loss_takes_them(folder: Path, data: Path, tmp_path: Path) -> None:
    if folder == BUNDLE:
        data = some_list(tmp_path / "data", parsed(folder, data, tmp_path).get_parsed_content("classes"))
    parser = parsed(folder, data, tmp_path / "run", mixup=0.4, batch_size=6)
    if folder == TB:
        parser.update({"balance": "loss"})
    (batch, _) = parser.get_parsed_content("train#dataloader")
    classes = len(parser.get_parsed_content("classes"))
    assert batch["label"].shape == (6, classes)
    assert batch["label"].sum(1).tolist() == pytest.approx([1] * 6)
    assert (batch["label"].amax(1) < 0.999).any()
    loss = parser.get_parsed_content("loss")
    logits = torch.randn(6, classes, generator=torch.Generator().manual_seed(1))
    weights = np.ones(classes) if loss.weight is None else loss.weight.numpy()
    log = logits.numpy() - np.log(np.exp(logits.numpy()).sum(1, keepdims=True))
    by_hand = -(weights * batch["label"].numpy() * log).sum(1).mean()
    assert float(loss(logits, batch["label"])) == pytest.approx(by_hand, rel=1e-5)
    (plain, _) = parsed(folder, data, tmp_path / "run", batch_size=6).get_parsed_content("train#dataloader")
    assert plain["label"].shape == (6,)


def test_images_that_come_one_by_one_cannot_be_mixed(data: Path, tmp_path: Path) -> None:
    for folder in (TB, BUNDLE):
        where = data if folder == TB else some_list(tmp_path / "cpmid", tuple(f"c{n}" for n in range(20)))
        classes = () if folder == TB else ("--classes", str([f"c{n}" for n in range(20)]))
        words = ("--dataset_dir", str(where), "--output_dir", str(tmp_path / "run"), *TINY, *classes)
        names = config("train", "per_image", folder=folder)
        status, printed = bundle_here("run", "--config_file", names, *words, "--mixup", "0.2")
        assert status == 2, printed
        assert last_line(printed) == (
            "error: --mixup 0.2: per_image.json prepares images one by one and blends none; leave one out"
        )
        assert not (tmp_path / "run").exists()


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of one process in this one, left again afterwards."""
    yield
    if torch.distributed.is_initialized():
        idist.finalize()
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("True", "error: --sync_batchnorm True needs GPUs: PyTorch's SyncBatchNorm does not train on a CPU"),
        ("maybe", "error: --sync_batchnorm maybe: expected True or False, spelt so"),
    ],
)
def test_batch_norm_is_not_synchronised_on_cpus(value: str, expected: str, data: Path, tmp_path: Path) -> None:
    names = config("train", "multi_gpu_train", folder=TB)
    words = ("--dataset_dir", str(data), "--output_dir", str(tmp_path / "run"), "--device", "cpu")
    status, printed = bundle_here("run", "--config_file", names, *words, "--sync_batchnorm", value)
    assert (status, last_line(printed)) == (2, expected)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("alone")
def test_pytorch_itself_still_refuses_it_on_cpus() -> None:
    """If this fails, the refusal above can go."""
    idist.initialize("gloo")
    network = torch.nn.SyncBatchNorm(2)
    assert network.eval()(torch.zeros(3, 2)).shape == (3, 2)
    with pytest.raises(ValueError, match="expected input tensor to be on GPU"):
        network.train()(torch.zeros(3, 2))
