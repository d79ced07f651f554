"""Bags as CLAM, TRIDENT and others write them, and networks that look at no padding."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medtl.errors import BadFileError, UsageError
from medtl.metrics import survival
from medtl.survival.bags import padded, read_bag
from medtl.survival.cox import CoxLoss
from medtl.survival.networks import METHODS, build_risk_network

FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_each_layout_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=FEATURES, coords=np.zeros((4, 2)))
    np.save(tmp_path / "a.npy", FEATURES.astype(np.float16))
    torch.save(torch.from_numpy(FEATURES), tmp_path / "a.pt")
    torch.save({"features": torch.from_numpy(FEATURES)[None], "names": torch.zeros(4)}, tmp_path / "b.pt")
    for name in ("a.npz", "a.npy", "a.pt", "b.pt"):
        assert np.array_equal(read_bag(tmp_path / name), FEATURES), name


def test_h5_is_read(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"], file["coords"] = FEATURES[np.newaxis], np.zeros((4, 2))
    assert np.array_equal(read_bag(tmp_path / "a.h5"), FEATURES)
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file["features/of/others"] = FEATURES
    with pytest.raises(BadFileError, match="features"):
        read_bag(tmp_path / "group.h5")


@pytest.mark.parametrize("suffix", ["npz", "npy", "pt", "h5"])
def test_damage_is_told_in_one_line(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "h5":
        h5py = pytest.importorskip("h5py", reason="h5py is not installed")
        with h5py.File(path, "w") as file:
            file["features"] = FEATURES
    elif suffix == "pt":
        torch.save(torch.from_numpy(FEATURES), path)
    else:
        (np.savez_compressed if suffix == "npz" else np.save)(path, FEATURES)
    whole = path.read_bytes()
    refused = []
    for cut in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        bent = bytearray(whole)
        bent[cut] ^= 0xFF
        for content in (whole[:cut], bytes(bent)):
            path.write_bytes(content)
            try:
                read_bag(path)  # some damage lies where nobody looks
            except BadFileError as error:
                refused.append(str(error))
    assert len(refused) > 20
    assert not any("\n" in reason for reason in refused)


def test_what_holds_no_features_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=FEATURES, b=FEATURES)
    np.save(tmp_path / "nan.npy", np.full((2, 2), np.nan))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04")
    (tmp_path / "a.txt").write_text("1")
    for name, word in (("two", "one array"), ("nan", "finite"), ("objects", "objects"), ("cut", "read"), ("a", "npz")):
        (path,) = tmp_path.glob(f"{name}.*")
        with pytest.raises(BadFileError, match=word):
            read_bag(path)


@pytest.mark.parametrize("method", METHODS)
def test_padding_and_order_change_nothing(method: str) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    bags = [rng.normal(size=(size, 5)).astype(np.float32) for size in (9, 4)]
    network = build_risk_network(method, 5, clusters=3).eval()
    network.fit_features(bags, seed=0)
    together = network(padded(bags, 5))
    alone = torch.cat([network(padded([bag[::-1].copy()], 5)) for bag in bags])
    assert together.shape == (2, 1)
    assert torch.allclose(together, alone, atol=1e-5)


def test_clusters_are_those_of_the_training_bags_only() -> None:
    training = [np.repeat([[0.0, 0.0], [10.0, 10.0]], 4, axis=0).astype(np.float32)]
    network = build_risk_network("clusters", 2, clusters=2)
    network.fit_features(training, seed=0)
    assert sorted(network.state_dict()["centres"][:, 0].tolist()) == pytest.approx([-1, 1])
    with pytest.raises(UsageError, match="--clusters 6"):
        build_risk_network("clusters", 2).fit_features(training, seed=0)
    with pytest.raises(UsageError, match="--method"):
        build_risk_network("mean", 2)


def cohort(rng: np.random.Generator, n: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Bags of ten to twenty instances, of which the share around another place is the log hazard."""
    share = rng.uniform(0, 1, n)
    bags = []
    for own in share:
        bag = rng.normal(size=(int(rng.integers(10, 21)), 6)).astype(np.float32)
        bag[: round(own * len(bag)), 0] += 4
        bags.append(bag)
    time = rng.exponential(np.exp(-4 * (share - 0.5))) + 1e-3
    censored = rng.exponential(3, n) + 1e-3
    return bags, np.stack([np.minimum(time, censored), time <= censored], axis=1).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_planted_risk_is_found_and_permuted_times_teach_nothing(method: str) -> None:
    rng = np.random.default_rng(0)
    bags, label = cohort(rng, 300)
    for planted in (True, False):
        told = label if planted else label[rng.permutation(300)]
        torch.manual_seed(0)
        network = build_risk_network(method, 6)
        network.fit_features(bags[:200], seed=0)
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
        for _ in range(60):
            loss = CoxLoss()(network(padded(bags[:200], 6)), torch.from_numpy(told[:200]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            risk = network.eval()(padded(bags[200:], 6))[:, 0].numpy()
        who = survival.followed(told[200:, 0], told[200:, 1])
        low, high = survival.intervals(who, risk, replicates=300)["c_index"]
        if planted:
            assert survival.c_index(who, risk) > 0.7
        else:
            assert low < 0.5 < high
