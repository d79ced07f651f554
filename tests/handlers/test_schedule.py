"""Several batches a step are one large batch to the schedule too."""

import pytest
import torch
from monai.engines import SupervisedTrainer
from monai.optimizers import WarmupCosineSchedule
from torch import nn

from medtl import engines
from medtl.handlers.schedule import StepSchedule

Batches = list[dict[str, torch.Tensor]]
EPOCHS = 3


def trained(data: Batches, accumulate: int) -> tuple[list[float], nn.Module]:
    """The learning rate of each of the optimiser's steps, and the network."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(network.parameters(), 0.3, 0.9)
    rates: list[float] = []
    optimizer.register_step_post_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    total = EPOCHS * engines.steps_an_epoch(len(data), accumulate)
    schedule = WarmupCosineSchedule(optimizer, warmup_steps=2, t_total=total, warmup_multiplier=0.1)
    step = engines.training_step(accumulate=accumulate)
    SupervisedTrainer(
        device="cpu",
        max_epochs=EPOCHS,
        train_data_loader=data,
        network=network,
        optimizer=optimizer,
        loss_function=nn.CrossEntropyLoss(),
        train_handlers=[StepSchedule(schedule, step)],
        iteration_update=step,
        decollate=False,
    ).run()
    assert len(rates) == total
    return rates, network


@pytest.mark.parametrize("sizes", [[8, 8, 8, 8], [8, 8, 8, 8, 5], [8, 3]])
def test_two_batches_a_step_are_one_of_twice_the_size(sizes: list[int]) -> None:
    drawn = torch.Generator().manual_seed(3)
    parts = [
        {"image": torch.randn(n, 3, 2, 2, generator=drawn), "label": torch.randint(0, 3, (n,), generator=drawn)}
        for n in sizes
    ]
    pairs = [parts[k : k + 2] for k in range(0, len(parts), 2)]
    large = [{key: torch.cat([part[key] for part in pair]) for key in pair[0]} for pair in pairs]
    (of_parts, one), (of_large, other) = trained(parts, 2), trained(large, 1)
    assert of_parts == of_large
    assert max(of_parts) > 2 * min(of_parts)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
