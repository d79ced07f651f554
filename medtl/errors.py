"""Errors that end in one readable line. Anything else that escapes is a bug and keeps its traceback."""

EXIT_PARTLY_REJECTED = 3  # some of the data could not be used and is named; the rest was


class MedtlError(Exception):
    """A fault of the input, told in one line that names the file or argument and what was expected."""

    exit_status = 1


class UsageError(MedtlError):
    """A wrong argument, id or folder: exit status 2."""

    exit_status = 2


class BadFileError(MedtlError):
    """One file, series or case that cannot be used; data preparation lists it in rejected.csv and goes on.

    ``str(error)`` is the reason alone: it never repeats a path, a name, an id or a date, so it may be logged.
    """

    exit_status = 3
