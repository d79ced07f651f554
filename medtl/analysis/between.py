"""Distances between prepared data sets: cmd and brightness, and in named feature spaces Fréchet, MMD and kNN purity."""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

from medtl.analysis import affine, distances, embedding
from medtl.analysis.pictures import Drawn, draw
from medtl.analysis.subject import told_apart
from medtl.errors import UsageError

Matrix = NDArray[np.float64]
NEIGHBOURS = 10
LEAST = 4  # pictures: two halves of two


@dataclass(frozen=True)
class Settings:
    """What the figures depend on.

    Attributes:
        images: at most so many of each set.
        image_size: rows and columns, in pixels.
        seeds: of the untrained networks of cmd.
        subsets, pictures: t and n of cmd: how many subsets a set is seen as, and of how many pictures at most.
    """

    images: int = 200
    image_size: int = 64
    seeds: tuple[int, ...] = tuple(range(10))
    subsets: int = 20
    pictures: int = 50


@dataclass(frozen=True, eq=False)
class InSpace:
    """Distances in one feature space, all (sets, sets).

    Attributes:
        name: of the space.
        trained_on: data sets that its weights have seen, where that is known.
        frechet, mmd: symmetric; on the diagonal one half of a set from the other.
        purity: shares of the nearest neighbours, row by row.
        neighbours: of a picture.
        pictures: of each set among which neighbours were looked for.
    """

    name: str
    trained_on: tuple[str, ...]
    frechet: Matrix
    mmd: Matrix
    purity: Matrix
    neighbours: int
    pictures: int


@dataclass(frozen=True, eq=False)
class Distances:
    """What was measured.

    Attributes:
        names: of the sets, in order.
        sets: their pictures.
        reference: name of the set whose intra-cmd is the unit.
        settings: what the figures depend on.
        cmv: initialisation to set to coordinates (subsets, 2), of the first seed.
        cmd, cmd_sd: mean and standard deviation over initialisations and seeds, (sets, sets).
        by_initialisation: the mean over seeds, of each.
        brightness: absolute difference of the mean grey values 0..1, (sets, sets).
        spaces: distances in feature spaces.
    """

    names: tuple[str, ...]
    sets: tuple[Drawn, ...]
    reference: str
    settings: Settings
    cmv: dict[str, dict[str, Matrix]]
    cmd: Matrix
    cmd_sd: Matrix
    by_initialisation: dict[str, Matrix]
    brightness: Matrix
    spaces: tuple[InSpace, ...]

    def measures(self) -> dict[str, Matrix]:
        """Return every symmetric measure by its name."""
        found = {"cmd": self.cmd, **{f"cmd, {name}": each for name, each in self.by_initialisation.items()}}
        for space in self.spaces:
            found |= {f"Fréchet ({space.name})": space.frechet, f"MMD² ({space.name})": space.mmd}
        return found


@dataclass(frozen=True)
class Follows:
    """How a distance goes with the difference in brightness, over all pairs of different sets.

    Attributes:
        measure: its name.
        pearson, spearman: correlations; NaN for fewer than three pairs, or where one side is constant.
        pairs: how many.
    """

    measure: str
    pearson: float
    spearman: float
    pairs: int


def measure(
    folders: Sequence[Path],
    reference: Path | None,
    backbone: str,
    inits: Sequence[str],
    settings: Settings,
    tell: Callable[[str], None] = lambda line: None,
) -> Distances:
    """Return the distances between prepared data sets.

    Args:
        folders: that data_prep wrote, at least two with the reference.
        reference: the set whose own spread is the unit of cmd, added where it is not among them; by default the first.
        backbone, inits: of the feature spaces, one for each start.
        settings: what the figures depend on.
        tell: is given a line about what is done.

    Raises:
        UsageError: fewer than two different folders, or a set of fewer than four pictures.
        MedtlError: a picture or weights cannot be read.
    """
    chosen = list({path.resolve(): path for path in (*folders, *([reference] if reference else []))}.values())
    if len(chosen) < 2:
        raise UsageError("distances need two different data sets at least; name several folders")
    if len(settings.seeds) < 1:
        raise UsageError("--seeds names no seed")
    spaces = [embedding.space(backbone, init, settings.image_size) for init in inits]
    apart = told_apart([space.name for space in spaces], inits)
    spaces = [replace(space, name=name) for space, name in zip(spaces, apart, strict=True)]
    drawn = [draw(path, settings.images, settings.image_size) for path in chosen]
    names = unique_names([each.name for each in drawn], chosen)
    for name, each in zip(names, drawn, strict=True):
        if len(each.pixels) < LEAST:
            raise UsageError(f"{name} has {len(each.pixels)} pictures to draw from; expected at least {LEAST}")
        tell(f"{name}: {len(each.pixels):,} of {each.available:,} pictures, mean grey value {each.brightness:.3f}")
    unit = names[[path.resolve() for path in chosen].index((reference or chosen[0]).resolve())]
    by_seed = {}
    for init in affine.INITIALISATIONS:
        tell(f"cmd under {init} initialisation, {len(settings.seeds)} seed(s)")
        by_seed[init] = _coordinates(init, names, drawn, settings)
    scaled = {init: affine.rescaled(found, unit) for init, found in by_seed.items()}
    every = np.concatenate(list(scaled.values()))
    grey = np.array([each.brightness for each in drawn])
    return Distances(
        names=names,
        sets=tuple(drawn),
        reference=unit,
        settings=settings,
        cmv={init: found[0] for init, found in by_seed.items()},
        cmd=every.mean(0),
        cmd_sd=every.std(0, ddof=1) if len(every) > 1 else np.zeros_like(every[0]),
        by_initialisation={init: each.mean(0) for init, each in scaled.items()},
        brightness=np.abs(grey[:, None] - grey),
        spaces=tuple(in_space(space, drawn) for space in spaces),
    )


def unique_names(names: Sequence[str], folders: Sequence[Path]) -> tuple[str, ...]:
    """Return a different name for each set: what its data list says, with the folder's name or a number behind it where
    several say the same.

    Args:
        names: of the data lists.
        folders: that hold them.
    """
    often = Counter(names)
    first = [
        name if often[name] == 1 else f"{name} ({folder.resolve().name})"
        for name, folder in zip(names, folders, strict=True)
    ]
    again = Counter(first)
    return tuple(name if again[name] == 1 else f"{name} {place}" for place, name in enumerate(first, 1))


def _coordinates(
    init: str, names: Sequence[str], drawn: Sequence[Drawn], settings: Settings
) -> list[dict[str, Matrix]]:
    """For each seed the coordinates of each set under one initialisation."""
    found = []
    for seed in settings.seeds:
        network = affine.affine_network(init, seed, settings.image_size)
        of_sets = {}
        for name, each in zip(names, drawn, strict=True):
            chosen = affine.subsets(len(each.pixels), settings.subsets, settings.pictures, seed)
            of_sets[name] = affine.coordinates(affine.outputs(network, each.pixels), chosen)
        found.append(of_sets)
    return found


def in_space(space: embedding.Space, drawn: Sequence[Drawn]) -> InSpace:
    """Return the distances of sets in one feature space.

    Args:
        space: of ``embedding.space``.
        drawn: the sets.
    """
    network = embedding.build(space)
    features = [embedding.embed(space, each.pixels, network) for each in drawn]
    size = min(map(len, features))
    k = min(NEIGHBOURS, size - 1)
    width = distances.bandwidth(features)
    return InSpace(
        space.name,
        space.start.trained_on,
        distances.matrix_of(features, distances.frechet),
        distances.matrix_of(features, functools.partial(distances.mmd, width=width)),
        distances.neighbours(features, k),
        k,
        size,
    )


def follows_brightness(found: Distances) -> list[Follows]:
    """Return how every measure goes with the difference in brightness."""
    apart = distances.pairs(found.brightness)
    rows = []
    for name, matrix in found.measures().items():
        own = distances.pairs(matrix)
        pearson = spearman = float("nan")
        if len(own) > 2 and np.ptp(own) > 0 and np.ptp(apart) > 0:
            pearson, spearman = float(pearsonr(apart, own).statistic), float(spearmanr(apart, own).statistic)
        rows.append(Follows(name, pearson, spearman, len(own)))
    return rows
