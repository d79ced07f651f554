"""--patience: training ends when the metric has not become better for so many epochs, also after it was resumed."""

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
from ignite.engine import Engine, Events

from medtl.bundles import ranges
from medtl.errors import UsageError
from medtl.handlers.early_stop import StopEarly
from medtl.handlers.results import measured
from medtl.metrics import registry
from medtl.runs.record import RunRecord

NAN = float("nan")


def train(values: list[float], patience: int, done: int = 0, key_metric: str = "val_auc") -> Engine:
    """Run a trainer whose validation gives these values, from after ``done`` epochs of them on."""
    sign = -1 if registry.lower_is_better(key_metric.removeprefix("val_")) else 1
    best: Any = SimpleNamespace(key_metric=key_metric, sign=sign, best=-float("inf"), best_epoch=0)

    def compare(value: float, epoch: int) -> None:  # as medtl.handlers.best does
        value = sign * value
        if not best.best_epoch or value > best.best:
            best.best, best.best_epoch = (value if value == value else -float("inf")), epoch

    for epoch, value in enumerate(values[:done], 1):
        compare(value, epoch)
    trainer, evaluator = Engine(lambda *_: None), Engine(lambda *_: None)

    def go_on(engine: Engine) -> None:
        engine.state.epoch = done

    def validate(engine: Engine) -> None:
        evaluator.run([0])

    def scored(engine: Engine) -> None:
        engine.state.metrics = {key_metric: values[trainer.state.epoch - 1]}
        compare(values[trainer.state.epoch - 1], trainer.state.epoch)

    trainer.add_event_handler(Events.STARTED, go_on)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
    evaluator.add_event_handler(Events.EPOCH_COMPLETED, scored)
    trainer.state.seen = []
    trainer.add_event_handler(Events.COMPLETED, lambda engine: engine.state.seen.append("completed"))
    StopEarly(patience, best, trainer).attach_to(evaluator)
    trainer.run([0, 0], max_epochs=len(values))
    return trainer


@pytest.mark.parametrize(
    ("values", "patience", "last"),
    [
        ([0.5, 0.6, 0.6, 0.55, 0.9], 2, 4),  # equal is not better
        ([0.5, 0.6, 0.6, 0.55, 0.9], 3, 5),
        ([0.5, 0.6, 0.7, 0.8, 0.9], 1, 5),
        ([0.5, NAN, 0.6, NAN, NAN, 0.9], 2, 5),
        ([NAN, NAN, NAN, 0.5], 3, 4),
        ([NAN, NAN, NAN, 0.5], 2, 3),
    ],
)
def test_it_ends_after_so_many_epochs_without_a_better_one(
    values: list[float], patience: int, last: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(values, patience)
    assert whole.state.epoch == last
    assert whole.state.seen == ["completed"]  # so that the test split is opened, and the run closed
    told = capsys.readouterr().err
    assert (f"stopped after epoch {last} of {len(values)}" in told) == (last < len(values))
    for done in range(1, last + 1):  # resumed after any epoch, the last one included
        again = train(values, patience, done)
        assert (again.state.epoch, again.state.seen) == (last, ["completed"])
        assert getattr(again.state, "stopped_early", "") == getattr(whole.state, "stopped_early", "")


@pytest.mark.parametrize(
    ("values", "patience", "last"),
    [
        ([9.0, 8.0, 7.0, 6.0, 5.0], 2, 5),  # a falling error becomes better
        ([9.0, 8.0, 8.0, 8.5, 5.0], 2, 4),
        ([9.0, NAN, 8.0, NAN, NAN, 5.0], 2, 5),
    ],
)
def test_of_an_error_the_smaller_is_better(values: list[float], patience: int, last: int) -> None:
    assert train(values, patience, key_metric="val_mae").state.epoch == last
    for done in range(1, last + 1):
        assert train(values, patience, done, key_metric="val_mae").state.epoch == last


def test_run_json_says_why() -> None:
    engine, best = train([0.5, 0.4, 0.3], 1), SimpleNamespace(best_epoch=1, scored=None)
    _, outcome = measured(engine, best, None)  # type: ignore[arg-type]
    assert outcome == {"epochs": 2, "best_epoch": 1, "stopped": engine.state.stopped_early}
    assert {"val_auc", "--patience"} <= set(outcome["stopped"].replace(")", "").replace("(", "").split())
    assert set(outcome) <= {field.name for field in fields(RunRecord)}


def test_zero_or_more_whole_epochs() -> None:
    ranges.check({"patience": 0})
    for wrong in (-1, 1.5, "three", True):
        with pytest.raises(UsageError, match="--patience"):
            ranges.check({"patience": wrong})
