"""A release as a repository of the Hugging Face Hub: what its own library reads in the model card, offline."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard import metadata_load
from monai.bundle import ConfigParser
from released_bundles import CLASSES, METRICS, made_run, small_list
from safetensors.torch import load_file
from typer.testing import CliRunner

from medtl.bundles import hub
from medtl.bundles.check import check_bundle
from medtl.cli import app
from medtl.errors import UsageError
from medtl.weights.card import WeightsCard

pytestmark = pytest.mark.slow

# https://huggingface.co/docs/hub/repositories-licenses: those that medtl writes
HUB_LICENCES = {
    *("apache-2.0", "bsd-3-clause", "mit", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "cc0-1.0", "other"),
}


@pytest.fixture(scope="module")
def made(module_path: Path) -> Path:
    """A release that was asked to be one for the Hub."""
    made_run(module_path / "run", small_list(module_path / "data"))
    words = ["release", str(module_path / "run"), "--out", str(module_path / "tiny"), "--hub", "--half"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return module_path / "tiny"


def card_of(folder: Path) -> WeightsCard:
    return WeightsCard.from_json((folder / "card.json").read_text(encoding="utf-8"))


def test_the_hubs_own_library_reads_the_model_card(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = ModelCard.load(made / "README.md", ignore_metadata_errors=False)
    told = found.data
    assert (told.library_name, told.license, told.pipeline_tag) == ("monai", "cc-by-4.0", "image-classification")
    assert told.datasets is None  # the pictures are of no public set, whatever the list is called
    assert set(told.metrics) == {"roc_auc"}  # the test's; the accuracy is of the validation
    assert {"monai", "medical", "resnet18", "not-for-clinical-use"} <= set(told.tags)
    (result,) = told.eval_results
    assert (result.dataset_split, result.metric_type, result.metric_value) == ("test", "roc_auc", METRICS["test_auc"])
    assert "Not for clinical use" in found.text
    assert found.text.strip() == (made / "docs" / "README.md").read_text(encoding="utf-8").strip()
    # nothing is lost on the way through its data class
    assert ModelCardData(**metadata_load(made / "README.md")).to_dict() == metadata_load(made / "README.md")


def test_config_and_weights_make_the_network(made: Path) -> None:
    content = json.loads((made / "config.json").read_text(encoding="utf-8"))
    network = ConfigParser({"network": content["network_def"]}).get_parsed_content("network")
    network.load_state_dict(load_file(made / content["weights"]))
    side = content["image_size"]
    with torch.no_grad():
        logits = network.eval()(torch.zeros(1, content["num_channels"], side, side))
    assert logits.shape == (1, len(content["id2label"]))
    assert list(content["id2label"].values()) == list(CLASSES)


def test_the_bundle_is_whole_with_them(made: Path) -> None:
    assert check_bundle(made).passed
    sums = (made / "SHA256SUMS").read_text()
    assert "  README.md\n" in sums
    assert "  config.json\n" in sums


@pytest.mark.parametrize(
    ("licence", "sample", "wanted"),
    [
        ("images: CC BY 4.0", False, "cc-by-4.0"),
        ("images: CC BY-SA 4.0; start: BSD-3-Clause", False, "cc-by-sa-4.0"),
        ("images: CC BY 4.0; start: CC BY-NC 4.0", False, "other"),
        ("images: chestxray2017: CC BY 4.0; nih: free use with credit", False, "other"),
        ("images: not stated", False, "other"),
        ("images: phantoms drawn by medtl (Apache-2.0)", True, "apache-2.0"),
    ],
)
def test_a_licence_that_the_hub_has_no_name_for_is_told_in_a_file(
    made: Path, licence: str, sample: bool, wanted: str
) -> None:
    card = card_of(made)
    card = replace(card, licence=licence, data={**card.data, "sample": sample})
    told = hub.licence(card)
    assert told["license"] == wanted
    assert ("license_link" in told) == (wanted == "other")
    assert (made / told.get("license_link", "LICENSE")).is_file()
    assert set(hub.LICENCES.values()) <= HUB_LICENCES


def test_only_public_sets_are_listed_and_phantoms_are_told(made: Path) -> None:
    card = card_of(made)
    private = replace(card, data={**card.data, "name": "our_ward", "sources": ["our_ward"]}, metrics={})
    assert "our_ward" not in hub.front_matter(private)
    assert "- tb" in hub.front_matter(replace(card, data={**card.data, "sources": ["tb"]}))
    drawn = hub.front_matter(replace(card, data={**card.data, "sample": True}))
    assert "- phantoms" in drawn
    assert "- tb" not in drawn


def test_hub_goes_with_a_bundle_of_its_own(made: Path) -> None:
    result = CliRunner().invoke(app, ["release", str(made.parent / "run"), "--into", "bundles/tb", "--hub"])
    assert isinstance(result.exception, UsageError)
