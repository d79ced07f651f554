"""What can be seen in the runs' own files of leaks between splits."""

from collections.abc import Sequence

from medtl.report.arms import Study
from medtl.report.collect import Run
from medtl.report.layout import Section
from medtl.report.words import count
from medtl.runs.record import Start


def leaks(study: Study) -> Section:
    """Return patients and images in two splits or folds, and how often the test split was opened; each check named."""
    runs = study.found.runs
    items = [_in_lists(runs), _shared(runs, "patient"), _shared(runs, study.unit)]
    if study.pooled:
        items.append(_between_folds(study))
    items.append(_seen_before(runs))
    items.append(_opened(study))
    items.append(("good", "All runs used the same data list, byte for byte."))
    paragraph = (
        "Checked in the files of the runs, which name no training image. medtl check DATASET_DIR looks at the pictures "
        "of all splits, and with --against PRETRAINING_DATA at what the pretraining has seen."
    )
    return Section("leaks", "Leak checks", paragraphs=[paragraph], items=items)


def _in_lists(runs: Sequence[Run]) -> tuple[str, str]:
    """What each run found in its data list, training images and all, before it began."""
    for run in runs:
        if shared := run.data.overlaps:
            return "bad", f"Data list of {run.name}: {'; '.join(map(str, shared))}."
    if all(run.data.overlaps == () for run in runs):
        return "good", "No patient and no file is in more than one split of the data list, as the runs found."
    return "plain", "Not every run says whether the splits of its data list share patients."


def found_leaks(section: Section) -> list[str]:
    """Return the checks that failed."""
    return [text for mark, text in section.items if mark == "bad"]


def _shared(runs: Sequence[Run], what: str) -> tuple[str, str]:
    """Who is in two splits of one run."""
    several = [run for run in runs if len(run.splits) > 1]
    if not several:
        return "plain", f"Each run predicts one split: {what}s in two splits cannot be looked for."
    for run in several:
        seen: dict[str, str] = {}
        twice = set()
        for split, sample in run.splits.items():
            names = {str(p) for p in sample.patients} if what == "patient" else set(sample.images)
            twice |= {name for name in names if name and name in seen}
            seen |= dict.fromkeys(names, split)
        if twice:
            examples = ", ".join(sorted(twice)[:3])
            return "bad", f"{count(len(twice), what)} in more than one split of {run.name}, such as {examples}."
    return "good", f"No {what} is in more than one of the splits {', '.join(several[0].splits)} of a run."


def _between_folds(study: Study) -> tuple[str, str]:
    for arm in study.arms.values():
        for member in arm.members:
            fold_of: dict[str, Run] = {}
            for run in member.runs:
                for patient in {str(p) for p in run.splits[study.split].patients}:
                    other = fold_of.setdefault(patient, run)
                    if other is not run:
                        return "bad", f"Patient {patient} is validated by both {other.name} and {run.name}."
    return "good", "No patient is in the validation of two folds."


def _seen_before(runs: Sequence[Run]) -> tuple[str, str]:
    """Whether weights were pretrained on the set that they are compared on, as far as their cards say."""
    starts = [(run.init, run.record.start or Start()) for run in runs]
    name = runs[0].data.name
    both = sorted({init for init, start in starts if name in start.trained_on})
    if both:
        return "bad", (
            f"The weights {', '.join(both)} were trained on {name}, too: they may have seen test images, and"
            " have learnt from more of it than a fraction holds."
        )
    silent = sorted({init for init, start in starts if start.coverage and not start.trained_on})
    if silent:
        return "plain", f"Not known: what the weights {', '.join(silent)} were trained on."
    return "good", "No weights were trained on this data set, as their cards say."


def _opened(study: Study) -> tuple[str, str]:
    runs = [run for run in study.found.runs if "test" in run.splits]
    if not runs:
        return "plain", "No run has opened a test split."
    silent = [run.name for run in runs if not run.record.test]
    if silent:
        which = f"{len(silent)} of {count(len(runs), 'run')} with test predictions"
        return "bad", f"{which} do not say when the test split was opened, such as {silent[0]}."
    words = {run.record.test for run in runs}
    return (
        "good",
        f"Test split: {'; '.join(sorted(words))} (as {'all ' if len(runs) > 1 else ''}{count(len(runs), 'run')} say).",
    )
