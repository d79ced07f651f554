"""Bags as CLAM, TRIDENT and others write them."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from medtl.errors import BadFileError
from medtl.survival.bags import read_bag

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


def test_what_claims_more_than_it_holds_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Few bytes that stand for 400 GB: asking for the memory would end the test."""
    huge = (100_000_000, 1000)
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": huge})
        file.write(bytes(64))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "features.npy")
    torch.save(torch.zeros(1, 1).expand(*huge), tmp_path / "a.pt")
    for suffix in ("npy", "npz", "pt"):
        with pytest.raises(BadFileError, match=r"claim|plain array"):
            read_bag(tmp_path / f"a.{suffix}")


def test_h5_that_fills_the_memory_or_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["features"] = FEATURES
    with h5py.File(tmp_path / "filled.h5", "w") as file:
        file.create_dataset("features", shape=(100_000_000, 1000), chunks=(1000, 1000), dtype="f4", fillvalue=1)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["features"] = h5py.ExternalLink("other.h5", "features")
    for name, word in (("filled", "claim"), ("link", "another file")):
        with pytest.raises(BadFileError, match=word):
            read_bag(tmp_path / f"{name}.h5")
