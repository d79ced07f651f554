"""A head in the unit of its labels trains as one on standardised labels does."""

import pytest
import torch
from torch import nn

from medtl.errors import UsageError
from medtl.losses_tasks import NumberLoss
from medtl.networks.freezing import parameter_groups
from medtl.networks.regression_head import centre, scaled

MEAN, SCALE, DECAY, RATE = 1800.0, 250.0, 0.05, 0.003


class Small(nn.Module):
    """Named as ResNet-18 is: ``fc`` is its head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 6)
        self.fc = nn.Linear(6, 1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.body(values)))


def trained(in_unit: bool) -> torch.Tensor:
    """Predictions, standardised, after some steps of AdamW."""
    torch.manual_seed(0)
    network = Small().double()
    values, labels = torch.randn(32, 4).double(), MEAN + SCALE * torch.randn(32).double()
    nn.init.zeros_(network.fc.bias)
    groups = parameter_groups(network, "resnet18", RATE, 0.5)
    if in_unit:
        centre(network, "resnet18", MEAN, SCALE)
        groups = scaled(groups, SCALE, DECAY)
        assert [group["name"] for group in groups] == ["trunk", "head"]
    no_decay = [{**g, "params": [p]} for g in groups for p in g["params"]]
    for group in no_decay:  # the bias decays towards 0, which is the mean in one form alone
        if group["params"][0] is network.fc.bias:
            group["weight_decay"] = 0.0
    optimiser = torch.optim.AdamW(no_decay, weight_decay=DECAY, eps=1e-30)
    for _ in range(20):
        optimiser.zero_grad()
        said = network(values)
        off = (said[:, 0] - labels) / SCALE if in_unit else said[:, 0] - (labels - MEAN) / SCALE
        nn.functional.smooth_l1_loss(off, torch.zeros_like(off)).backward()
        optimiser.step()
    said = network(values).detach()[:, 0]
    return (said - MEAN) / SCALE if in_unit else said


def test_training_in_the_unit_is_training_on_standardised_labels() -> None:
    torch.testing.assert_close(trained(in_unit=True), trained(in_unit=False), rtol=1e-6, atol=1e-8)


def test_a_fresh_head_says_the_mean() -> None:
    network = Small()
    centre(network, "resnet18", MEAN, SCALE)
    said = network(torch.randn(500, 4)).detach()
    assert abs(float(said.mean()) - MEAN) < 2 * SCALE
    assert float(said.std()) > 0


def test_a_network_without_that_head_is_refused() -> None:
    with pytest.raises(UsageError, match="--backbone resnet18"):
        centre(nn.Linear(3, 1), "resnet18", 0.0, 1.0)


def test_the_loss_does_not_know_the_unit() -> None:
    said, labels = torch.randn(9, 1), torch.randn(9)
    off = said[:, 0] - labels
    by_hand = torch.where(off.abs() < 1, off**2 / 2, off.abs() - 0.5).mean()
    assert float(NumberLoss(1.0)(said, labels)) == pytest.approx(float(by_hand))
    assert float(NumberLoss(365.0)(365 * said, 365 * labels)) == pytest.approx(float(by_hand), rel=1e-5)
