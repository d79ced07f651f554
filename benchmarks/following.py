"""What the studies share: each command is printed before it runs, and the first that fails ends the study."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

SOME_REJECTED = 3  # data_prep's status where it named files that it could not use


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
