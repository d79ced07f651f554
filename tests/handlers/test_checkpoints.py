"""A training that is stopped anywhere and goes on equals one that was never stopped, to the last bit."""

import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from resume_runs import differences
from torch import nn

from medtl import engines
from medtl.data.packed import Packed
from medtl.data.packed_loader import PackedLoader
from medtl.datalist import DataList
from medtl.errors import MedtlError, ToldToStop, UsageError
from medtl.handlers import preemption
from medtl.handlers.checkpoints import KeepCheckpoints
from medtl.handlers.history import KeepHistory
from medtl.handlers.random_state import random_state, set_random_state
from medtl.handlers.results import KeepBest
from medtl.handlers.schedule import StepSchedule
from medtl.metrics.ignite import Scores
from medtl.transforms.batch import BatchTransform
from medtl.writers import checkpoint

IMAGES, SIZE, BATCHES, EPOCHS = 22, 8, 5, 3


def packed(count: int, seed: int) -> Packed:
    random = np.random.default_rng(seed)
    labels = torch.from_numpy(random.integers(0, 3, count))
    return Packed(random.integers(0, 256, (count, 1, SIZE, SIZE), dtype=np.uint8), labels)


def listed() -> DataList:
    entries = [
        {"image": f"{n}.png", "label": n % 3, "patient": f"p/{n}", "source": "p", "sha256": ""} for n in range(9)
    ]
    return DataList("p", ("a", "b", "c"), 1, "none", "test", False, training=[], validation=entries, test=[])


def training(
    folder: Path, resume_from: str = "", accumulate: int = 1, loader: Any = None, **options: Any
) -> tuple[SupervisedTrainer, KeepCheckpoints]:
    """All that a bundle's training has, small: dropout draws random numbers, batch norm keeps statistics."""
    torch.manual_seed(7)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(144, 3)
    )
    optimizer = torch.optim.AdamW(network.parameters(), 0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
    loader = loader or PackedLoader(
        packed(IMAGES, 0), 4, shuffle=True, seed=1, drop_last=True, transform=BatchTransform(seed=2)
    )
    names = [f"{place}.png" for place in range(IMAGES)]
    average = engines.moving_average(network, 0.5)
    step = engines.training_step(accumulate=accumulate, ema=average, names=names)
    best = KeepBest(average.module, str(folder), "val_accuracy", listed())
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=PackedLoader(packed(9, 1), 4, transform=BatchTransform(flip=0, rotate=0, scale=0, translate=0)),
        network=average.module,
        val_handlers=[Scores("val"), best],
        decollate=False,
    )
    history = KeepHistory(str(folder), optimizer, evaluator)
    parts = {"network": network, "optimizer": optimizer, "scheduler": scheduler, "history": history}
    kept = KeepCheckpoints(str(folder), parts, best=best, loader=loader, step=step, resume_from=resume_from, **options)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=EPOCHS,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=nn.CrossEntropyLoss(),
        train_handlers=[
            ValidationHandler(1, evaluator),
            history,
            StepSchedule(scheduler, step),
            kept,
        ],
        iteration_update=step,
        decollate=False,
    )
    return trainer, kept


def stop_after(trainer: SupervisedTrainer, iteration: int) -> None:
    """Tell it to stop while that batch is trained on."""

    def tell(engine: Engine) -> None:
        if engine.state.iteration == iteration:
            signal.raise_signal(signal.SIGUSR1)

    trainer.add_event_handler(Events.ITERATION_STARTED, tell)


def last(folder: Path) -> dict[str, Any]:
    return checkpoint.read(checkpoint.found(folder / "checkpoints")[0])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_stopped_anywhere_it_goes_on_to_the_same_bits(accumulate: int, tmp_path: Path) -> None:
    training(tmp_path / "whole", accumulate=accumulate)[0].run()
    whole = last(tmp_path / "whole")
    assert whole["iteration"] == BATCHES * EPOCHS
    for iteration in range(1, BATCHES * EPOCHS):
        folder = tmp_path / str(iteration)
        trainer, _ = training(folder, accumulate=accumulate)
        stop_after(trainer, iteration)
        with pytest.raises(ToldToStop, match=r"saved .*--resume auto$"):
            preemption.run(trainer)
        saved = checkpoint.found(folder / "checkpoints")[0]
        reached = checkpoint.facts(saved)["iteration"]
        # gradients are never left behind: a group of batches is finished first
        assert reached == iteration if accumulate == 1 else reached in (iteration, iteration + 1)
        random.random(), np.random.rand(), torch.rand(3)  # noqa: NPY002  another process would have drawn otherwise
        training(folder, str(saved), accumulate=accumulate)[0].run()
        assert differences(last(folder), whole) == []
        for name in ("model.pt", "predictions.csv", "metrics.json", "history.csv"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_the_signals_mean_what_they_meant_afterwards(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in preemption.SIGNALS]
    trainer, _ = training(tmp_path)
    stop_after(trainer, BATCHES * EPOCHS)  # too late: what is left is done
    preemption.run(trainer)
    assert last(tmp_path)["iteration"] == BATCHES * EPOCHS
    assert [signal.getsignal(number) for number in preemption.SIGNALS] == before


def test_only_the_last_and_the_best_stay(tmp_path: Path) -> None:
    trainer, kept = training(tmp_path, save_interval=0)
    names: list[set[str]] = []

    @trainer.on(Events.EPOCH_COMPLETED)
    def look(engine: Engine) -> None:
        names.append({path.name for path in checkpoint.found(tmp_path / "checkpoints")})

    trainer.run()
    assert names[0] == {"epoch_0001_batch_00004.pt", "epoch_0001.pt"}
    assert kept.best is not None
    best = checkpoint.name_of(kept.best.best_epoch, None)
    assert names[2] == {"epoch_0003_batch_00004.pt", "epoch_0003.pt", best}
    assert {path.name for path in checkpoint.found(tmp_path / "checkpoints")} == {"epoch_0003.pt", best}
    assert torch.load(tmp_path / "model.pt").keys() == last(tmp_path)["network"].keys()


def test_model_pt_is_that_of_the_best_epoch_so_far(tmp_path: Path) -> None:
    """The run got further than its last checkpoint, found a better epoch and died."""
    trainer, kept = training(tmp_path, save_interval=0)
    stop_after(trainer, BATCHES + 2)
    with pytest.raises(ToldToStop):
        preemption.run(trainer)
    assert kept.best is not None
    expected = {name: (tmp_path / name).read_bytes() for name in ("model.pt", "predictions.csv", "metrics.json")}
    assert kept.best.best_epoch == 1
    for name in expected:
        (tmp_path / name).write_bytes(b"of a later epoch")
    resumed, _ = training(tmp_path, str(checkpoint.found(tmp_path / "checkpoints")[0]))
    resumed.add_event_handler(Events.EPOCH_STARTED, resumed.terminate)
    resumed.run()
    assert {name: (tmp_path / name).read_bytes() for name in expected} == expected


def test_a_run_that_is_put_back_forgets_what_came_later(tmp_path: Path) -> None:
    training(tmp_path, save_interval=0, keep=99)[0].run()
    whole, model = last(tmp_path), (tmp_path / "model.pt").read_bytes()
    trainer, _ = training(tmp_path / "again", save_interval=0, keep=99)
    stop_after(trainer, BATCHES + 2)
    with pytest.raises(ToldToStop):
        preemption.run(trainer)
    _, early, *_ = checkpoint.found(tmp_path / "again" / "checkpoints")
    assert early.name == "epoch_0002_batch_00001.pt"
    resumed, _ = training(tmp_path / "again", str(early), keep=99)
    left: list[str] = []

    @resumed.on(Events.EPOCH_STARTED(once=2))
    def look(engine: Engine) -> None:
        left.extend(path.name for path in checkpoint.found(tmp_path / "again" / "checkpoints"))

    resumed.run()
    assert "epoch_0002_batch_00002.pt" not in left
    assert early.name in left
    assert differences(last(tmp_path / "again"), whole) == []
    assert (tmp_path / "again" / "model.pt").read_bytes() == model


def test_a_loss_that_is_no_number_is_never_saved_over_a_good_state(tmp_path: Path) -> None:
    trainer, _ = training(tmp_path, save_interval=0)
    loss = trainer.loss_function
    trainer.loss_function = lambda *batch: loss(*batch) * (float("nan") if trainer.state.iteration == 7 else 1)
    with pytest.raises(MedtlError, match=r"loss is nan at iteration 7, training images \d+\.png, \d+\.png,"):
        trainer.run()
    assert next(path.name for path in checkpoint.found(tmp_path / "checkpoints")) == "epoch_0002_batch_00001.pt"


def test_a_disk_that_refuses_ends_in_one_line_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, _ = training(tmp_path)
    write = checkpoint.write_tensors

    def refuse(state: Any, path: Path) -> str:
        if path.name == "epoch_0002.pt":
            raise OSError(28, "No space left on device", str(path))
        return write(state, path)

    monkeypatch.setattr(checkpoint, "write_tensors", refuse)
    with pytest.raises(
        MedtlError, match=r"epoch_0002\.pt cannot be written: No space left on device; .*--resume auto$"
    ):
        trainer.run()
    (kept,) = checkpoint.found(tmp_path / "checkpoints")
    assert checkpoint.problem_of(kept) == ""


def test_a_loader_without_a_state_trains_but_does_not_go_on(tmp_path: Path) -> None:
    plain = [
        batch for _, batch in zip(range(3), PackedLoader(packed(12, 0), 4, transform=BatchTransform()), strict=True)
    ]
    trainer, _ = training(tmp_path, loader=plain, save_interval=0)
    trainer.run()
    path = checkpoint.found(tmp_path / "checkpoints")[0]
    with pytest.raises(MedtlError, match="train#dataloader is a list, which cannot start again in the middle"):
        training(tmp_path, str(path), loader=plain)[0].run()


def test_other_batches_are_refused(tmp_path: Path) -> None:
    trainer, _ = training(tmp_path)
    stop_after(trainer, 2)
    with pytest.raises(ToldToStop):
        preemption.run(trainer)
    (path,) = checkpoint.found(tmp_path / "checkpoints")
    other = PackedLoader(packed(IMAGES, 0), 4, shuffle=True, seed=5, drop_last=True, transform=BatchTransform(seed=2))
    with pytest.raises(MedtlError, match="the saved run had seed 1, this one has 5"):
        training(tmp_path, str(path), loader=other)[0].run()
    fewer = PackedLoader(packed(12, 0), 4, shuffle=True, seed=1, transform=BatchTransform(seed=2))
    with pytest.raises(MedtlError, match="for other batches"):
        training(tmp_path, str(path), loader=fewer)[0].run()


@pytest.mark.parametrize("interval", [-1, "often", True])
def test_an_interval_that_cannot_be_is_refused(interval: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--save_interval"):
        training(tmp_path, save_interval=interval)


def test_random_numbers_go_on_where_they_were(tmp_path: Path) -> None:
    def draws() -> list[float]:
        return [random.random(), random.gauss(0, 1), np.random.normal(), float(torch.randn(()))]  # noqa: NPY002

    draws()  # leaves a second normal number waiting in two of the generators
    torch.save(random_state(), tmp_path / "state.pt")
    expected = draws()
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draws() == expected
