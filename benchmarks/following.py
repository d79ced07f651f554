"""What the studies share: their options; each command is printed before it runs, and the first that fails ends the
study."""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT / os.environ.get("MEDTL_SHARED", "../shared")
SOME_REJECTED = 3  # data_prep's status where it named files that it could not use


def options(document: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all studies have."""
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED, help="holds data/ and weights/; default $MEDTL_SHARED")
    parser.add_argument("--out", type=Path, required=True, help="folder for all that the study makes")
    parser.add_argument("--list", action="store_true", help="print the commands and run none")
    return parser


def parsed(parser: argparse.ArgumentParser, choices: Mapping[str, Collection[str]]) -> argparse.Namespace:
    """Return the options of the command line; without real images the program ends here, with status 0.

    Args:
        parser: of ``options``.
        choices: option to the words of which it names some, with commas between; it is a list of them then.
    """
    asked = parser.parse_args()
    for option, known in choices.items():
        setattr(asked, option, getattr(asked, option).split(","))
        if unknown := set(getattr(asked, option)) - set(known):
            parser.error(f"--{option} {', '.join(sorted(unknown))}: expected some of {','.join(known)}")
    if not (asked.shared / "data").is_dir():
        print(f"skipped: no real images, {asked.shared} holds no folder data (--shared, or MEDTL_SHARED)")
        sys.exit(0)
    return asked


def follow(commands: Iterable[tuple[str, list[str]]], shared: Path, listed: bool) -> int:
    """Run commands in turn.

    Args:
        commands: the step that each belongs to, and its words: a module's, or those of a script.
        shared: holds the folder weights, in which medtl looks.
        listed: print them and run none.

    Returns:
        0, or the status of the first command that failed.
    """
    own = {"MEDTL_WEIGHTS": str(shared / "weights"), "OMP_NUM_THREADS": "1"}
    for name, value in own.items():
        print(f"$ export {name}={shlex.quote(value)}")
    for step, words in commands:
        called = [] if words[0].endswith(".py") else ["-m"]
        typed = "" if words[0] == "medtl" else " ".join(["python", *called, ""])
        print(f"\n$ {typed}{shlex.join(words)}", flush=True)
        if listed:
            continue
        status = subprocess.run([sys.executable, *called, *words], env={**os.environ, **own}, check=False).returncode
        if status == SOME_REJECTED and words[0] == "data_prep":
            print("some files were rejected: rejected.csv names them", file=sys.stderr)
        elif status:
            print(f"step {step} ended with status {status}", file=sys.stderr)
            return status
    return 0
