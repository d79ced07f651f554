"""``python -m medtl``, the same as ``medtl``."""

from medtl.errors import guarded


def main() -> None:
    """Run the ``medtl`` command."""
    guarded(_run, "medtl")


def _run() -> None:
    from medtl.cli import app  # takes a moment, in which Ctrl-C is one line already

    app(prog_name="medtl")


if __name__ == "__main__":
    main()
