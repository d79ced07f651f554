"""What a probe shows: a table of starts, and transferability.csv."""

import math

from medtl.compare.plan import short_init
from medtl.features.probe import Probed
from medtl.features.ranking import higher_is_better, rank_correlation
from medtl.files import write_csv

FILE_NAME = "transferability.csv"
DIGITS = 6


def correlations(probed: Probed) -> tuple[float, float]:
    """Return Spearman's rank correlations of LogME, and of neighbourhood purity, with what was measured on the test
    split (on validation where there is none), over the starts; NaN with fewer than three."""
    measured = _measured(probed)
    own = [probed.scores[model] for model in measured]
    results = list(measured.values())
    return (
        rank_correlation([each.logme for each in own], results),
        rank_correlation([each.knn_purity for each in own], results),
    )


def write_transferability(probed: Probed) -> None:
    """Write transferability.csv: a row a start, and one with the rank correlations."""
    measured = f"test_{probed.metric}" if _has_test(probed) else f"val_{probed.metric}"
    columns = ("backbone", "init", "logme", "knn_purity", *dict.fromkeys((f"val_{probed.metric}", measured)))
    rows: list[tuple[object, ...]] = [columns]
    for standing in probed.standings:
        model, scores = probed.models[standing.model], probed.scores[standing.model]
        values = [scores.logme, scores.knn_purity, standing.validation, *([standing.test] if _has_test(probed) else [])]
        rows.append((model.backbone, short_init(model.init), *map(_number, values)))
    blank = [""] * (len(columns) - 4)
    rows.append(("Spearman", f"with {measured}", *map(_number, correlations(probed)), *blank))
    write_csv(probed.folder / FILE_NAME, rows)


def text(probed: Probed) -> str:
    """Return the starts as a table for a terminal, the best on validation first, and the rank correlations."""
    metric = probed.metric
    head = ["start", f"val_{metric}", f"test_{metric}", "LogME", "kNN purity", "embedding"]
    lines = [head]
    for standing in probed.standings:
        model, scores = probed.models[standing.model], probed.scores[standing.model]
        figures = (standing.validation, standing.test, scores.logme, scores.knn_purity)
        took = f"{model.seconds:.1f} s" if model.seconds else "–"
        lines.append([model.word, *(f"{value:.3f}" if math.isfinite(value) else "–" for value in figures), took])
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    shown = [
        "  ".join(field.ljust(width) if not place else field.rjust(width) for place, (field, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    ]
    logme, purity = correlations(probed)
    if math.isfinite(logme) or math.isfinite(purity):
        shown.append(
            f"rank correlation with the measured result: LogME {_shown(logme)}, kNN purity {_shown(purity)} (Spearman,"
            f" {len(probed.standings)} starts); such scores are known to fail on medical sets, and choose nothing here"
        )
    return "\n".join(shown)


def _measured(probed: Probed) -> dict[int, float]:
    """Start to its result on test, or validation; of an error less is better, so its negative."""
    sign = 1 if higher_is_better(probed.metric) else -1
    return {s.model: sign * (s.test if _has_test(probed) else s.validation) for s in probed.standings}


def _has_test(probed: Probed) -> bool:
    return any(math.isfinite(standing.test) for standing in probed.standings)


def _number(value: float) -> str:
    return f"{value:.{DIGITS}f}" if math.isfinite(value) else ""


def _shown(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else "–"
