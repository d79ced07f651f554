"""Training that ends once the key metric has not become better for some epochs."""

import logging
import math

import ignite.distributed as idist
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping

from medtl.errors import tell
from medtl.handlers.best import BestEpoch


class StopEarly(EarlyStopping):
    """Evaluator handler: Ignite's ``EarlyStopping`` on the key metric, exact after a run was resumed.

    The epochs since the best one are known from the handler that keeps it, which every checkpoint holds; so nothing
    else has to be saved. A metric that is not a number counts as worse than any other.

    Args:
        patience: epochs without a better metric after which training ends; at least 1.
        best: the handler that keeps the best epoch.
        trainer: ends after its epoch; with ``trainer.state.stopped_early``, which says why.
    """

    def __init__(self, patience: int, best: BestEpoch, trainer: Engine) -> None:
        super().__init__(patience, self._score, trainer)
        self.logger.setLevel(logging.WARNING)  # our own line says more
        self.best = best

    def attach_to(self, evaluator: Engine) -> None:
        """Listen to the validation, and to the trainer that it belongs to; attach it after what resumes the run."""
        evaluator.add_event_handler(Events.COMPLETED, self)
        evaluator.add_event_handler(Events.COMPLETED, self._tell)
        self.trainer.add_event_handler(Events.STARTED, self._go_on)

    def _score(self, evaluator: Engine) -> float:
        value = self.best.sign * float(evaluator.state.metrics[self.best.key_metric])  # of an error smaller is better
        return value if math.isfinite(value) else -math.inf

    def _go_on(self, trainer: Engine) -> None:
        """Count from where a resumed run is; one that had ended already, but not been closed, ends at once."""
        if not self.best.best_epoch:
            return
        self.best_score = self.best.best
        self.counter = trainer.state.epoch - self.best.best_epoch
        if self.counter >= self.patience:
            trainer.terminate()
            self._tell(trainer)

    def _tell(self, engine: Engine) -> None:
        state = self.trainer.state
        if self.counter < self.patience or state.epoch >= (state.max_epochs or 0):
            return
        why = f"{self.best.key_metric} has not become better since epoch {self.best.best_epoch}"
        state.stopped_early = f"{why} (--patience {self.patience})"
        if idist.get_rank() == 0:
            tell(f"stopped after epoch {state.epoch} of {state.max_epochs}: {state.stopped_early}")
