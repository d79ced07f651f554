"""``python -m medtl``, the same as ``medtl``."""

from medtl.cli import app
from medtl.errors import guarded


def main() -> None:
    """Entry point of the ``medtl`` command."""
    guarded(lambda: app(prog_name="medtl"), "medtl")


if __name__ == "__main__":
    main()
