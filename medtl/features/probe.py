"""``medtl probe``: frozen features of every start, small heads on them, and an ordinary run folder for each cell."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtl import datalist
from medtl.datalist import DataList, Entry
from medtl.errors import UsageError, tell
from medtl.features import pool, transferability
from medtl.features.cells import Cell, Draw, Embedded, Judged, labels_of, write
from medtl.features.given import Given, read_features
from medtl.features.ranking import Lead, Standing, chosen_metric, lead, ranked
from medtl.features.request import CELLS, Request, check, check_same_data
from medtl.features.sources import source_probes
from medtl.runs.facts import data_of, device_name, now, seen_before, start_of, versions
from medtl.runs.record import RUNNING, Preprocessing, RunRecord, Start
from medtl.weights import starts

TARGET = "medtl.networks.classifier.build_classifier"
GIVEN = "features"  # stands for the backbone where another program computed them


@dataclass(frozen=True, eq=False)
class Probed:
    """What a probe has found.

    Attributes:
        folder: of its cells.
        models: the starts.
        results: what each cell came to.
        metric: that starts are ranked by.
        standings: the best start on validation first.
        lead: of the first over the second on the test split; None where there is nothing to compare.
        scores: LogME and neighbourhood purity of each start.
        unfound: one line for each start whose weights were not found.
    """

    folder: Path
    models: tuple[Embedded, ...]
    results: dict[Cell, Judged]
    metric: str
    standings: tuple[Standing, ...]
    lead: Lead | None
    scores: tuple[transferability.Scores, ...]
    unfound: tuple[str, ...]

    @property
    def best(self) -> Embedded:
        """Return the best start on validation."""
        return self.models[self.standings[0].model]

    def sentence(self) -> str:
        """Return which start is best on validation, and whether its lead on test is more than chance."""
        first = self.standings[0]
        said = f"best start on validation: {self.best.word} (val_{self.metric} {first.validation:.3f})"
        if np.isfinite(first.test):
            said += f"; test_{self.metric} {first.test:.3f}"
        if len(self.standings) < 2:
            return f"{said}; there is no other start to compare it with"
        if self.lead is None:
            return f"{said}; there is no test split to tell whether it leads"
        found, second = self.lead, self.models[self.standings[1].model].word
        ends = f"95 % interval {found.low:+.3f} to {found.high:+.3f}, " if np.isfinite(found.low) else ""
        p = "p not defined" if np.isnan(found.p) else "p < 0.001" if found.p < 0.001 else f"p = {found.p:.3f}"
        return f"{said}, {found.value:+.3f} against {second}, the next ({ends}{p}, {found.method}): {found.verdict}"


def probe(request: Request) -> Probed:
    """Embed each picture once a start, fit the heads, and write every cell's run folder.

    Args:
        request: what is asked for; its fine-tuning is left to ``medtl.features.then``.

    Raises:
        UsageError: it cannot be done; names the option.
        MedtlError: pictures or weights cannot be read, or do not fit.
    """
    listed = check(request)
    whole = data_of(listed)
    check_same_data(request.out, whole.sha256)
    entries = [entry for _, entry in listed]
    given = [read_features(path) for path in request.features]
    found, unfound = _find(request)
    if not found and not given:
        raise UsageError(unfound[0])
    for line in unfound:
        tell(line)
    device = _device(request.device) if found else "cpu"
    models = [*_embed(request, listed, found, device), *(_given(each, entries) for each in given)]
    _tell_apart(models)
    labels = labels_of(entries, listed.task)
    common = RunRecord(
        status=RUNNING,
        command=request.words(),
        data=whole,
        recipe={"image_size": request.size(listed)},
        versions=versions(),
        device=device_name(device),
        started=now(),
    )
    results = _cells(request, listed, entries, models, labels, common)
    metric = chosen_metric(listed.task, results)
    standings = ranked(results, metric)
    ahead = None
    if len(standings) > 1:
        ahead = lead(results, metric, standings[0].model, standings[1].model, listed.task)
    rows = np.arange(len(listed.training))
    n_classes = 0 if listed.task == "regression" else len(listed.classes)
    scores = tuple(transferability.scores(model.values[rows], labels[rows], n_classes) for model in models)
    return Probed(request.out, tuple(models), results, metric, tuple(standings), ahead, scores, tuple(unfound))


def _find(request: Request) -> tuple[list[tuple[str, str, starts.Start]], list[str]]:
    """(backbone, word, start) of all whose weights are at hand, and a line for each of the others."""
    found, unfound = [], []
    for backbone, word in itertools.product(request.backbones, request.starts):
        try:
            found.append((backbone, word, starts.resolve(word, backbone, "--starts")))
        except UsageError as error:
            unfound.append(str(error))
    return found, unfound


def _embed(
    request: Request, listed: DataList, found: Sequence[tuple[str, str, starts.Start]], device: str
) -> Iterator[Embedded]:
    """The features of each start, from the cache where they are there."""
    if not found:
        return
    from medtl import caches, threads
    from medtl.data.packed import pack
    from medtl.features.extract import Extractor, Model

    size = request.size(listed)
    workers = min(8, threads.cores() // 2)
    splits = [split for split in datalist.SPLITS if listed.split(split)]
    packs = [pack(listed, split, size, workers=workers) for split in splits]
    for backbone, word, start in found:
        extract = Extractor(Model(backbone, start, size, device))
        stored = [extract(packed) for packed in packs]
        if extract.computed:
            for split, each in zip(splits, stored, strict=True):
                caches.describe(each.path, listed.name, listed.split(split))
            rate = extract.computed / extract.seconds
            tell(f"embedded {extract.computed:,} pictures in {extract.seconds:.1f} s ({rate:.0f} images/s)")
        if warning := seen_before(start, listed.name):
            tell(f"{backbone} from {word}: {warning}")
        facts = stored[0].facts
        is_loaded = start.path is not None
        yield Embedded(
            backbone,
            word,
            np.concatenate([each.values for each in stored]),
            sum(each.seconds for each in stored),
            start_of(start, facts["coverage"], facts["used"]) if is_loaded else start_of(start),
            {"_target_": TARGET, "backbone": backbone, "num_classes": len(listed.classes), "image_size": size},
            Preprocessing(size, listed.channels, tuple(start.mean), tuple(start.std)),
            int(facts["parameters"]),
        )


def _given(given: Given, entries: Sequence[Entry]) -> Embedded:
    """Features that another program computed."""
    given.tell_unknown(entries)
    start = Start(init=given.name, file=given.path.name, sha256=given.sha256, coverage=1.0)
    return Embedded(GIVEN, given.name, given.of(entries), 0.0, start, {"backbone": GIVEN})


def _tell_apart(models: Sequence[Embedded]) -> None:
    """Refuse two starts whose cells would be one folder, of one name or of names that differ in signs alone."""
    seen: dict[str, Embedded] = {}
    for model in models:
        first = seen.setdefault(Cell(0, "", 0).name(model), model)
        if first is not model:
            raise UsageError(f"the cells of {first.word} and {model.word} would be one folder; rename one of the files")


def _cells(
    request: Request,
    listed: DataList,
    entries: Sequence[Entry],
    models: Sequence[Embedded],
    labels: NDArray,
    common: RunRecord,
) -> dict[Cell, Judged]:
    """Judge and write every cell; what several seeds share (all training patients, no fold) is fitted once."""
    places = {id(entry): place for place, entry in enumerate(entries)}
    draws = {
        (fraction, fold, seed): _draw(listed, places, fraction, fold, seed)
        for fraction, fold, seed in itertools.product(
            request.fractions or (None,), request.folds or (None,), request.seeds
        )
    }
    cells = [
        Cell(model, head, seed, fold, fraction)
        for head in request.heads
        for (fraction, fold, seed) in draws
        for model in range(len(models))
    ]
    own = [(cell.model, cell.head, draws[cell.fraction, cell.fold, cell.seed]) for cell in cells]
    keys = [(model, head, draw.key) for model, head, draw in own]
    work = dict(zip(keys, own, strict=True))
    found = dict(zip(work, pool.judged(models, labels, list(work.values())), strict=True))
    results = {}
    told = [_source_probes(model, listed, entries) for model in models]
    for cell, (_, _, draw), key in zip(cells, own, keys, strict=True):
        model, record = models[cell.model], replace(common, source_probes=told[cell.model])
        write(request.out / CELLS / cell.name(model), cell, model, draw, found[key], record)
        results[cell] = found[key]
    return results


def _source_probes(model: Embedded, listed: DataList, entries: Sequence[Entry]) -> tuple[Mapping[str, Any], ...]:
    """How far a start's features tell the sources within each class, as run.json holds it, and a line on the terminal
    for each; nothing where pictures have no one class."""
    if listed.task != "classification":
        return ()
    found = source_probes(model.values, entries, listed.classes)
    for each in found:
        ends = f" ({each.low:.3f} to {each.high:.3f})" if np.isfinite(each.low) else ""
        tell(
            f"{model.word}: features tell the sources of {each.label} ({', '.join(each.sources)}) with AUC "
            f"{each.auc:.3f}{ends}"
        )
    defined = [{key: None if value != value else value for key, value in asdict(each).items()} for each in found]
    return tuple(defined)


def _draw(listed: DataList, places: dict[int, int], fraction: float | None, fold: int | None, seed: int) -> Draw:
    """A data list with a fold and a share of its training patients, as ``medtl compare`` draws them."""
    own = datalist.with_fraction(datalist.with_fold(listed, fold), 1.0 if fraction is None else fraction, seed)
    rows = {
        short: np.array([places[id(entry)] for entry in own.split(short)], dtype=np.int64)
        for short in datalist.SHORT_NAMES.values()
    }
    return Draw(own, rows)


def _device(wanted: str | None) -> str:
    """The device that computes, if it is there."""
    import torch

    if wanted is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {wanted} cannot be used: {str(error).strip().splitlines()[0]}") from None
    return wanted
