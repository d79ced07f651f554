"""What MONAI's model zoo asks of a bundle before it takes it (``ci/verify_bundle.py`` there), asked of our weights.

The zoo downloads its schema; the one in the repository is stricter and needs no network.
"""

import json
from pathlib import Path

import pytest
import torch
from bundle_runs import ROOT
from monai.bundle import ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out
from released_bundles import made_run, small_list

from medtl.bundles.release import release
from medtl.bundles.shipping import ship

SCHEMA = ROOT / "medtl" / "bundles" / "metadata_schema.json"
MOST_BYTES = 25 * 10**6  # of a file in the zoo's repository
SHIPPED = sorted(path.parent.name for path in ROOT.glob("bundles/*/card.json"))
RECIPES = sorted(path.parents[1].name for path in ROOT.glob("bundles/*/configs/metadata.json"))


def wrong_files(folder: Path) -> list[str]:
    """Files that the zoo misses, and those that are too large for it."""
    wanted = ("configs/metadata.json", "LICENSE", "models/model.pt", "configs/inference.json")
    missing = [name for name in wanted if not (folder / name).is_file()]
    large = [path.name for path in folder.rglob("*") if path.is_file() and path.stat().st_size > MOST_BYTES]
    return [*missing, *large]


def wrong_metadata(folder: Path) -> str:
    """What is wrong with a version's entry in the changelog; raises where the schema is not met."""
    path = folder / "configs" / "metadata.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    verify_metadata(meta_file=str(path), filepath=str(SCHEMA))
    return "" if content["version"] in content["changelog"] else f"{content['version']} is not in the changelog"


@pytest.mark.parametrize("name", RECIPES)
def test_the_metadata_of_each_bundle_is_complete(name: str) -> None:
    assert wrong_metadata(ROOT / "bundles" / name) == ""


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_bundle_has_the_files_that_the_zoo_asks_for(name: str) -> None:
    assert wrong_files(ROOT / "bundles" / name) == []


def words(folder: Path) -> dict[str, str]:
    """What the zoo gives to MONAI's commands, from a working directory that is not the bundle's."""
    return {
        "net_id": "network_def",
        "meta_file": str(folder / "configs" / "metadata.json"),
        "config_file": str(folder / "configs" / "inference.json"),
        "bundle_root": str(folder),
    }


def check_network(folder: Path, out: Path) -> None:
    """Input and output as metadata say; the weights fill a TorchScript of the network, which computes the same."""
    given = words(folder)
    verify_net_in_out(**given, device="cpu")
    weights = folder / "models" / "model.pt"
    ckpt_export(**given, filepath=str(out / "verify_model.ts"), ckpt_file=str(weights))
    exported = torch.jit.load(out / "verify_model.ts").eval()
    stored = torch.load(weights, weights_only=True)
    assert set(exported.state_dict()) == set(stored)
    assert all(torch.equal(tensor, stored[name].to(tensor.dtype)) for name, tensor in exported.state_dict().items())
    workflow = ConfigWorkflow(given["config_file"], meta_file=given["meta_file"], workflow_type="inference")
    workflow.parser.update({"bundle_root": str(folder)})
    network = workflow.parser.get_parsed_content("network_def").eval()
    network.load_state_dict(stored)
    size = workflow.parser["_meta_#network_data_format#inputs#image#spatial_shape"]
    picture = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(exported(picture), network(picture), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_bundle_is_one_that_the_zoo_would_take(name: str, tmp_path: Path) -> None:
    check_network(ROOT / "bundles" / name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet18", "timm/mobilenetv2_100"])
def test_a_released_bundle_is_one_that_the_zoo_would_take(backbone: str, tmp_path: Path) -> None:
    made_run(tmp_path / "run", small_list(tmp_path / "data"), backbone=backbone)
    release(tmp_path / "run", tmp_path / "made", half=True)
    assert wrong_files(tmp_path / "made") == []
    assert wrong_metadata(tmp_path / "made") == ""
    check_network(tmp_path / "made", tmp_path)


@pytest.mark.slow
def test_weights_put_into_their_recipe_have_the_zoos_name_and_no_other(tmp_path: Path) -> None:
    """A file of an earlier training would be taken in the place of the new one."""
    folder = tmp_path / "bundles" / "tb"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "models" / "model.safetensors").write_bytes(b"of an earlier training")
    metadata = ROOT / "bundles" / "tb" / "configs" / "metadata.json"
    (folder / "configs" / "metadata.json").write_text(metadata.read_text(encoding="utf-8"), encoding="utf-8")
    made_run(tmp_path / "run", small_list(tmp_path / "data"), bundle="tb")
    ship(tmp_path / "run", folder)
    assert [path.name for path in (folder / "models").iterdir()] == ["model.pt"]
