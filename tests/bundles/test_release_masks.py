"""A released segmentation of pictures predicts where medtl is unknown what medtl predicts, pixel by pixel."""

import sys
from pathlib import Path

import fire
import monai.bundle
import numpy as np
import pytest
import torch
from bundle_runs import ROOT, config
from masked_runs import CLASSES, MEAN, SIZE, STD, made_run, masked_list
from monai.bundle import verify_metadata, verify_net_in_out
from PIL import Image
from released_bundles import without_medtl
from typer.testing import CliRunner

from medtl.bundles.audit.files import tree
from medtl.bundles.inspect import problems_of_bundle
from medtl.bundles.release import release
from medtl.bundles.release_segmentation import export
from medtl.cli import app
from medtl.networks.registry import DECODERS
from medtl.networks.segmenter import build_segmenter, output_stride_of
from medtl.weights.card import SegmentationArchitecture, VolumeContract, WeightsCard

pytestmark = pytest.mark.slow

SEGMENT = ROOT / "bundles" / "segment"


def pictures(folder: Path) -> list[str]:
    """PNG and JPEG of several shapes and modes."""
    random = np.random.default_rng(7)
    kinds = {
        "plain.png": (64, 64, 3),
        "more/wide.png": (50, 121, 3),
        "more/tall.jpg": (200, 77, 3),
        "grey.png": (31, 45),
    }
    (folder / "more").mkdir(parents=True)
    for name, shape in kinds.items():
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(shape[1::-1])
        (coarse if len(shape) == 3 else coarse.convert("L")).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return list(kinds)


def command(*words: object) -> None:
    """``python -m monai.bundle run WORDS`` inside this process, which spares the imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["monai.bundle", "run", *map(str, words)])
        fire.Fire(vars(monai.bundle))


ALONE = """
import runpy
root, pictures, out = sys.argv[1:]
words = ("--config_file", "configs/inference.json", "--device", "cpu", "--output_dir", out)
sys.argv[1:] = ["run", *words, "--dataset_dir", pictures]
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
sys.argv[1:] = ["run", *words]
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("backbone", "decoder", "postprocess", "patch_size"),
    [
        ("resnet18", "cenet", "none", 0),
        ("timm/mobilenetv2_100", "unet", "largest", 0),
        ("timm/mobilenetv2_100", "unet", "none", SIZE),
    ],
)
def test_it_predicts_alone_what_medtl_predicts(
    backbone: str, decoder: str, postprocess: str, patch_size: int, tmp_path: Path
) -> None:
    network = made_run(tmp_path / "run", masked_list(tmp_path / "data"), backbone, decoder, postprocess, patch_size)
    folder = release(tmp_path / "run", tmp_path / "eyes").folder
    assert problems_of_bundle(folder)[1] == []
    assert CliRunner().invoke(app, ["check", str(folder)]).exit_code == 0
    schema = ROOT / "medtl" / "bundles" / "metadata_schema.json"
    verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(schema))

    text = (folder / "card.json").read_text()
    card = WeightsCard.from_json(text)
    assert card.to_json() == text
    assert isinstance(card.architecture, SegmentationArchitecture)
    assert (card.architecture.backbone, card.architecture.decoder) == (backbone, decoder)
    assert not isinstance(card.input, VolumeContract)
    assert (card.input.file_channels, card.input.mean, card.input.std) == (3, MEAN, STD)
    assert card.classes == ("background", *CLASSES)
    assert "NIfTI" not in (folder / "docs" / "README.md").read_text()

    script = torch.jit.load(folder / "models" / "model.ts")
    noise = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(script(noise), network(noise))
    words = {"meta_file": folder / "configs" / "metadata.json", "config_file": folder / "configs" / "inference.json"}
    verify_net_in_out("network", device="cpu", bundle_root=str(folder), **{k: str(v) for k, v in words.items()})

    names = pictures(tmp_path / "pictures")
    status, printed = without_medtl(ALONE, folder, tmp_path / "pictures", tmp_path / "alone", cwd=folder)
    assert status == 1, printed
    assert printed.strip().splitlines()[-1] == "--dataset_dir (missing) holds no PNG or JPEG"
    assert f"masks of {len(names)} pictures" in printed
    own = ("--input", tmp_path / "pictures", "--weights", folder / "models" / "model.pt", "--device", "cpu")
    command("--config_file", config("inference", folder=SEGMENT), *own, "--output_dir", tmp_path / "own")
    found = set()
    for name in names:
        masks = []
        for side in ("own", "alone"):
            with Image.open((tmp_path / side / "masks" / name).with_suffix(".png")) as mask:
                assert mask.mode == "L"
                masks.append(np.asarray(mask))
        with Image.open(tmp_path / "pictures" / name) as picture:
            assert masks[1].shape == picture.size[::-1]
        # means over windows differ in their last digit, which may decide where noise gives two classes the same
        assert (masks[0] != masks[1]).mean() <= (1e-3 if patch_size else 0), name
        found |= set(np.unique(masks[0]).tolist())
    assert found == {0, 1, 2}
    assert problems_of_bundle(folder)[1] == []


@pytest.mark.parametrize("backbone", ["resnet18", "timm/mobilenetv3_small_050"])
def test_every_decoder_is_exported_and_calls_reviewed_operators_alone(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, SIZE, SIZE)
    for card in DECODERS.records():
        stride = output_stride_of(backbone, card.name)
        network = build_segmenter(backbone, 3, output_stride=stride, decoder=card.name, auxiliary=True).eval()
        what = SegmentationArchitecture(
            backbone, 3, SIZE, 3, network=card.title, output_stride=stride, decoder=card.name, auxiliary=True
        )
        export(network, what, tmp_path / f"{card.name}.ts")
        with torch.no_grad():
            assert torch.equal(torch.jit.load(tmp_path / f"{card.name}.ts")(pictures), network(pictures)), card.name
    names = frozenset(path.name for path in tmp_path.iterdir())
    assert len(names) == len(DECODERS.names()) >= 5
    assert tree(tmp_path, names).unreviewed == []
