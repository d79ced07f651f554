"""What the inference of a segmentation leaves behind: masks on the grids of their sources."""

import errno
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from medtl.data.slices import Case
from medtl.data.volumes import REJECTED, Source, Volumes
from medtl.errors import BadFileError, MedtlError, PartlyRejected, tell
from medtl.files import write_csv
from medtl.readers.find import Refused
from medtl.transforms.components import check, postprocessed
from medtl.writers.images import write_png
from medtl.writers.masks import side_by_side, write_chaos_pngs, write_nifti
from medtl.writers.tables import write_rejected

# CHAOS's own folders: MR/<case>/<sequence>/…; of T1-DUAL the phases share one result, which the in-phase gives
CHAOS_FOLDER = re.compile(r"(?:^|/)MR/(\d+)/(T1DUAL|T2SPIR)(?:/|$)")
NAME_ERRORS = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}  # of names that the output folder cannot have
OUT_OF_PHASE = re.compile(r"out", re.IGNORECASE)


class SaveMasks:
    """Evaluator handler of an inference: masks, overlays, and ``predictions.csv`` with the organs' volumes.

    Args:
        output_dir: where to write.
        data: what is predicted on.
        organs: names in index order.
        formats: of ``medtl.bundles.segmentations.SAVES``; PNG and SEG are for DICOM sources only.
        postprocess: see ``medtl.transforms.components``.
        decoder, backbone: names of the network's parts, which a DICOM segmentation states.

    Raises:
        UsageError: no such post-processing.
    """

    def __init__(
        self,
        output_dir: str,
        data: Volumes,
        organs: Sequence[str],
        formats: Sequence[str],
        postprocess: str = "none",
        decoder: str = "",
        backbone: str = "",
    ) -> None:
        check(postprocess)
        self.folder = Path(output_dir)
        self.data = data
        self.organs = tuple(organs)
        self.formats = tuple(formats)
        self.postprocess = postprocess
        self.network = " on ".join(filter(None, (decoder, backbone))) or "network not stated"

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose predicted slices are attached already."""
        engine.add_event_handler(Events.COMPLETED, self._save)

    def _save(self, engine: Engine) -> None:
        if idist.get_rank():
            return
        rows: list[list[str]] = [["case", "patient", "split", *(f"ml_{organ}" for organ in self.organs)]]
        refused = list(self.data.refused)
        for source, case in zip(self.data.sources, self.data.cases, strict=True):
            displayed = postprocessed(case.volume(engine.state.slices), len(self.organs), self.postprocess)
            labels = source.stored(displayed)
            if labels.shape != source.shape:
                raise AssertionError(f"mask of shape {labels.shape} for a volume of shape {source.shape}")
            writes = [partial(self._write, form, source, labels) for form in self.formats]
            faults = [_fault(write) for write in (*writes, partial(self._overlay, case, displayed))]
            if any(faults):
                refused.append(Refused(source.name, "; ".join(dict.fromkeys(filter(None, faults)))))
            counts = np.bincount(labels.ravel(), minlength=len(self.organs) + 1)[1:]
            volumes = [f"{count * source.millilitres:.7g}" for count in counts]
            rows.append([source.name, "", "inference", *volumes])
        write_csv(self.folder / "predictions.csv", rows)
        tell(f"masks of {len(self.data.sources)} volumes in {self.folder} (not for clinical use)")
        if refused:
            self._reject(refused)

    def _reject(self, refused: Sequence[Refused]) -> None:
        """Name what could not be used or written.

        Raises:
            PartlyRejected: always.
        """
        write_rejected(self.folder / REJECTED, refused)
        file, reason = refused[0]
        raise PartlyRejected(f"{len(refused):,} rejected, each named in {REJECTED}; the first: {file} {reason}")

    def _write(self, form: str, source: Source, labels: NDArray[np.uint8]) -> None:
        if form == "nifti":
            path = self.folder / "masks" / f"{source.name}.nii.gz"
            write_nifti(path, labels, source.affine, source.header)
        elif source.series is None:
            raise BadFileError(f"cannot have a mask as {form}: it is no DICOM")
        elif form == "dicom_png":
            write_chaos_pngs(self.folder / results_folder(source), labels, source.files)
        else:
            from medtl.writers.dicom_seg import write_seg

            frames = [header.frame for header in source.series.headers]
            apart = float(np.linalg.norm(source.affine[:3, 2]))
            path = self.folder / "seg" / f"{source.name}.dcm"
            write_seg(path, labels, source.files, self.organs, frames, apart, self.network)

    def _overlay(self, case: Case, displayed: NDArray[np.uint8]) -> None:
        """The slice with the most organ, plain and painted."""
        number = int(np.argmax((displayed > 0).sum(axis=(0, 1))))
        panels = side_by_side(self.data.pictures[case.index[number]], [displayed[:, :, number].T])
        write_png(self.folder / "overlays" / f"{case.name}.png", panels)


def _fault(write: Callable[[], None]) -> str:
    """Call it; why its file could not be written, if that is this case's own fault, and empty otherwise: one case never
    takes the others with it."""
    try:
        write()
    except MedtlError as error:
        return str(error)
    except OSError as error:
        if error.errno not in NAME_ERRORS:
            raise
        return f"cannot be written under its name: {error.strerror}"
    return ""


def results_folder(source: Source) -> str:
    """Return where CHAOS wants a case's pictures: ``Task5/MR/<case>/<sequence>/Results`` if its files lie in CHAOS's
    folders; otherwise ``png/<name>``."""
    folder = source.files[0].parent.resolve().as_posix() if source.files else ""
    match = CHAOS_FOLDER.search(folder)
    if match is None or OUT_OF_PHASE.search(folder[match.end() :]):
        return f"png/{source.name}"
    return f"Task5/MR/{match[1]}/{match[2]}/Results"
