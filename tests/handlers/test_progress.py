"""The line of an epoch: the mean loss over images, and no look at the loss in between; a rate of images, not of the
views that are made of them; no metric where none was learnt."""

import re

import pytest
import torch
from ignite.engine import Engine

from medtl.handlers.progress import TrainingProgress

SIZES, LOSSES = [4, 4, 2], [1.0, 2.0, 6.0]
TILES = 9  # of an image, as jigsaw puzzles have


def batch_of(images: int) -> dict[str, torch.Tensor]:
    return {"image": torch.zeros(images * TILES, 1), "label": torch.zeros(images)}


def test_the_line_of_an_epoch_tells_the_mean_loss_over_images(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    original = TrainingProgress._look
    monkeypatch.setattr(TrainingProgress, "_look", lambda self: (looks.append(1), original(self)))

    def step(engine: Engine, batch: dict) -> dict:
        loss = LOSSES[(engine.state.iteration - 1) % len(LOSSES)]
        return {"loss": torch.tensor(loss, requires_grad=True)}

    trainer, evaluator = Engine(step), Engine(lambda *_: None)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.25)
    TrainingProgress(optimizer, evaluator, "val_accuracy").attach(trainer)
    trainer.run([batch_of(size) for size in SIZES], max_epochs=2)
    lines = capsys.readouterr().err.strip().splitlines()
    mean = sum(size * loss for size, loss in zip(SIZES, LOSSES, strict=True)) / sum(SIZES)
    assert len(lines) == 2
    assert re.fullmatch(rf"epoch 2/2  loss {mean:.3f}  lr 0\.25  [\d,]+ images/s", lines[1])
    assert len(looks) == 2


def test_the_rate_counts_images_and_a_metric_that_says_nothing_is_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(100))
    monkeypatch.setattr("medtl.handlers.progress.time.monotonic", lambda: float(next(seconds)))
    trainer, evaluator = Engine(lambda *_: {"loss": torch.tensor(1.0)}), Engine(lambda *_: None)
    evaluator.state.metrics["val_accuracy"] = 0.5
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.25)
    for metric in ("val_accuracy", None):
        TrainingProgress(optimizer, evaluator, metric).attach(trainer)
    trainer.run([batch_of(10)], max_epochs=1)
    told = capsys.readouterr().err.strip().splitlines()
    # the clock goes on by 1 a look: the first bar begins at 0 and looks at 2, the second begins at 1 and looks at 3
    assert [line.partition("lr 0.25  ")[2] for line in told] == ["5 images/s  val_accuracy 0.500", "5 images/s"]
