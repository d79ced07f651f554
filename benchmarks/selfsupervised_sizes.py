"""Probed starts that learnt without labels: the table and the figure of docs/analysing.md."""

from collections.abc import Mapping
from pathlib import Path

from starts_fractions import RANDOM, Probed, gain_of, probed

IMAGENET = "imagenet"


def lines(targets: Mapping[str, Path]) -> list[str]:
    """Return the table in Markdown: one row a target and start, with its gains over random and ImageNet's weights.

    Args:
        targets: name of each and the folder of its probe.

    Raises:
        MedtlError: a folder holds no finished probe.
    """
    made = ["| probed on | start | test AUC (95 %) | less random | less ImageNet |", "|---|---|---|---|---|"]
    for name, folder in targets.items():
        than_imagenet = {each.init: each for each in probed(folder, IMAGENET)}
        for each in probed(folder):
            auc = f"{each.auc.value:.3f} ({each.auc.low:.3f}–{each.auc.high:.3f})"
            made.append(f"| {name} | {each.init} | {auc} | {gain_of(each)} | {gain_of(than_imagenet[each.init])} |")
    return made


def draw(targets: Mapping[str, Path], pictures: Mapping[str, int], path: Path) -> bool:
    """Draw test AUC over the pictures that a start learnt from, one panel a target, with 95 % intervals; random and
    ImageNet's weights are lines across.

    Args:
        targets: name of each and the folder of its probe.
        pictures: start to the number of pictures it learnt from.
        path: of the image.

    Returns:
        False where no probe has two such starts; nothing is written then.
    """
    found = {name: {each.init: each for each in probed(folder)} for name, folder in targets.items()}
    if not any(len(starts.keys() & pictures.keys()) > 1 for starts in found.values()):
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(found), figsize=(4.2 * len(found), 3.4), sharey=True, squeeze=False)
    for panel, (name, starts) in zip(panels[0], found.items(), strict=True):
        own = [starts[init] for init in sorted(pictures.keys() & starts.keys(), key=lambda init: pictures[init])]
        counts = [pictures[each.init] for each in own]
        value, ends = [each.auc.value for each in own], _ends(own)
        panel.errorbar(counts, value, yerr=ends, marker="o", color="C0", capsize=3, label="masked pictures")
        for place, init in enumerate((RANDOM, IMAGENET), 1):
            if init in starts:
                panel.axhline(starts[init].auc.value, color=f"C{place}", linestyle="--", label=init)
        panel.set_xscale("log")
        panel.set_xticks(counts, [f"{count:,}" for count in counts], minor=False)
        panel.minorticks_off()
        panel.set_title(name, fontsize=10)
        panel.set_xlabel("pictures learnt from, without labels", fontsize=8)
    panels[0][0].set_ylabel("test AUC of the probe")
    panels[0][0].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True


def _ends(starts: list[Probed]) -> list[list[float]]:
    return [[each.auc.value - each.auc.low for each in starts], [each.auc.high - each.auc.value for each in starts]]
