"""The line of an epoch: the mean loss over images, and no look at the loss in between."""

import re

import pytest
import torch
from ignite.engine import Engine

from medtl.handlers.progress import TrainingProgress

SIZES, LOSSES = [4, 4, 2], [1.0, 2.0, 6.0]


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
    trainer.run([{"image": torch.zeros(size, 1)} for size in SIZES], max_epochs=2)
    lines = capsys.readouterr().err.strip().splitlines()
    mean = sum(size * loss for size, loss in zip(SIZES, LOSSES, strict=True)) / sum(SIZES)
    assert len(lines) == 2
    assert re.fullmatch(rf"epoch 2/2  loss {mean:.3f}  lr 0\.25  [\d,]+ images/s", lines[1])
    assert len(looks) == 2
