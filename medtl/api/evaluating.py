"""``medtl.evaluate``: a run's weights on a split of a data list."""

import datetime
from pathlib import Path
from typing import Any

import monai.bundle

from medtl.api.data import refuse_changed
from medtl.api.run import Run
from medtl.datalist import DataList
from medtl.errors import UsageError
from medtl.places import bundle_folder


def evaluate(
    run: Run | str | Path, data: DataList | None = None, split: str = "test", *, out: str | Path | None = None
) -> Run:
    """Measure a run's weights on a split, by the evaluation of the bundle that trained it.

    Args:
        run: a finished run, or its folder.
        data: with the classes of the run; by default the data list that it was trained on.
        split: train, val or test.
        out: folder of the evaluation; by default one of its own in ``evaluations/`` of the run's folder.

    Returns:
        The evaluation, as a run: its ``metrics(split)`` and ``predictions()``.

    Raises:
        UsageError: the run kept no weights, nothing says where its data lie, or ``data`` has other classes or is not
            what its file holds.
        MedtlError: the weights cannot be read.
    """
    run = run if isinstance(run, Run) else Run(run)
    record = run.record
    weights = run.folder / "model.pt"
    if not weights.is_file():
        raise UsageError(f"{run.folder} holds no model.pt: the run is {record.status}")
    name = data.name if data is not None else record.data.name if record.data else "data"
    moment = f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    place = Path(out) if out is not None else run.folder / "evaluations" / f"{name}_{split}_{moment}"
    configs = bundle_folder(record.bundle.name) / "configs"
    given = {"weights": str(weights), "split": split, "output_dir": str(place), **_data(run, data)}
    monai.bundle.run(config_file=[str(configs / "train.json"), str(configs / "evaluate.json")], **given)
    return Run(place)


def _data(run: Run, data: DataList | None) -> dict[str, Any]:
    """The ids that say what is evaluated on."""
    if data is not None:
        refuse_changed(data, "medtl.evaluate")
        fold = {"fold": data.fold} if data.fold is not None else {}
        drawn = {"train_fraction": data.train_fraction, "seed": data.drawn_with} if data.train_fraction != 1 else {}
        return {"dataset_dir": str(data.folder), **fold, **drawn}
    record = run.record
    known = ("dataset_dir", "fold", "train_fraction", "seed")
    given = {name: record.overrides[name] for name in known if name in record.overrides}
    if "dataset_dir" not in given and not (record.data and record.data.sample):
        raise UsageError(f"{run.folder} does not say where its data lie: medtl.evaluate(run, data)")
    return given
