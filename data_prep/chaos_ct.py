"""CHAOS's CT alone, for pretraining a segmentation: slices with masks of the liver, cases of healthy donors."""

from dataclasses import replace
from pathlib import Path

from data_prep import chaos, masked
from data_prep.sample import chaos as phantoms
from data_prep.work import Done, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import UsageError
from medtl.readers.find import below, left_over

CARD = DatasetCard(
    name="chaos_ct",
    title="CHAOS, CT: the liver",
    task="segmentation",
    classes=("liver",),
    licence="CC BY-NC-SA 4.0 (non-commercial)",
    citation="Kavur et al., CHAOS Challenge: combined (CT-MR) healthy abdominal organ segmentation, Medical Image"
    " Analysis 2021",
    url="https://chaos.grand-challenge.org/",
    how_to_get="Follow the data link of the challenge's page; unzip Train_Sets (the test sets have no ground truth).",
    disk_gb=None,
    layout="CT/NN/{DICOM_anon,Ground}/, as in Train_Sets",
    seen=False,
)
MODALITY = "CT"


def find(raw: Path) -> Source:
    """Return the work of a CHAOS download's CT; its MR, which ``chaos`` prepares, is passed over.

    Raises:
        UsageError: no CT case with ground truth.
    """
    both = chaos.find(raw)
    works = tuple(work for work in both.works if work.payload[0].modality == MODALITY)
    rejected = tuple(row for row in both.rejected if MODALITY in Path(row.file).parts)
    if not works and not rejected:
        raise UsageError(f"{raw} holds no CT case of CHAOS with ground truth: expected {CARD.layout}")
    used = [path.relative_to(raw).as_posix() for work in works for path in work.files]
    return replace(
        both,
        name=CARD.name,
        works=works,
        process=process,
        found={"liver": len(works)},
        rejected=rejected,
        passed=left_over(below(raw), used, [row.file for row in rejected], _why),
        folds=0,
    )


def _why(name: str) -> str:
    return "of the MR cases" if "MR" in Path(name).parts else "of cases without ground truth, or of other kinds"


def process(work: Work, raw: Path, out: Path) -> Done:
    """Process one case as ``chaos`` does. Patients keep the names that they have there, so that lists of both know each
    other's; the sequence, of which there is one, is left out."""
    done = chaos.process(work, raw, out)
    for entry in done.entries:
        del entry["sequence"]
        entry["source"] = CARD.name
    return done


command = masked.command_of(CARD, find, 0.2)


def make_sample(folder: Path) -> None:
    """Draw the phantoms of ``chaos``."""
    phantoms.make(folder, 0)
