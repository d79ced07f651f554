"""Fuzz the DICOM reader or ``medtl unpack`` for some seconds, by atheris: ``tox -e fuzz``.

    python tests/fuzz/run.py dicom|unpack [--seconds 120] [--keep FOLDER]

It starts from the seeds of targets.py and from corpus/NAME. ``--keep`` copies the smallest files beside these that it
found new paths with into FOLDER, at most KEPT of them. What breaks a promise ends it with atheris's traceback, and the
file lies beside as crash-*.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEPT, LARGEST = 20, 4096  # files of a run, and bytes of one


def fuzz(name: str, folder: Path) -> None:
    """Begin the loop of atheris in this process, on the corpus of a folder; libFuzzer ends it, and the process."""
    import atheris

    with atheris.instrument_imports(include=["medtl.readers", "medtl.weights.archive", "pydicom", "zipfile"]):
        import targets

    targets.quiet()
    check = targets.TARGETS[name]

    def one(data: bytes) -> None:
        place = folder.parent / "work"
        shutil.rmtree(place, ignore_errors=True)
        check(data, place)

    atheris.Setup([sys.argv[0], *sys.argv[3:]], one)
    atheris.Fuzz()


def main() -> None:
    if sys.argv[1:2] == ["--inner"]:
        fuzz(sys.argv[2], Path(sys.argv[-1]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("dicom", "unpack"))
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    sys.path.insert(0, str(HERE))
    import targets

    with tempfile.TemporaryDirectory(prefix="medtl-fuzz-") as temporary:
        found = Path(temporary) / "corpus"
        found.mkdir()
        for kind, content in targets.seeds(asked.name).items():
            (found / kind).write_bytes(content)
        for path in sorted((HERE / "corpus" / asked.name).glob("*")):
            shutil.copy(path, found)
        known = {path.name for path in found.iterdir()}
        limits = [f"-max_total_time={asked.seconds}", "-timeout=30", "-rss_limit_mb=4096", "-max_len=8192"]
        words = [sys.executable, str(Path(__file__).resolve()), "--inner", asked.name, *limits, str(found)]
        status = subprocess.run(words, check=False).returncode
        if asked.keep and not status:
            asked.keep.mkdir(parents=True, exist_ok=True)
            new = [path for path in found.iterdir() if path.name not in known and path.stat().st_size <= LARGEST]
            for path in sorted(new, key=lambda path: path.stat().st_size)[:KEPT]:
                shutil.copy(path, asked.keep)
    sys.exit(status)


if __name__ == "__main__":
    main()
