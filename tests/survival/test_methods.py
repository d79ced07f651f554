"""Methods that give one risk a bag: they look at no padding, fit on training patients alone, find what is planted, and
find nothing where nothing is."""

import numpy as np
import pytest
import torch

from medtl.errors import UsageError
from medtl.metrics import survival
from medtl.survival.bags import Bag, padded
from medtl.survival.clusters import KINDS, centres_of
from medtl.survival.cox import CoxLoss, fit_cox
from medtl.survival.linear import ridge_cox
from medtl.survival.methods import METHODS, build_risk_network
from medtl.survival.network import RiskNetwork

TRAIN = 140


def cohort(rng: np.random.Generator, n: int = 240) -> tuple[list[Bag], torch.Tensor]:
    """Bags of ten to twenty instances, of which the share around another place is the log hazard."""
    share = rng.uniform(0, 1, n)
    bags = []
    for own in share:
        bag = rng.normal(size=(int(rng.integers(10, 21)), 6)).astype(np.float32)
        bag[: round(own * len(bag)), 0] += 4
        bags.append(bag)
    time = rng.exponential(np.exp(-4 * (share - 0.5))) + 1e-3
    censored = rng.exponential(3, n) + 1e-3
    label = np.stack([np.minimum(time, censored), time <= censored], axis=1).astype(np.float32)
    return bags, torch.from_numpy(label)


def trained(method: str, bags: list[Bag], label: torch.Tensor, steps: int = 60) -> RiskNetwork:
    torch.manual_seed(0)
    network = build_risk_network(method, 6, clusters=3)
    network.fit(bags, label, seed=0)
    if not METHODS[method].by_gradient:
        return network.eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
    whole = padded(bags, 6)
    for _ in range(steps):
        loss = CoxLoss()(network(whole), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@pytest.mark.parametrize("method", METHODS)
def test_padding_and_order_change_nothing(method: str) -> None:
    bags, label = cohort(np.random.default_rng(0), 60)
    network = trained(method, bags, label, steps=1)
    two = [bags[0], bags[1][:4]]
    together = network(padded(two, 6))
    alone = torch.cat([network(padded([bag[::-1].copy()], 6)) for bag in two])
    assert together.shape == (2, 1)
    assert torch.allclose(together, alone, atol=1e-4)


def test_scale_and_clusters_are_those_of_the_training_bags_only() -> None:
    training = [np.repeat([[0.0, 0.0], [10.0, 10.0]], 4, axis=0).astype(np.float32)]
    label = torch.tensor([[1.0, 1.0]])
    network = build_risk_network("deepattnmisl", 2, clusters=2)
    network.fit(training, label, seed=0)
    assert sorted(network.state_dict()["centres"][:, 0].tolist()) == pytest.approx([-1, 1])
    with pytest.raises(UsageError, match="--clusters 6"):
        build_risk_network("deepattnmisl", 2).fit(training, label, seed=0)
    with pytest.raises(UsageError, match="--method"):
        build_risk_network("mean", 2)


@pytest.mark.parametrize("kind", KINDS)
def test_clusters_that_lie_apart_are_found(kind: str) -> None:
    rng = np.random.default_rng(0)
    middles = np.array([[0, 0], [9, 0], [0, 9]])
    rows = np.concatenate([rng.normal(middle, 0.5, (40, 2)) for middle in middles]).astype(np.float32)
    found = centres_of(rows, kind, 3, seed=0).numpy()
    assert sorted(found.round().tolist()) == sorted(middles.tolist())


def test_ridge_cox_is_cox_with_that_ridge() -> None:
    rng = np.random.default_rng(1)
    table = rng.normal(size=(80, 4))
    time = np.ceil(10 * rng.exponential(np.exp(-table[:, 0])))
    who = survival.followed(time, rng.random(80) < 0.7)
    assert ridge_cox(table, who, 0.3) == pytest.approx(fit_cox(table, who.time, who.event, 0.3), abs=1e-4)


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if not each.by_gradient])
def test_one_covariate_is_enough(method: str) -> None:
    rng = np.random.default_rng(0)
    age = rng.normal(size=(90, 1))
    label = np.column_stack([rng.exponential(np.exp(-2 * age[:, 0])) + 1e-3, np.ones(90)]).astype(np.float32)
    bags = list(age.astype(np.float32)[:, np.newaxis])
    network = build_risk_network(method, 1, clusters=2)
    network.fit(bags, torch.from_numpy(label), seed=0)
    with torch.no_grad():
        risk = network.eval()(padded(bags, 1))[:, 0].numpy()
    assert survival.c_index(survival.followed(*label.T), risk) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_planted_risk_is_found_and_permuted_times_teach_nothing(method: str) -> None:
    rng = np.random.default_rng(0)
    bags, label = cohort(rng)
    for planted in (True, False):
        told = label if planted else label[rng.permutation(len(label))]
        network = trained(method, bags[:TRAIN], told[:TRAIN])
        with torch.no_grad():
            risk = network(padded(bags[TRAIN:], 6))[:, 0].numpy()
        who = survival.followed(told[TRAIN:, 0].numpy(), told[TRAIN:, 1].numpy())
        low, high = survival.intervals(who, risk, replicates=300)["c_index_harrell"]
        if planted:
            assert survival.c_index(who, risk) > 0.7
        else:
            assert low < 0.5 < high
