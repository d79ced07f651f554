"""What several processes must agree on before one of them speaks for all."""

import torch
from ignite.engine import Engine, Events


class SameBuffers:
    """Evaluator handler: every process takes the first one's buffers before it predicts.

    DDP shares parameters in each step but lets batch norm's running statistics drift apart after an epoch's last
    batch; without this the validated network and the saved one would differ.

    Args:
        network: not wrapped by DDP.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._share)

    def _share(self, engine: Engine) -> None:
        if torch.distributed.is_initialized():
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)
