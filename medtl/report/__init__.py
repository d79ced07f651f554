"""The report of finished runs: ``medtl.report(folder)`` and the package behind it.

The package itself can be called: a function of its name in ``medtl`` would be replaced by the package as soon as a
module of it is imported.
"""

import sys
from pathlib import Path
from types import ModuleType


class _Report(ModuleType):
    def __call__(
        self,
        folder: str | Path,
        *,
        baseline: str | None = None,
        metric: str | None = None,
        title: str | None = None,
        groups: str = "",
        facts: bool = False,
        dataset_dir: str | Path | None = None,
    ) -> tuple[Path, ...]:
        """Write report.html, report.md and report.csv of all runs in or below a folder, into it.

        Args:
            folder: a run, a grid of ``medtl compare``, or any folder above runs.
            baseline: start that the others are compared with; by default random where there is one.
            metric: that is compared and drawn; by default AUC, or mean IoU.
            title: of the report; by default the data set's name.
            groups: what patients are told apart by, such as ``sex,age:40:65,site``: keys of ``group`` in the data list.
            facts: add what the runs know of the things that a manuscript must say.
            dataset_dir: where the data list lies, for ``groups``; by default where the runs had it.

        Returns:
            The files.

        Raises:
            UsageError: there are no runs, or no such start, metric, group or data list.
            MedtlError: runs contradict themselves or each other.
        """
        from medtl.report.build import write_report

        place = Path(dataset_dir) if dataset_dir is not None else None
        return write_report(Path(folder), baseline, metric, title, groups=groups, facts=facts, dataset_dir=place)


sys.modules[__name__].__class__ = _Report
