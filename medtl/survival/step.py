"""The training step of what is fitted and not trained by gradient."""

from typing import Any

import torch
from torch import Tensor


class FittedStep:
    """Says the loss of a fitted network and changes nothing. It has the face of ``engines.TrainingStep``."""

    is_whole = True

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: there is no state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing over."""

    def look(self) -> None:
        """Look at no loss: nothing that is trained could have diverged."""

    def __call__(self, engine: Any, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return ``{image, label, pred, loss}`` of a batch ``{image, label}``."""
        images, labels = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        with torch.no_grad():
            pred = engine.inferer(images, engine.network.eval())
            loss = engine.loss_function(pred, labels)
        engine.optimizer.step()  # of no gradient, so that the schedule finds it done
        engine.state.output = {"image": images, "label": labels, "pred": pred, "loss": loss}
        return engine.state.output
