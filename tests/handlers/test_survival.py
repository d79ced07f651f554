"""predictions.csv of a survival says what its data list says, to the last digit."""

from pathlib import Path

import numpy as np

from medtl.files import read_rows
from medtl.handlers.survival import ScoredRisks, write_risks
from medtl.metrics import survival
from medtl.runs.predictions import read_predictions

TIMES = (1, 365, 1461.125, 1461.1251, 1234567.5, 1234567.75, 0.0625, 1 / 3)


def test_times_are_written_whole(tmp_path: Path) -> None:
    entries = [{"patient": f"p{k}", "time": time, "event": 1} for k, time in enumerate(TIMES)]
    risk = np.arange(len(TIMES), dtype=np.float64)
    write_risks(tmp_path, [ScoredRisks("val", entries, risk, {})])
    read = read_predictions(tmp_path / "predictions.csv", (), "survival")["val"]
    assert read.labels[:, 0].tolist() == list(TIMES)
    own, told = (survival.followed(times, np.ones(len(TIMES))) for times in (TIMES, read.labels[:, 0]))
    assert survival.c_index(own, risk) == survival.c_index(told, risk)
    assert [row["time"] for row in read_rows(tmp_path / "predictions.csv")][:3] == ["1", "365", "1461.125"]
