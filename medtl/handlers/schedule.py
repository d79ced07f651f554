"""A learning rate that follows the optimiser's steps, not the batches."""

from ignite.engine import Engine
from monai.handlers import LrScheduleHandler
from torch.optim.lr_scheduler import LRScheduler

from medtl.engines import TrainingStep


class StepSchedule(LrScheduleHandler):
    """Trainer handler: one step of the schedule for each step of the optimiser, so that n batches a step have the
    learning rates of one batch that is n times as large.

    Args:
        lr_scheduler: its length is counted in steps of the optimiser (``medtl.engines.steps_an_epoch``).
        step: the training step.
    """

    def __init__(self, lr_scheduler: LRScheduler, step: TrainingStep) -> None:
        super().__init__(lr_scheduler, print_lr=False, epoch_level=False)
        self.step = step

    def __call__(self, engine: Engine) -> None:
        """After a batch."""
        if self.step.is_whole:
            super().__call__(engine)
