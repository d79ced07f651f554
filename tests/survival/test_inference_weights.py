"""What --weights of a survival's inference may be: read as any weights are, so that no file asks for memory."""

from pathlib import Path

import bomb_weights
import pytest
import torch

from medtl.bundles.cohorts_inference import read_width
from medtl.errors import MedtlError, UsageError


def test_the_width_is_that_of_the_networks_mean(tmp_path: Path) -> None:
    torch.save({"mean": torch.zeros(5), "head.weight": torch.zeros(1, 5)}, tmp_path / "model.pt")
    assert read_width(str(tmp_path / "model.pt")) == 5


@pytest.mark.parametrize("name", ["deflated.pt", "expanded.pt"])
def test_a_file_that_claims_gigabytes_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(bomb_weights.WEIGHTS[name]())
    with pytest.raises(MedtlError, match=f"--weights .*{name}"):
        read_width(str(tmp_path / name))


def test_other_weights_and_no_file_are_told(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(4, 3, 7, 7)}, tmp_path / "model.pt")
    with pytest.raises(MedtlError, match="no network that bundles/survival trained"):
        read_width(str(tmp_path / "model.pt"))
    with pytest.raises(UsageError, match="nowhere"):
        read_width(str(tmp_path / "nowhere.pt"))
