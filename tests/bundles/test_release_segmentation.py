"""A released segmentation predicts where medtl is unknown what medtl predicts, voxel by voxel."""

import json
import re
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import fire
import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import ROOT, config, rows
from monai.bundle import verify_metadata, verify_net_in_out
from PIL import Image
from released_bundles import change_record, without_medtl
from safetensors.torch import load_file
from typer.testing import CliRunner

from medtl import datalist
from medtl.bundles import segmentations as cases
from medtl.bundles.inspect import problems_of_bundle
from medtl.bundles.release import release
from medtl.cli import app
from medtl.datalist import DataList
from medtl.errors import MedtlError, UsageError
from medtl.files import file_hash
from medtl.networks.segmenter import Segmenter, build_segmenter
from medtl.runs.record import Preprocessing, Start
from medtl.runs.recorder import Recorder
from medtl.weights.archive import unpack
from medtl.weights.card import SegmentationArchitecture, VolumeContract, WeightsCard

pytestmark = pytest.mark.slow

SCHEMA = ROOT / "medtl" / "bundles" / "metadata_schema.json"
CHAOS = ROOT / "bundles" / "chaos_deeplabv3"
ORGANS = ("liver", "right_kidney", "left_kidney", "spleen")
LICENCE = "CC BY-NC-SA 4.0 (non-commercial)"
METRICS = {"val_mean_iou": 0.5, "val_dice_liver": 0.75, "val_dice_liver_lo": 0.5, "val_dice_liver_hi": 1.0}
START = {"init": "imagenet", "licence": "BSD-3-Clause", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
SIZE = 48


def masked_list(folder: Path, *, sample: bool = False) -> DataList:
    """Two cases of three slices, one to train and one to validate on."""
    random = np.random.default_rng(5)

    def entry(case: str, number: int) -> dict:
        names = {key: f"{case}_{number}_{key}.png" for key in ("image", "label")}
        pixels = {"image": random.integers(0, 256, (40, 52)), "label": random.integers(0, 5, (40, 52))}
        for key, name in names.items():
            Image.fromarray(pixels[key].astype(np.uint8)).save(folder / name)
        whose = {"patient": f"chaos/MR/{case}", "source": "chaos", "case": f"MR/{case}", "sequence": "T2SPIR"}
        digest = file_hash(folder / names["image"])
        return {**names, **whose, "sha256": digest, "slice": number, "spacing": [2.0, 2.0, 5.0]}

    folder.mkdir()
    splits = [[entry(case, number) for number in range(3)] for case in ("1", "2")]
    datalist.write(DataList("chaos", ORGANS, 1, LICENCE, "test", sample, *splits, []), folder)
    return datalist.read(folder)


def undecided(network: Segmenter) -> Segmenter:
    """Random weights whose five classes all win somewhere."""
    last = [module for module in network.classifier.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    assert last.bias is not None
    with torch.no_grad():
        last.weight.mul_(50)
        last.bias.zero_()
        noise = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
        last.bias.sub_(network(noise).mean(dim=(0, 2, 3)))
    return network


def made_run(folder: Path, listed: DataList, **recipe: object) -> Segmenter:
    """A run folder with random weights, and their network."""
    used = {"backbone": "resnet18", "init": "/home/someone/secret.pt", "fold": None, "sequence": "T2SPIR", "seed": 3}
    used |= {"output_stride": 8, "decoder": "deeplabv3", "auxiliary": 0.0, "postprocess": "none", "image_size": SIZE}
    used |= {"loss": "ce", "epochs": 2, "device": "cpu", "num_workers": 0, "debug": False, **recipe}
    torch.manual_seed(3)
    network = build_segmenter(
        "resnet18", 5, output_stride=used["output_stride"], decoder=used["decoder"], auxiliary=used["auxiliary"] > 0
    )
    undecided(network.eval())
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "model.pt")
    recorder = Recorder({"name": "chaos_deeplabv3", "version": "0.1.0"}, listed, used)
    mean, std = tuple(START["mean"]), tuple(START["std"])
    recorder.record = replace(
        recorder.record,
        start=Start(init="imagenet", licence="BSD-3-Clause", mean=mean, std=std),
        network={
            "_target_": "medtl.networks.segmenter.build_segmenter",
            "backbone": "resnet18",
            "num_classes": 5,
            "in_channels": 3,
            "output_stride": used["output_stride"],
            "decoder": used["decoder"],
            "auxiliary": used["auxiliary"] > 0,
            "image_size": SIZE,
        },
        preprocessing=Preprocessing(
            SIZE, listed.channels, mean, std, "slices", resize="bilinear", percentiles=(0.5, 99.5)
        ),
    )
    recorder.close(folder, epochs=2, best_epoch=1, metrics=METRICS)
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "predictions.csv").write_text("case,patient,split,iou_liver\nMR/2,chaos/MR/2,val,0.5\n")
    return network


def volumes(folder: Path) -> list[str]:
    """NIfTI volumes turned, mirrored, oblique, of several types and shapes."""
    random = np.random.default_rng(7)
    turned = np.array([[0, 0, -3.1, 9], [1.4, 0.2, 0, -7], [-0.2, 1.4, 0, 5], [0, 0, 0, 1]], float)
    kinds = {
        "plain.nii.gz": ((61, 44, 4), np.uint16, np.diag([1.5, 1.5, 5, 1])),
        "more/lps.nii": ((40, 57, 3), np.int16, np.diag([-1.5, -1.5, 5, 1])),
        "more/turned.nii.gz": ((48, 4, 48), np.float32, turned),
        "one slice.nii.gz": ((33, 90, 1), np.uint8, np.diag([1, -1, 4, 1])),
        "echoes.nii.gz": ((30, 31, 2, 2), np.int32, np.diag([2, 2, 5, 1])),
    }
    (folder / "more").mkdir(parents=True)
    for name, (shape, kind, affine) in kinds.items():
        values = random.gamma(2, 40, shape) * (random.random(shape) > 0.2)
        nib.save(nib.Nifti1Image(values.astype(kind), affine.astype(float)), folder / name)
    (folder / "._hidden.nii").touch()
    (folder / "notes.txt").write_text("no volume")
    return list(kinds)


def command(*words: object) -> None:
    """``python -m monai.bundle run WORDS`` inside this process, which spares the imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["monai.bundle", "run", *map(str, words)])
        fire.Fire(vars(monai.bundle))


Made = tuple[Path, Path, Segmenter]


@pytest.fixture(scope="module")
def made(module_path: Path) -> Made:
    """(bundle, run, network) of a released DeepLabV3."""
    network = made_run(module_path / "run", masked_list(module_path / "data"))
    release(module_path / "run", module_path / "organs", as_zip=True)
    return module_path / "organs", module_path / "run", network


def test_bundle_is_whole(made: Made, tmp_path: Path) -> None:
    folder = made[0]
    assert problems_of_bundle(folder)[1] == []
    assert CliRunner().invoke(app, ["check", str(folder)]).exit_code == 0
    verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(SCHEMA))
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {
        *(f"configs/{name}" for name in ("metadata.json", "inference.json", "logging.conf")),
        *(f"models/model.{suffix}" for suffix in ("pt", "safetensors", "ts")),
        *("card.json", "LICENSE", "docs/README.md", "docs/data_license.txt"),
    }
    copy = unpack(folder.with_suffix(".zip"), tmp_path / "copy")
    assert (copy / "SHA256SUMS").read_bytes() == (folder / "SHA256SUMS").read_bytes()


def test_card_says_what_the_weights_are(made: Made) -> None:
    folder = made[0]
    text = (folder / "card.json").read_text()
    card = WeightsCard.from_json(text)
    assert card.to_json() == text
    assert card.architecture == SegmentationArchitecture(
        "resnet18", 3, SIZE, 5, network="DeepLabV3", output_stride=8, decoder="deeplabv3", auxiliary=False
    )
    assert isinstance(card.input, VolumeContract)
    assert card.input.percentiles == (0.5, 99.5)
    assert (card.input.mean, card.input.std) == (tuple(START["mean"]), tuple(START["std"]))
    assert card.classes == ("background", *ORGANS)
    assert card.task == "segmentation"
    assert card.metrics == METRICS
    assert card.licence == f"images: {LICENCE}; start: BSD-3-Clause"
    assert "Training on needs medtl" in card.intended_use
    assert set(card.sha256) == {f"models/model.{suffix}" for suffix in ("pt", "safetensors", "ts")}
    for name, digest in card.sha256.items():
        assert file_hash(folder / name) == digest
    readme = (folder / "docs" / "README.md").read_text()
    for words in ("| val_dice_liver | 0.750 | 0.500 to 1.000 |", "Training on needs medtl", "CC BY-NC-SA"):
        assert words in readme
    assert "CC BY-NC-SA" in (folder / "docs" / "data_license.txt").read_text()
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for told in (b"/home/", str(ROOT).encode(), str(made[1].parent).encode(), sys.prefix.encode()):
            assert told not in content, path


def test_torchscript_computes_what_was_trained_at_any_size(made: Made) -> None:
    folder, _, network = made
    script = torch.jit.load(folder / "models" / "model.ts")
    assert not script.training
    for rows_, columns in ((SIZE, SIZE), (33, 70), (96, 64)):
        pictures = torch.rand(2, 3, rows_, columns)
        with torch.no_grad():
            assert torch.equal(script(pictures), network(pictures))
    wanted = network.state_dict()
    plain = torch.load(folder / "models" / "model.pt", weights_only=True)
    safe = load_file(folder / "models" / "model.safetensors")
    assert list(plain) == list(wanted)
    for name, tensor in wanted.items():
        assert all(torch.equal(state[name], tensor) for state in (plain, safe, script.state_dict())), name
    words = {"meta_file": folder / "configs" / "metadata.json", "config_file": folder / "configs" / "inference.json"}
    verify_net_in_out("network", device="cpu", bundle_root=str(folder), **{k: str(v) for k, v in words.items()})


STAND_ALONE = """
HIDDEN = tuple(name for name in HIDDEN if name != "nibabel")
import runpy
from pathlib import Path
from monai.bundle import ConfigWorkflow
root, volumes, out = sys.argv[1:]
workflow = ConfigWorkflow(root + "/configs/inference.json", workflow_type="inference", bundle_root=root,
                          dataset_dir=volumes, output_dir=out + "/workflow", device="cpu")
workflow.initialize()
assert not workflow.check_properties(), workflow.check_properties()
words = ("--config_file", "configs/inference.json", "--device", "cpu", "--output_dir", out)
sys.argv[1:] = ["run", *words, "--dataset_dir", volumes]
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
sys.argv[1:] = ["run", *words]
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
"""


def compare(tmp_path: Path, names: list[str], weights: Path) -> None:
    """The masks in ``alone``, and those by the recipe's own inference, are the same."""
    own = ("--input", tmp_path / "volumes", "--weights", weights, "--output_dir", tmp_path / "own", "--device", "cpu")
    command("--config_file", config("inference", folder=CHAOS), *own)
    assert len(list((tmp_path / "alone" / "masks").rglob("*.*"))) == len(names)
    everything = []
    for name in names:
        mask = name.removesuffix(".gz").removesuffix(".nii") + ".nii.gz"
        ours, theirs = (nib.load(tmp_path / side / "masks" / mask) for side in ("own", "alone"))
        source = nib.load(tmp_path / "volumes" / name)
        assert theirs.shape == source.shape[:3], name
        assert theirs.get_data_dtype() == np.uint8
        assert np.allclose(theirs.affine, source.affine, rtol=0, atol=1e-5), name
        mine, other = (np.asarray(image.dataobj) for image in (ours, theirs))
        assert (mine == other).all(), (name, (mine != other).sum())
        everything.append(mine.ravel())
    shares = np.bincount(np.concatenate(everything), minlength=5) / sum(map(len, everything))
    assert (shares > 0.01).sum() >= 3, shares  # the network does tell classes apart


def test_it_predicts_alone_what_medtl_predicts(made: Made, tmp_path: Path) -> None:
    names = volumes(tmp_path / "volumes")
    words = (made[0], tmp_path / "volumes", tmp_path / "alone")
    status, printed = without_medtl(STAND_ALONE, *words, cwd=made[0])
    assert status == 1, printed
    assert printed.strip().splitlines()[-1] == "--dataset_dir (missing) holds no NIfTI (.nii, .nii.gz)"
    assert f"masks of {len(names)} volumes" in printed
    compare(tmp_path, names, made[1] / "model.pt")
    assert problems_of_bundle(made[0])[1] == []


def test_so_does_another_network_with_its_largest_pieces(tmp_path: Path) -> None:
    """Decoder, stride, an auxiliary head and post-processing, and medtl reads all of it from the card."""
    words = {"decoder": "deeplabv3plus", "output_stride": 16, "auxiliary": 0.4, "postprocess": "largest"}
    made_run(tmp_path / "run", masked_list(tmp_path / "data"), **words)
    folder = release(tmp_path / "run", tmp_path / "other").folder
    assert problems_of_bundle(folder)[1] == []
    names = volumes(tmp_path / "volumes")
    where = ("--bundle_root", folder, "--dataset_dir", tmp_path / "volumes", "--output_dir", tmp_path / "alone")
    command("--config_file", folder / "configs" / "inference.json", *where, "--device", "cpu")
    compare(tmp_path, names, folder / "models" / "model.pt")


def test_medtl_takes_up_a_released_bundle(made: Made, tmp_path: Path) -> None:
    """Evaluation with the released weights gives what it gives with the run's."""
    folder, run, _ = made
    said = [cases.beside(str(path)) for path in (folder / "models" / "model.pt", folder, folder.with_suffix(".zip"))]
    beside = cases.beside(str(run / "model.pt"))
    for each in said:
        assert each == beside
    configs = config("train", "evaluate", folder=CHAOS)
    for name, weights in (("run", run / "model.pt"), ("released", folder / "models" / "model.pt")):
        words = ("--weights", weights, "--dataset_dir", run.parent / "data", "--output_dir", tmp_path / name)
        command("--config_file", configs, *words, "--num_workers", 0, "--device", "cpu")
    assert (tmp_path / "run" / "metrics.json").read_bytes() == (tmp_path / "released" / "metrics.json").read_bytes()
    assert rows(tmp_path / "released" / "predictions.csv") == rows(tmp_path / "run" / "predictions.csv")


def test_the_same_run_gives_the_same_bytes(made: Made, tmp_path: Path) -> None:
    again = release(made[1], tmp_path / "organs")
    assert (again.folder / "SHA256SUMS").read_bytes() == (made[0] / "SHA256SUMS").read_bytes()
    with zipfile.ZipFile(made[0] / "models" / "model.ts") as archive:
        assert not any(name.endswith("debug_pkl") for name in archive.namelist())
        code = [
            archive.read(name).decode()
            for name in archive.namelist()
            if "/nn/modules/conv" in name and name.endswith(".py")
        ]
    # torch writes these in the order of a set, which differs between processes
    constants = re.findall(r"^ +(\w+) : Final", code[0], re.MULTILINE)
    assert len(constants) > 5
    assert constants == sorted(constants)


def test_phantoms_are_called_phantoms(tmp_path: Path) -> None:
    made_run(tmp_path / "run", masked_list(tmp_path / "data", sample=True))
    done = CliRunner().invoke(app, ["release", str(tmp_path / "run"), "--out", str(tmp_path / "drawn")])
    assert done.exit_code == 0, done.output
    for name in ("docs/README.md", "docs/data_license.txt", "configs/metadata.json"):
        assert "PHANTOMS" in (tmp_path / "drawn" / name).read_text(), name


def test_a_run_that_cannot_be_released_is_one_line(made: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--half: a segmentation's TorchScript model computes in float32"):
        release(made[1], tmp_path / "half", half=True)
    listed = masked_list(tmp_path / "data")
    network = made_run(tmp_path / "run", listed, decoder="deeplabv3plus")
    torch.save({**network.state_dict(), "extra": torch.zeros(1)}, tmp_path / "run" / "model.pt")
    with pytest.raises(MedtlError, match=r"does not fit resnet18: .*unexpected \(first extra\)"):
        release(tmp_path / "run", tmp_path / "out")
    torch.save(network.state_dict(), tmp_path / "run" / "model.pt")
    change_record(tmp_path / "run", preprocessing=None)
    with pytest.raises(MedtlError, match="does not say how its pictures were prepared"):
        release(tmp_path / "run", tmp_path / "out")
    coloured = tmp_path / "coloured"
    datalist.write(replace(listed, channels=3), coloured)
    made_run(tmp_path / "colours", datalist.read(coloured))
    with pytest.raises(MedtlError, match="slices of 3 channel"):
        release(tmp_path / "colours", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "half").exists()
