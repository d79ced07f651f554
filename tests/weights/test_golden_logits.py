"""The weights that come with medtl give the logits that were written down."""

import json

import pytest
import torch
from golden_logits import FILE, ROOT, SHIPPED, TOLERANCE, drawn, logits_of, network_of

from medtl.files import file_hash
from medtl.networks.backbones.zoo import torchvision
from medtl.weights.read import read_state_dict

GOLDEN = json.loads(FILE.read_text(encoding="utf-8"))


def differences(name: str, logits: torch.Tensor) -> tuple[float, float]:
    """The largest differences of a logit, and of the norm of all, from what was written down."""
    wanted = GOLDEN[name]
    first = torch.tensor(wanted["first_logits"], dtype=torch.float64)
    apart = (logits[:, : first.shape[1]].double() - first).abs().max()
    return float(apart), float((logits.double().norm(dim=1) - torch.tensor(wanted["norm"]).double()).abs().max())


def test_every_shipped_file_is_written_down() -> None:
    suffixes = ("*.pt", "*.safetensors")
    found = {p for s in suffixes for folder in ("bundles", "medtl") for p in ROOT.joinpath(folder).rglob(s)}
    assert {path.relative_to(ROOT).as_posix() for path in found} == set(SHIPPED)
    assert GOLDEN["tolerance"] == TOLERANCE
    assert {name: GOLDEN[name]["sha256"] for name in SHIPPED} == {name: file_hash(ROOT / name) for name in SHIPPED}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_logits_are_those_that_were_written_down(name: str) -> None:
    """In float32, as everybody computes; a halved logit or two classes exchanged is far beyond the tolerance."""
    picture = drawn(SHIPPED[name][2]).float()
    logits = logits_of(network_of(name), picture)
    assert max(differences(name, logits)) < TOLERANCE
    assert logits.argmax(1).tolist() == GOLDEN[name]["best"]
    assert differences(name, logits.roll(1, dims=1))[0] > 100 * TOLERANCE


@pytest.mark.parametrize("name", SHIPPED)
def test_torchvisions_own_network_gives_the_same(name: str) -> None:
    backbone, classes, pixels = SHIPPED[name]
    network = getattr(torchvision().models, backbone.rpartition("/")[2])(num_classes=classes).double().eval()
    network.load_state_dict(read_state_dict(ROOT / name))
    assert max(differences(name, logits_of(network, drawn(pixels)))) < 1e-4


def test_a_changed_weight_is_noticed() -> None:
    """One filter of the first convolution, by a tenth."""
    name = next(iter(SHIPPED))
    network = network_of(name)
    with torch.no_grad():
        network.conv1.weight[0] *= 1.1
    assert differences(name, logits_of(network, drawn(SHIPPED[name][2]).float()))[0] > TOLERANCE
