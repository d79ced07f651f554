"""Probed starts over shares of the training patients: the table and the figure of docs/transfer_study.md. What is read
here also goes into the table of ``selfsupervised_sizes.py``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medtl.errors import MedtlError
from medtl.report.arms import study
from medtl.report.collect import collect
from medtl.report.compare import Comparison
from medtl.report.page import evaluate
from medtl.report.scores import Estimate

RANDOM = "random"


@dataclass(frozen=True, eq=False)
class Probed:
    """A start on one share of a set's training patients.

    Attributes:
        network, init: the start.
        share: of the training patients.
        auc: of the test split, mean of the seeds, with its interval of patients and draws.
        gain: over the reference, another start of the same network; None for the reference itself.
    """

    network: str
    init: str
    share: float
    auc: Estimate
    gain: Comparison | None


def probed(folder: Path, reference: str = RANDOM) -> list[Probed]:
    """Read the cells of the probes below a folder, the largest share first.

    Raises:
        MedtlError: there is none.
    """
    results = evaluate(study(collect(folder)), reference, "auc")
    gains = {(each.row, each.init): each for each in results.found}
    found = [
        Probed(arm.arm.backbone, init, arm.arm.fraction, arm.estimate("auc"), gains.get((row, init)))
        for (row, init), arm in results.scored.items()
    ]
    if not found:
        raise MedtlError(f"{folder} holds no finished probe")
    return sorted(found, key=lambda each: (-each.share, each.network, each.init != RANDOM, each.init))


def lines(sets: Mapping[str, Sequence[Probed]]) -> list[str]:
    """Return the table in Markdown: one row a set, share and network, random weights first, then each gain."""
    inits = list(dict.fromkeys(each.init for rows in sets.values() for each in rows if each.init != RANDOM))
    head = ["set", "share", "network", RANDOM, *(f"{init} less random" for init in inits)]
    made = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, rows in sets.items():
        for share, network in dict.fromkeys((each.share, each.network) for each in rows):
            own = {each.init: each for each in rows if (each.share, each.network) == (share, network)}
            cells = [name, f"{share:g}", network.rpartition("/")[2], _auc(own.get(RANDOM))]
            made.append("| " + " | ".join([*cells, *(gain_of(own.get(init)) for init in inits)]) + " |")
    return made


def _auc(found: Probed | None) -> str:
    return "–" if found is None else f"{found.auc.value:.3f}"


def gain_of(found: Probed | None) -> str:
    """Return a gain with its interval, bold where p is below 0.05 after Holm over the comparisons of the set."""
    if found is None or found.gain is None:
        return "–"
    by = found.gain.difference
    shown = f"{by.value:+.3f} ({by.low:+.3f} to {by.high:+.3f})".replace("-", "−")
    return f"**{shown}**" if found.gain.real else shown


def draw(sets: Mapping[str, Sequence[Probed]], path: Path) -> None:
    """Draw test AUC over the share of the training patients, one panel a set, one line a start, with intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    starts = list(dict.fromkeys((each.network, each.init) for rows in sets.values() for each in rows))
    figure, panels = pyplot.subplots(1, len(sets), figsize=(3.1 * len(sets), 3.4), sharey=True, squeeze=False)
    for panel, (name, rows) in zip(panels[0], sets.items(), strict=True):
        shares = sorted({each.share for each in rows})
        for place, (network, init) in enumerate(starts):
            own = sorted((e for e in rows if (e.network, e.init) == (network, init)), key=lambda each: each.share)
            if not own:
                continue
            across = [shares.index(each.share) + 0.06 * (place - len(starts) / 2) for each in own]
            value = [each.auc.value for each in own]
            ends = [[each.auc.value - each.auc.low for each in own], [each.auc.high - each.auc.value for each in own]]
            panel.errorbar(
                across, value, yerr=ends, marker="os^Dv"[place % 5], linestyle="--" if init == RANDOM else "-",
                color=f"C{place}", markersize=4, linewidth=1, label=f"{network.rpartition('/')[2]}, {init}",
            )  # fmt: skip
        panel.set_xticks(range(len(shares)), [f"{share:g}" for share in shares])
        panel.set_title(name, fontsize=10)
        panel.set_xlabel("share of the training patients", fontsize=8)
    panels[0][0].set_ylabel("test AUC of the probe")
    shown = {}
    for panel in panels[0]:
        handles, labels = panel.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), shown.keys(), loc="lower center", ncols=len(shown), fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
