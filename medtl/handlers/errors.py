"""A picture that cannot be read or a disk that is full in the middle of an epoch ends the run in one line."""

import sys

from ignite.engine import Engine, Events

from medtl.bundle.boundary import alone
from medtl.errors import MedtlError, debugging, tell


class OneLineErrors:
    """Engine handler: a MedtlError, also one from a data-loading process, what the system refuses (a full disk, a
    folder that cannot be written), and the end of another process become one line and exit status 1."""

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer or evaluator; attach it last, so that others may clean up before."""
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._end)

    def _end(self, engine: Engine, error: BaseException) -> None:
        if debugging():
            raise error
        error = alone(error) or error
        if isinstance(error, MedtlError):
            # from a worker process the message comes with that process's traceback in front of it
            last = str(error).strip().splitlines()[-1]
            tell(f"error: {last.removeprefix(f'{MedtlError.__module__}.{type(error).__name__}: ')}")
            sys.exit(error.exit_status)
        if isinstance(error, OSError) and error.strerror:
            tell(f"error: {error.filename or 'a file of this run'}: {error.strerror}; the checkpoints are whole")
            sys.exit(MedtlError.exit_status)
        raise error
