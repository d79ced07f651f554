"""run.json, read and written in one place: what a run was, with every fact as it was known when the run knew it.

No torch: reports and grids read it. Records of earlier versions, which say less, are read by ``earlier``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from medtl.errors import MedtlError, UsageError
from medtl.files import read_object, write_json
from medtl.runs.earlier import brought_up

FILE_NAME = "run.json"
CHECKPOINTS = "checkpoints"  # folder within a run's
RUNNING, FINISHED, INTERRUPTED, FAILED = STATUSES = ("running", "finished", "interrupted", "failed")
PROBE = "probe"  # named as the bundle of a run that put a head on frozen features
NOTICE = "not for clinical use"
ALWAYS = ("bundle", "command", "config", "overrides", "task", "network", "preprocessing", "start", "data", "versions")

T = TypeVar("T")


@dataclass(frozen=True)
class Bundle:
    """The bundle that was run.

    Attributes:
        name: of its folder.
        version: from its metadata.
    """

    name: str = ""
    version: str = ""


@dataclass(frozen=True)
class Data:
    """The data list that was used.

    Attributes:
        name: of the data set.
        sha256: of datalist.json.
        classes: names in index order; of a segmentation without the background.
        channels: of the pictures, 1 (grey) or 3.
        sample: the built-in phantoms.
        entries: training, validation and test to their numbers of entries.
        sources: of the entries.
        training_images: entries a class.
        licence: of the images.
        overlaps: what its splits share, a sentence each; None where nobody looked.
        positive: the class of two from whose side the list tells sensitivity; empty where it names none.
    """

    name: str = ""
    sha256: str = ""
    classes: tuple[str, ...] = ()
    channels: int = 1
    sample: bool = False
    entries: Mapping[str, int] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    training_images: Mapping[str, int] = field(default_factory=dict)
    licence: str = ""
    overlaps: tuple[str, ...] | None = None
    positive: str = ""


@dataclass(frozen=True)
class Preprocessing:
    """What was done to a validation picture before the network saw it.

    Attributes:
        image_size: rows and columns, in pixels.
        channels: of the pictures, 1 (grey, repeated to the network's) or 3.
        mean, std: subtracted and divided by, a channel of the network, for values 0..1.
        by: "packed", "slices", "patches" of pictures at their own sizes, or "transforms" for MONAI's, picture by
            picture.
        resize: the interpolation, "none" of patches.
        rounded: the resized values are whole numbers.
        scale: that values are divided by, to lie in 0..1.
        percentiles: of a volume's values, between which its slices become 8-bit grey; None for pictures.
        problem: why a released bundle cannot repeat it; empty where it can.
    """

    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    by: str = "packed"
    resize: str = "area"
    rounded: bool = True
    scale: float = 255.0
    percentiles: tuple[float, float] | None = None
    problem: str = ""


@dataclass(frozen=True)
class Start:
    """What the network started from.

    Attributes:
        init: the word or, for a path, the file's name.
        file: name of the file; None for a random start.
        sha256: of the file; empty for a random start.
        coverage: share of the trunk's parameters that came from there.
        used: share of the file's trunk that was taken; None where nothing was loaded.
        licence: of the weights.
        trained_on: names of the data sets that they have seen.
        mean, std: of the input, as they expect it; None where nobody said.
        decoder: share of a segmentation's decoder that came from there; None where the file holds none.
    """

    init: str = ""
    file: str | None = None
    sha256: str = ""
    coverage: float = 0.0
    used: float | None = None
    licence: str = ""
    trained_on: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    decoder: float | None = None


@dataclass(frozen=True)
class RunRecord:
    """What run.json says. What a record does not say is None, or empty.

    Attributes:
        status: "running", "finished", "interrupted" or "failed".
        bundle: which one.
        command: the words after ``python -m monai.bundle`` that make this run.
        config_files: names of the configs, in the order in which they override each other.
        overrides: id to value.
        config: the merged configs with the overrides, unevaluated.
        task: "classification", "multilabel", "segmentation" …; None where an early version did not record it.
        network: ``_target_`` and every argument, as values; ``image_size`` too.
        preprocessing: of the pictures.
        start: of the network; None where a recipe loads nothing.
        data: the data list.
        recipe: the hyperparameters by id, as values.
        seed: of the run.
        versions: package to version.
        device: in words.
        threads: that torch computed with.
        started: date and time of the first start, in UTC.
        resumed: when the run went on, and from which checkpoint; ``threads_before`` where it computed with another
            number of threads up to there.
        duration_s: seconds of all attempts together.
        times: seconds of the parts of a run by name: ``embed_s`` and ``head_s`` of a probe.
        head: what a probe put on the frozen features: ``name``, ``features`` (their number), and how it was fitted.
        source_probes: how far a probe's features tell where the pictures of a class come from, a mapping a class, as
            ``features.sources.SourceProbe``.
        epochs, best_epoch: trained, and kept.
        stopped: why training ended before its last epoch; empty where it did not.
        metrics: what was measured in the end.
        threshold: the operating point: positive, positive_class, rule, value.
        test: how the test split was used, in words.
        evaluated_split: of an evaluation.
        external: of an external validation: the run that it is of, and what was fixed there.
    """

    status: str
    bundle: Bundle = Bundle()
    command: tuple[str, ...] = ()
    config_files: tuple[str, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    task: str | None = None
    network: Mapping[str, Any] | None = None
    preprocessing: Preprocessing | None = None
    start: Start | None = None
    data: Data | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    threads: int | None = None
    started: str = ""
    resumed: tuple[Mapping[str, str], ...] = ()
    duration_s: float | None = None
    times: Mapping[str, float] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)
    source_probes: tuple[Mapping[str, Any], ...] = ()
    epochs: int | None = None
    best_epoch: int | None = None
    stopped: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    threshold: Mapping[str, Any] | None = None
    test: str = ""
    evaluated_split: str = ""
    external: Mapping[str, Any] | None = None

    @property
    def backbone(self) -> str | None:
        """Return the name of the network's trunk; None where the record names none."""
        named = (self.network or {}).get("backbone") or self.recipe.get("backbone")
        return str(named) if named else None

    @property
    def positive_class(self) -> str:
        """Return the class of two from whose side the run is told; empty where it names none."""
        named = (self.threshold or {}).get("positive_class") or self.recipe.get("positive_class")
        return str(named or (self.data.positive if self.data else ""))

    @property
    def is_probe(self) -> bool:
        """Return whether a head was put on frozen features, and nothing of the network trained."""
        return self.bundle.name == PROBE

    @property
    def image_size(self) -> int | None:
        """Return the rows and columns that the network was trained on; None where nothing says."""
        if self.preprocessing is not None:
            return self.preprocessing.image_size
        return (self.network or {}).get("image_size") or self.recipe.get("image_size")

    @property
    def normalisation(self) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
        """Return the mean and SD that the network's pictures came with; None where nothing says."""
        said = self.preprocessing or self.start
        return (said.mean, said.std) if said is not None else (None, None)

    def write(self, folder: Path) -> None:
        """Write ``folder/run.json``, whole or not at all; what is not known is left out."""
        known = asdict(self).items()
        content = {key: value for key, value in known if key in ALWAYS or value not in (None, "", (), {})}
        if self.start is not None and self.start.mean is None:  # nobody said: no key, rather than a null
            content["start"] = {key: value for key, value in content["start"].items() if key not in ("mean", "std")}
        write_json(folder / FILE_NAME, {**content, NOTICE: True})


def read(folder: Path) -> RunRecord:
    """Return what ``folder/run.json`` says, also one of an earlier version.

    Raises:
        UsageError: there is none.
        MedtlError: it cannot be read, or a field is not what it should be; names both.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise UsageError(f"{folder} holds no {FILE_NAME}; expected the folder of a run")
    content = brought_up(read_object(path))
    try:
        return _made(RunRecord, {"status": "", **content}, str(path))
    except (TypeError, ValueError, AttributeError) as error:
        raise MedtlError(f"{path} does not describe a run: {error}") from None


def find(folder: Path) -> RunRecord | None:
    """Return what ``folder/run.json`` says; None where there is none that can be read."""
    try:
        return read(folder)
    except MedtlError:
        return None


def folder_of(weights: Path) -> Path:
    """Return the folder that a run.json of weights would lie in: their own, of a run's checkpoint that of the run."""
    here = weights.absolute().parent
    return here.parent if here.name == CHECKPOINTS else weights.parent


PARTS: Mapping[str, type] = {"bundle": Bundle, "data": Data, "preprocessing": Preprocessing, "start": Start}
OBJECTS = (
    *("overrides", "config", "network", "recipe", "versions", "metrics", "threshold", "head", "times"),
    *("entries", "training_images", "external"),
)
LISTS = (
    *("command", "config_files", "resumed", "classes", "sources", "overlaps"),
    *("mean", "std", "trained_on", "percentiles", "source_probes"),
)


def _made(kind: type[T], content: Mapping[str, Any], where: str) -> T:
    """A data class from JSON; keys that it does not know are passed over, and null means not said.

    Raises:
        MedtlError: a part is of another kind.
    """
    found: dict[str, Any] = {}
    for name in (each.name for each in fields(kind)):  # type: ignore[arg-type]
        value = content.get(name)
        if value is None:
            continue
        if name in OBJECTS or name in PARTS:
            if not isinstance(value, dict):
                raise MedtlError(f"{where} has {name} {str(value)[:40]!r}; expected an object")
            found[name] = _made(PARTS[name], value, where) if name in PARTS else value
        elif name in LISTS:
            if not isinstance(value, list):
                raise MedtlError(f"{where} has {name} {str(value)[:40]!r}; expected a list")
            found[name] = tuple(value)
        else:
            found[name] = value
    return kind(**found)
