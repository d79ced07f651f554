"""The tasks of the Medical Segmentation Decathlon before a file of theirs is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from data_prep.windows import LUNG, SOFT_TISSUE


@dataclass(frozen=True)
class MsdTask:
    """One task as key slices: any foreground label counts as the organ.

    Attributes:
        number: the NN of the official folder ``TaskNN_*``.
        organ: class name of its key slices.
        modality: "CT" or "MR"; decides the scaling to 8 bit.
        channels: channel names of the 4-D image, in file order; one name for a 3-D image.
        window: (centre, width) in HU for CT, None for MR.
        key_slices: default rule; the area fractions of brain and prostate give the CPMID paper's slices a case, the
            others are not calibrated.
    """

    number: int
    organ: str
    modality: str
    channels: tuple[str, ...]
    window: tuple[float, float] | None = None
    key_slices: str = "area:0.90"


MSD_TASKS: Mapping[int, MsdTask] = MappingProxyType(
    {
        task.number: task
        for task in (
            MsdTask(1, "Brain", "MR", ("FLAIR", "T1w", "T1gd", "T2w"), None, "area:0.93"),
            MsdTask(2, "Heart", "MR", ("MR",)),
            MsdTask(3, "Liver", "CT", ("CT",), SOFT_TISSUE),
            MsdTask(4, "Hippocampus", "MR", ("T1w",)),
            MsdTask(5, "Prostate", "MR", ("T2", "ADC"), None, "area:0.77"),
            MsdTask(6, "Lung", "CT", ("CT",), LUNG),
            MsdTask(7, "Pancreas", "CT", ("CT",), SOFT_TISSUE),
            MsdTask(8, "Hepatic Vessel", "CT", ("CT",), SOFT_TISSUE),
            MsdTask(9, "Spleen", "CT", ("CT",), SOFT_TISSUE),
            MsdTask(10, "Colon", "CT", ("CT",), SOFT_TISSUE),
        )
    }
)
