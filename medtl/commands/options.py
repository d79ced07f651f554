"""Options that several commands share."""

import os
from typing import Annotated

import typer

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
CPUS = os.cpu_count() or 1
