"""The five pretraining bundles differ in their network, name and documents only, and each of them runs."""

import json
from pathlib import Path

import pytest
import torch
from bundle_runs import CPU, PROBABILITIES, ROOT, SMALL, bundle, config, draw, probabilities, rows
from monai.bundle import ckpt_export, verify_metadata, verify_net_in_out

from medtl import datalist
from medtl.cards import CPMID
from medtl.datalist import DataList
from medtl.networks.classifier import build_classifier

NETWORKS = {
    "cpmid_resnet18": "resnet18",
    "cpmid_resnet34": "resnet34",
    "cpmid_resnet50": "resnet50",
    "cpmid_resnet101": "resnet101",
    "cpmid_vit_b16": "vit_b16",
}
TITLES = ("ResNet-18", "ResNet-34", "ResNet-50", "ResNet-101", "ViT-B/16")
REFERENCES = ("Deep Residual Learning", "An Image is Worth 16x16 Words")


def content(name: str) -> dict[str, str]:
    """Every file of a bundle, with its own name and its network's taken out."""
    folder = ROOT / "bundles" / name
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        text = path.read_text(encoding="utf-8").replace(name, "NAME").replace(f'"{NETWORKS[name]}"', '"NETWORK"')
        for title in sorted(TITLES, key=len, reverse=True):
            text = text.replace(title, "TITLE")
        lines = [line for line in text.splitlines() if not any(reference in line for reference in REFERENCES)]
        found[path.relative_to(folder).as_posix()] = "\n".join(lines)
    return found


@pytest.mark.parametrize("name", list(NETWORKS)[1:])
def test_siblings_differ_in_their_network_only(name: str) -> None:
    assert content(name) == content("cpmid_resnet18")


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_network_is_the_one_in_the_name(name: str) -> None:
    for file in ("train", "inference"):
        read = json.loads(Path(config(file, folder=ROOT / "bundles" / name)).read_text())
        assert read["network_def"]["backbone"] == NETWORKS[name]


@pytest.mark.parametrize("name", list(NETWORKS))
def test_monais_tools_work_on_each(name: str, tmp_path: Path) -> None:
    folder = ROOT / "bundles" / name
    meta = str(folder / "configs" / "metadata.json")
    words = {"meta_file": meta, "config_file": config("inference", folder=folder)}
    verify_metadata(meta_file=meta, filepath=str(ROOT / "medtl" / "bundle" / "metadata_schema.json"))
    verify_net_in_out("network_def", device="cpu", **words)
    torch.manual_seed(0)
    network = build_classifier(NETWORKS[name], 20).eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    export = {"filepath": str(tmp_path / "model.ts"), "ckpt_file": str(tmp_path / "model.pt"), "key_in_ckpt": ""}
    ckpt_export("network_def", use_trace=True, input_shape=[1, 3, 224, 224], **export, **words)
    picture = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = network(picture)
        assert torch.allclose(torch.jit.load(tmp_path / "model.ts")(picture), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", list(NETWORKS)[1:])
def test_each_trains_an_epoch_and_predicts(name: str, tmp_path: Path) -> None:
    """cpmid_resnet18 is looked at closely in test_bundles.py; here its siblings run."""
    folder = ROOT / "bundles" / name
    data = tmp_path / "data"
    pictures = {split: [draw(data, f"{split}{n}.png", n, 0) for n in range(8)] for split in ("training", "validation")}
    datalist.write(DataList("cpmid", CPMID.classes, 1, "none", "", False, **pictures, test=[]), data)
    run = tmp_path / "run"
    words = (
        "--dataset_dir",
        str(data),
        "--output_dir",
        str(run),
        *SMALL,
        "--batch_size",
        "4",
        "--learning_rate",
        "0.001",
    )
    status, printed = bundle("run", "--config_file", config("train", folder=folder), *words)
    assert status == 0, printed
    words = ("--input", str(data / "images"), "--weights", str(run / "model.pt"), "--output_dir", str(tmp_path / "out"))
    status, printed = bundle(
        "run", "--config_file", config("inference", folder=folder), *words, "--image_size", "32", *CPU
    )
    assert status == 0, printed
    table = rows(tmp_path / "out" / "predictions.csv")
    assert list(table[0])[3:] == PROBABILITIES
    validated = {row["image"]: row for row in rows(run / "predictions.csv")}
    for row in table:
        if f"images/{row['image']}" in validated:
            expected = probabilities([validated[f"images/{row['image']}"]])
            assert probabilities([row]) == pytest.approx(expected, abs=1e-4)
