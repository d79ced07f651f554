"""A released bundle opens where medtl is unknown and computes what was trained; its card and hashes tell the truth."""

import dataclasses
import hashlib
import json
import re
import shutil
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import CPU, ROOT, bundle_here, config, rows
from monai.bundle import ConfigParser, load, run, verify_metadata
from monai.transforms import Compose, NormalizeIntensityd, Resized, ScaleIntensityRanged
from PIL import Image
from released_bundles import (
    CLASSES,
    METRICS,
    START,
    change_record,
    made_run,
    probabilities_of,
    small_list,
    without_medtl,
)
from safetensors.torch import load_file
from typer.testing import CliRunner

from medtl.bundles import release as release_module
from medtl.bundles.inspect import problems_of_bundle
from medtl.bundles.release import release, warnings_of
from medtl.bundles.stock_parts import LOADED
from medtl.catalogue import catalogue
from medtl.cli import app
from medtl.data.pictures import PictureDataset
from medtl.datalist import DataList
from medtl.errors import MedtlError, UsageError
from medtl.files import file_hash
from medtl.networks.classifier import build_classifier
from medtl.networks.registry import backbone_of, names
from medtl.readers.raster import read_raster
from medtl.runs.preprocessing import described
from medtl.runs.record import Preprocessing
from medtl.transforms import LoadPictured
from medtl.weights.card import WeightsCard
from medtl.weights.read import read_state_dict

pytestmark = pytest.mark.slow

SCHEMA = ROOT / "medtl" / "bundles" / "metadata_schema.json"
Made = tuple[Path, Path, DataList, torch.nn.Module]


@pytest.fixture(scope="module")
def made(module_path: Path) -> Made:
    """(bundle, run, data list, network) of a released ResNet-18 whose images were normalised in a way of their own."""
    listed = small_list(module_path / "data")
    network = made_run(module_path / "run", listed, start=START)
    release(module_path / "run", module_path / "tiny_bundle", as_zip=True)
    return module_path / "tiny_bundle", module_path / "run", listed, network


@pytest.mark.parametrize("backbone", names())
def test_stock_network_is_the_one_that_was_trained(backbone: str) -> None:
    size = backbone_of(backbone).nearest(64)[0]
    ours = build_classifier(backbone, 4, in_channels=1, image_size=size, dropout=0.5).eval()
    stock = ConfigParser({"n": backbone_of(backbone).stock(4, 1, size)}).get_parsed_content("n").eval()
    shapes = [{name: tensor.shape for name, tensor in n.state_dict().items()} for n in (ours, stock)]
    assert shapes[0] == shapes[1]
    assert type(stock).__module__.startswith("monai.networks.nets")
    assert isinstance(ours, type(stock))
    stock.load_state_dict(ours.state_dict())
    image = torch.rand(2, 1, size, size)
    with torch.no_grad():
        logits = stock(image)
        assert torch.equal(ours(image), logits[0] if isinstance(logits, tuple) else logits)


def test_network_def_is_literal(made: Made) -> None:
    for name in ("train", "evaluate", "inference"):
        content = json.loads((made[0] / "configs" / f"{name}.json").read_text())
        assert content["network_def"] == {
            "_target_": "monai.networks.nets.resnet18",
            "spatial_dims": 2,
            "n_input_channels": 3,
            "num_classes": 3,
            "conv1_t_stride": 2,
            "bias_downsample": False,
        }


def test_bundle_is_whole_and_its_hashes_are_right(made: Made) -> None:
    folder = made[0]
    assert problems_of_bundle(folder)[1] == []
    verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(SCHEMA))
    listed = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    assert listed == found
    assert set(found) == {
        *(f"configs/{name}" for name in ("metadata.json", "train.json", "evaluate.json", "inference.json")),
        *("configs/logging.conf", "models/model.pt", "models/model.safetensors", "card.json", "LICENSE"),
        *("docs/README.md", "docs/data_license.txt"),
    }


def test_both_weight_files_hold_the_runs_weights(made: Made) -> None:
    wanted = made[3].state_dict()
    plain = torch.load(made[0] / "models" / "model.pt", weights_only=True)
    safe = load_file(made[0] / "models" / "model.safetensors")
    assert list(plain) == list(wanted)
    assert set(safe) == set(wanted)
    for name, tensor in wanted.items():
        assert torch.equal(plain[name], tensor)
        assert torch.equal(safe[name], tensor)


def test_card_says_what_the_weights_are(made: Made) -> None:
    folder, _, listed, _ = made
    card = WeightsCard.from_json((folder / "card.json").read_text())
    assert (card.name, card.architecture.backbone, card.architecture.image_size) == ("tiny_bundle", "resnet18", 48)
    assert card.classes == CLASSES
    assert card.input.mean == tuple(START["mean"])
    assert card.input.std == tuple(START["std"])
    assert card.input.value_range == pytest.approx((-2.0, 3.0))
    assert card.data["entries"] == {"training": 6, "validation": 4, "test": 4}
    assert card.data["sha256"] == hashlib.sha256((listed.folder / "datalist.json").read_bytes()).hexdigest()
    assert card.metrics == METRICS
    assert card.seed == 3
    assert card.licence == "images: CC BY 4.0; start: BSD-3-Clause"
    for name, digest in card.sha256.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    readme = (folder / "docs" / "README.md").read_text()
    assert "| val_accuracy | 0.500 | 0.250 to 0.750 |" in readme
    assert "Not for clinical use" in readme
    assert "PHANTOM" not in readme


def test_no_path_of_the_machine_is_told(made: Made) -> None:
    for path in made[0].rglob("*"):
        if path.suffix in (".json", ".md", ".txt"):
            text = path.read_text()
            assert "/home/" not in text, path
            assert str(made[1].parent) not in text, path


def test_card_that_lacks_something_is_one_line(made: Made) -> None:
    text = (made[0] / "card.json").read_text()
    assert WeightsCard.from_json(text).to_json() == text
    content = json.loads(text)
    for change, words in [
        ({"classes": 5}, "value of the wrong kind"),
        ({"colour": 1}, "unknown 'colour'"),
        ({"input": {"mean": [1]}}, "input: has no 'file_channels'"),
    ]:
        with pytest.raises(MedtlError, match=words):
            WeightsCard.from_json(json.dumps(content | change))
    with pytest.raises(MedtlError, match="not valid JSON"):
        WeightsCard.from_json("{")
    with pytest.raises(MedtlError, match="has no 'name'"):
        WeightsCard.from_json("[]")


def trained_pictures(listed: DataList, size: int, start: dict, paths: list[Path]) -> torch.Tensor:
    """Pictures as the training's own config packs and normalises them."""
    folder = ROOT / "bundles" / "chestxray2017"
    parser = ConfigParser()
    parser.read_config(config("train", folder=folder))
    parser.read_meta(str(folder / "configs" / "metadata.json"))
    parser.update({"image_size": size, "start": f"$type('Start', (), {start!r})", "batch_size": len(paths)})
    entries = [{"image": str(p), "label": 0, "patient": "", "source": "", "sha256": file_hash(p)} for p in paths]
    parser["data"] = replace(listed, validation=entries)
    (batch,) = parser.get_parsed_content("validate#dataloader")
    return batch["image"]


def odd_pictures(folder: Path) -> list[Path]:
    """PNG files of every mode, and a JPEG, with a comma in a name."""
    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (50, 37), dtype=np.uint8)
    colour = random.integers(0, 256, (41, 60, 3), dtype=np.uint8)
    deep = random.integers(0, 2**16, (33, 70), dtype=np.uint16)
    folder.mkdir()
    (folder / "more").mkdir()
    images = {
        'a, b "c".png': Image.fromarray(grey),
        "colour.PNG": Image.fromarray(colour),
        "deep.png": Image.fromarray(deep),
        "deep of 12 bits.png": Image.fromarray(deep >> 4),
        "more/alpha.png": Image.fromarray(colour).convert("RGBA"),
        "more/palette.png": Image.fromarray(colour).convert("P"),
        "more/photo.jpg": Image.fromarray(colour),
        "more/two.png": Image.fromarray(grey > 99),
    }
    for name, image in images.items():
        image.save(folder / name, "JPEG" if name.endswith("jpg") else "PNG")
    (folder / "notes.txt").write_text("no picture")
    return [folder / name for name in sorted(images, key=lambda name: folder / name)]


STAND_ALONE = """
import torch
from pathlib import Path
from monai.bundle import ConfigWorkflow, ckpt_export, load, run, verify_net_in_out
root, pictures, lists, out, traced = sys.argv[1:]
root, out = Path(root), Path(out)
configs = {name: str(root / "configs" / (name + ".json")) for name in ("train", "evaluate", "inference", "metadata")}
here = {"bundle_root": str(root), "device": "cpu"}

workflow = ConfigWorkflow(configs["inference"], workflow_type="inference", dataset_dir=pictures,
                          output_dir=str(out / "inference"), **here)
workflow.initialize()
assert not workflow.check_properties(), workflow.check_properties()
workflow.run()
images = torch.stack([item["image"] for item in workflow.dataset])
network = workflow.parser.get_parsed_content("network").eval()
with torch.no_grad():
    logits = network(images)
torch.save({"images": images, "logits": logits}, out / "stand_alone.pt")

loaded = load(root.name, bundle_dir=root.parent, device="cpu").eval()
assert type(loaded).__module__.startswith("monai.networks.nets.")
with torch.no_grad():
    assert torch.equal(loaded(images), logits)

words = {"meta_file": configs["metadata"], "config_file": configs["inference"]}
verify_net_in_out("network", device="cpu", **words)
ckpt_export("network", filepath=str(out / "model.ts"), ckpt_file=str(root / "models" / "model.pt"),
            use_trace=bool(int(traced)), **words)
with torch.no_grad():
    assert torch.allclose(torch.jit.load(out / "model.ts")(images[:1]), logits[:1], atol=1e-5)

evaluation = ConfigWorkflow(configs["evaluate"], workflow_type="eval", dataset_dir=lists, **here)
evaluation.initialize()
assert not evaluation.check_properties(), evaluation.check_properties()
training = ConfigWorkflow(configs["train"], workflow_type="train", dataset_dir=lists, **here)
training.initialize()
assert not training.check_properties(), training.check_properties()
assert {tuple(item["image"].shape) for item in training.train_dataset} == {tuple(images.shape[1:])}

run(config_file=configs["train"], dataset_dir=lists, output_dir=str(out / "tuned"), epochs=1, learning_rate=1e-12,
    batch_size=3, **here)
"""


def stand_alone(
    root: Path, listed: DataList, tmp_path: Path, traced: bool, code: str = STAND_ALONE
) -> dict[str, torch.Tensor]:
    """Run all of a released bundle without medtl; what the pictures and logits were."""
    (tmp_path / "out").mkdir()
    words = (root, tmp_path / "pictures", listed.folder, tmp_path / "out", int(traced))
    status, printed = without_medtl(code, *words, cwd=tmp_path)
    assert status == 0, printed
    assert "val_accuracy" in printed
    return torch.load(tmp_path / "out" / "stand_alone.pt", weights_only=True)


def check_against_training(
    found: dict[str, torch.Tensor], network: torch.nn.Module, pictures: torch.Tensor, out: Path, atol: float = 1e-6
) -> None:
    """The same pictures, the same logits, the same probabilities in predictions.csv; train.json went on from here."""
    assert torch.allclose(found["images"], pictures, rtol=0, atol=1e-6)
    with torch.no_grad():
        logits = network(found["images"])
        assert torch.allclose(network(pictures), logits, rtol=0, atol=1e-5)
    assert torch.allclose(found["logits"], logits, rtol=0, atol=atol)
    table = rows(out / "inference" / "predictions.csv")
    assert list(table[0]) == ["image", "patient", "split", *(f"prob_{name}" for name in CLASSES)]
    assert np.allclose(probabilities_of(table, CLASSES), logits.softmax(dim=1), rtol=0, atol=atol)
    tuned = torch.load(out / "tuned" / "model.pt", weights_only=True)
    for name, tensor in network.named_parameters():
        assert torch.allclose(tuned[name], tensor, rtol=0, atol=1e-6), name


def test_it_stands_alone(made: Made, tmp_path: Path) -> None:
    folder, _, listed, network = made
    paths = odd_pictures(tmp_path / "pictures")
    with zipfile.ZipFile(folder.with_suffix(".zip")) as archive:
        archive.extractall(tmp_path)
    found = stand_alone(tmp_path / "tiny_bundle", listed, tmp_path, traced=False)
    check_against_training(found, network, trained_pictures(listed, 48, START, paths), tmp_path / "out")
    names = [row["image"] for row in rows(tmp_path / "out" / "inference" / "predictions.csv")]
    assert names == [path.relative_to(tmp_path / "pictures").as_posix() for path in paths]


@pytest.mark.parametrize(("backbone", "size"), [("vit_s14", 56), pytest.param("vit_b16", 32, marks=pytest.mark.full)])
def test_a_vit_stands_alone_and_gives_logits(backbone: str, size: int, tmp_path: Path) -> None:
    listed = small_list(tmp_path / "data", channels=3)
    network = made_run(tmp_path / "run", listed, backbone=backbone, image_size=size)
    release(tmp_path / "run", tmp_path / "tiny_vit")
    paths = odd_pictures(tmp_path / "pictures")
    found = stand_alone(tmp_path / "tiny_vit", listed, tmp_path, traced=True)
    imagenet = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    check_against_training(found, network, trained_pictures(listed, size, imagenet, paths), tmp_path / "out")
    shutil.rmtree(tmp_path)  # large


def test_a_network_of_timm_stands_alone_with_timm(tmp_path: Path) -> None:
    listed = small_list(tmp_path / "data", channels=3)
    network = made_run(tmp_path / "run", listed, backbone="timm/mobilenetv2_100")
    release(tmp_path / "run", tmp_path / "tiny_timm")
    definition = json.loads((tmp_path / "tiny_timm/configs/inference.json").read_text())["network_def"]
    assert (definition["_target_"], definition["model_name"]) == ("timm.create_model", "mobilenetv2_100")
    assert definition["pretrained"] is False
    assert "pip install monai torch pytorch-ignite pillow fire timm torchvision" in (
        tmp_path / "tiny_timm/docs/README.md"
    ).read_text(encoding="utf-8")
    paths = odd_pictures(tmp_path / "pictures")
    # timm brings safetensors along
    code = f"HIDDEN = tuple(name for name in HIDDEN if name != 'safetensors')\n{STAND_ALONE}"
    code = code.replace('startswith("monai.networks.nets.")', 'startswith("timm.models.")')
    found = stand_alone(tmp_path / "tiny_timm", listed, tmp_path, traced=True, code=code)
    imagenet = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    pictures = trained_pictures(listed, 48, imagenet, paths)
    check_against_training(found, network, pictures, tmp_path / "out", atol=1e-5)


FROM_ITS_FOLDER = """
import runpy
def command(*words):
    sys.argv[1:] = ["run", "--config_file", *words]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)

lists, out = sys.argv[1:]
where = ("--dataset_dir", lists, "--device", "cpu")
command("configs/evaluate.json", *where, "--split", "val", "--output_dir", out + "/alone")
command("['configs/train.json','configs/evaluate.json']", *where, "--split", "val", "--output_dir", out + "/both")
command("configs/train.json", *where, "--output_dir", out + "/tuned", "--epochs", "1", "--learning_rate", "1e-12",
        "--network_def#num_classes", "5", "--head", "new", "--num_workers", "1")
command("configs/inference.json")
"""


def test_it_runs_from_its_folder_and_tunes_to_other_classes(made: Made, tmp_path: Path) -> None:
    folder, _, listed, network = made
    status, printed = without_medtl(FROM_ITS_FOLDER, listed.folder, tmp_path, cwd=folder)
    assert status == 1, printed
    assert printed.strip().splitlines()[-1] == "--dataset_dir (missing) holds no PNG or JPEG"
    alone, both = ((tmp_path / name / "metrics.csv").read_text() for name in ("alone", "both"))
    assert alone == both
    metrics = dict(line.split(",") for line in alone.split())
    pictures = trained_pictures(listed, 48, START, [Path(entry["image"]) for entry in listed.absolute("val")])
    with torch.no_grad():
        right = network(pictures).argmax(dim=1) == torch.tensor([entry["label"] for entry in listed.validation])
    assert float(metrics["eval_accuracy"]) == float(right.float().mean())
    tuned = torch.load(tmp_path / "tuned" / "model.pt", weights_only=True)
    assert tuned["fc.weight"].shape == (5, 512)
    assert torch.allclose(tuned["conv1.weight"], network.state_dict()["conv1.weight"], atol=1e-6)
    assert problems_of_bundle(folder)[1] == []


def test_a_trained_run_predicts_the_same_after_its_release(tmp_path: Path) -> None:
    listed = small_list(tmp_path / "data")
    words = ("--dataset_dir", str(listed.folder), "--output_dir", str(tmp_path / "run"), *CPU)
    small = ("--epochs", "1", "--image_size", "32", "--batch_size", "3", "--dropout", "0.3")
    options = {"ema": 0.5, "mixup": 0.4, "accumulate": 2}
    train = config("train", folder=ROOT / "bundles" / "folder")
    told = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    status, printed = bundle_here("run", "--config_file", train, *words, *small, *told)
    assert status == 0, printed
    done = release(tmp_path / "run", tmp_path / "released")
    assert done.card.source["name"] == "folder"
    assert {name: done.card.recipe[name] for name in options} == options
    assert (
        done.card.metrics["val_accuracy"] == json.loads((tmp_path / "run" / "metrics.json").read_text())["val_accuracy"]
    )
    words = {"bundle_root": str(done.folder), "dataset_dir": str(listed.folder / "images"), "device": "cpu"}
    inference = str(done.folder / "configs" / "inference.json")
    run(config_file=inference, output_dir=str(tmp_path / "out"), logging_file=False, **words)
    found = {f"images/{row['image']}": row for row in rows(tmp_path / "out" / "predictions.csv")}
    trained = rows(tmp_path / "run" / "predictions.csv")
    same = probabilities_of([found[row["image"]] for row in trained], CLASSES)
    assert np.allclose(same, probabilities_of(trained, CLASSES), rtol=0, atol=1e-5)


def test_the_same_run_gives_the_same_bytes(made: Made, tmp_path: Path) -> None:
    again = release(made[1], tmp_path / "tiny_bundle", as_zip=True)
    assert again.zip is not None
    assert again.zip.read_bytes() == made[0].with_suffix(".zip").read_bytes()


def test_half_precision_is_asked_for_and_measured(made: Made, tmp_path: Path) -> None:
    done = release(made[1], tmp_path / "half", half=True)
    assert done.card.dtype == "float16"
    assert done.difference is not None
    assert 0 < done.difference < 0.05
    small = torch.load(done.folder / "models" / "model.pt", weights_only=True)
    assert small["fc.weight"].dtype == torch.float16
    assert small["bn1.num_batches_tracked"].dtype == torch.int64
    assert torch.equal(load_file(done.folder / "models" / "model.safetensors")["fc.weight"], small["fc.weight"])
    network = load("half", bundle_dir=tmp_path, device="cpu")
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert torch.equal(network.fc.weight, made[3].fc.weight.half().float())


def test_numbers_beyond_half_precision_are_refused(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made[1], tmp_path / "run")
    state = made[3].state_dict() | {"bn1.running_var": torch.full((64,), 1e6)}
    torch.save(state, tmp_path / "run" / "model.pt")
    with pytest.raises(UsageError, match=r"--half: bn1.running_var holds numbers beyond float16"):
        release(tmp_path / "run", tmp_path / "half", half=True)
    release(tmp_path / "run", tmp_path / "full")


@pytest.mark.parametrize(
    ("name", "sources", "licence", "sample", "words"),
    [
        ("tb", ["tb"], "images: CC BY 4.0", False, []),
        ("cpmid", ["chexpert", "msd", "lidc"], "images: CC BY 4.0", False, []),
        ("tb", ["tb"], "images: not stated", False, ["--licence"]),
        ("folder", ["mine"], "images: that of the images", False, ["--licence", "mine is no public data set"]),
        ("medtl-mini", ["tb", "mine"], "images: CC BY 4.0", False, ["mine is no public data set"]),
        ("folder", ["folder"], "images: phantoms", True, []),
    ],
)
def test_what_to_think_of_before_sharing(
    made: Made, name: str, sources: list[str], licence: str, sample: bool, words: list[str]
) -> None:
    card = WeightsCard.from_json((made[0] / "card.json").read_text())
    data = card.data | {"name": name, "sources": sources, "sample": sample}
    warned = warnings_of(dataclasses.replace(card, data=data, licence=licence))
    assert len(warned) == len(words)
    assert all(word in line for word, line in zip(words, warned, strict=True))


def test_phantoms_are_called_phantoms(tmp_path: Path) -> None:
    listed = small_list(tmp_path / "data", sample=True)
    made_run(tmp_path / "run", listed)
    done = CliRunner().invoke(app, ["release", str(tmp_path / "run"), "--out", str(tmp_path / "drawn")])
    assert done.exit_code == 0, done.output
    assert "PHANTOMS" in done.stdout.splitlines()[-1]
    folder = tmp_path / "drawn"
    for name in ("docs/README.md", "docs/data_license.txt", "configs/metadata.json"):
        assert "PHANTOMS" in (folder / name).read_text(), name
    assert "images: phantoms drawn by medtl (Apache-2.0)" in (folder / "card.json").read_text()
    assert json.loads((folder / "card.json").read_text())["data"]["sample"] is True


def test_independent_classes_get_sigmoids(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made[1], tmp_path / "run")
    change_record(tmp_path / "run", task="multilabel")
    done = release(tmp_path / "run", tmp_path / "several")
    assert done.card.task == "multilabel"
    assert problems_of_bundle(done.folder)[1] == []
    listed = json.loads((made[2].folder / "datalist.json").read_text())
    for split in ("training", "validation", "test"):
        for entry in listed[split]:
            entry["label"] = [int(entry["label"] == c) for c in range(3)]
            entry["image"] = str(made[2].folder / entry["image"])
    (tmp_path / "datalist.json").write_text(json.dumps(listed))
    words = {"bundle_root": str(done.folder), "dataset_dir": str(tmp_path), "device": "cpu", "split": "test"}
    both = [str(done.folder / "configs" / f"{name}.json") for name in ("train", "evaluate")]
    run(config_file=both[0], output_dir=str(tmp_path / "tuned"), epochs=1, logging_file=False, **words)
    assert (tmp_path / "tuned" / "model.pt").is_file()
    run(config_file=both, output_dir=str(tmp_path / "out"), logging_file=False, **words)
    found = dict(line.split(",") for line in (tmp_path / "out" / "metrics.csv").read_text().split())
    pictures = trained_pictures(made[2], 48, START, [Path(entry["image"]) for entry in listed["test"]])
    with torch.no_grad():
        guesses = made[3](pictures) > 0
    truth = torch.tensor([entry["label"] for entry in listed["test"]]) > 0
    assert float(found["eval_accuracy"]) == pytest.approx(float((guesses == truth).float().mean()))


def unlike_a_bundle() -> Preprocessing:
    """What is recorded of pictures whose transforms are not those that a release can state."""
    stages = [LoadPictured("image"), Resized("image", (48, 48), mode="area"), ScaleIntensityRanged("image", 0, 255)]
    found = described(PictureDataset([], Compose([*stages, NormalizeIntensityd("image", [0.5], [0.5])])))
    assert found is not None
    return found


def damaged(tmp_path: Path, what: str) -> Path:
    """A copy of a good run with one thing wrong."""
    run = tmp_path / "run"
    listed = small_list(tmp_path / "data")
    network = made_run(run, listed)
    state = network.state_dict()
    match what:
        case "unfinished":
            change_record(run, status="running")
        case "no metrics":
            (run / "metrics.json").unlink()
        case "other network":
            torch.save(build_classifier("resnet34", 3).state_dict(), run / "model.pt")
        case "other classes":
            torch.save(state | {"fc.weight": torch.zeros(9, 512)}, run / "model.pt")
        case "not numbers":
            torch.save(state | {"fc.bias": torch.tensor([0, float("nan"), 0])}, run / "model.pt")
        case "a pickle":
            torch.save({"x": print}, run / "model.pt")
        case "no bundle":
            change_record(run, bundle={"name": "unheard_of", "version": "0"})
        case "no classifier":
            change_record(run, network={"_target_": "medtl.networks.segmenter.build"})
        case "other pictures":
            change_record(run, preprocessing=asdict(unlike_a_bundle()))
        case "other packing":
            change_record(run, preprocessing=None)
        case "broken record":
            (run / "run.json").write_text("{")
        case "no data":
            change_record(run, status="finished")
            content = json.loads((run / "run.json").read_text())
            del content["data"]
            (run / "run.json").write_text(json.dumps(content))
    return run


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("unfinished", "status 'running'; only a finished run can be released"),
        ("no metrics", "holds no metrics.json; expected a finished training run"),
        ("other network", "does not fit resnet18: of 122 tensors"),
        ("other classes", r"fc.weight is \(9, 512\), expected \(3, 512\)"),
        ("not numbers", r"NaN or infinite weights in 1 tensors \(first fc.bias\)"),
        ("a pickle", "model.pt holds code"),
        ("no bundle", "'unheard_of', which is in no bundles/ folder"),
        ("no classifier", "only classifiers and segmenters of medtl are released"),
        ("other pictures", "prepared pictures by LoadPictured, Resized, .*; expected LoadPictured, Resized, Scale"),
        ("other packing", "does not say how its pictures were prepared"),
        ("broken record", "run.json is not valid JSON"),
        ("no data", "run.json has no 'data'"),
    ],
)
def test_a_run_that_cannot_be_released_is_one_line(what: str, words: str, tmp_path: Path) -> None:
    run = damaged(tmp_path, what)
    with pytest.raises(MedtlError, match=words) as caught:
        release(run, tmp_path / "out", as_zip=True)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run"]


def test_nothing_is_written_over(made: Made, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "zipped.zip").touch()
    (tmp_path / "empty").mkdir()
    for out, words in [("full", "not an empty folder"), ("zipped", "write over"), ("a b", "no name for a bundle")]:
        with pytest.raises(UsageError, match=words):
            release(made[1], tmp_path / out, as_zip=True)
    with pytest.raises(UsageError, match="no such folder"):
        release(tmp_path / "nowhere", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "zipped.zip"]
    assert release(made[1], tmp_path / "empty").folder == tmp_path / "empty"


def test_a_release_that_is_cut_off_leaves_nothing(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(folder: Path, target: Path, name: str) -> None:
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(release_module, "_zip", cut)
    with pytest.raises(KeyboardInterrupt):
        release(made[1], tmp_path / "out", as_zip=True)
    assert list(tmp_path.iterdir()) == []


def test_listing_names_the_card(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "tiny_bundle").symlink_to(made[0])
    monkeypatch.chdir(tmp_path)
    (row,) = (row for row in catalogue()["bundles"] if row["name"] == "tiny_bundle")
    assert row["card"]["classes"] == CLASSES
    assert row["card"]["metrics"] == METRICS
    others = [row for row in catalogue()["bundles"] if row["name"] != "tiny_bundle"]
    assert {row["name"] for row in others if "card" in row} == {"medtl_mini_resnet18"}  # the other recipes hold none
    assert len(others) > 1


def test_flipped_byte_is_found_wherever_weights_are_read(made: Made, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made[0], copy)
    path = copy / "models" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    (copy / "models" / "added.pt").touch()
    told = "models/model.safetensors is damaged"
    assert [line for line in problems_of_bundle(copy)[1] if told in line]
    assert "models/added.pt is not listed in SHA256SUMS" in problems_of_bundle(copy)[1]
    for source in (copy, path):
        with pytest.raises(MedtlError, match=told):
            read_state_dict(source, "--init")
    read_state_dict(copy / "models" / "model.pt")
    (copy / "SHA256SUMS").unlink()
    assert "SHA256SUMS is missing: a released bundle has one" in problems_of_bundle(copy)[1]


def test_commands_in_the_documents_are_commands(made: Made) -> None:
    """Each ``--word`` behind a config of a released bundle is one of its ids; each medtl command exists."""
    documents = [ROOT / "docs" / "bundles.md", made[0] / "docs" / "README.md"]
    lines = [
        line for path in documents for line in path.read_text().splitlines() if "run --config_file configs" in line
    ]
    assert len(lines) >= 6
    for line in lines:
        (name,) = re.findall(r"configs/(\w+)\.json", line)
        ids = json.loads((made[0] / "configs" / f"{name}.json").read_text())
        assert set(re.findall(r"--([a-z_]+)", line)) - {"config_file"} <= set(ids), line
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    told = set(re.findall(r"^medtl (\w+)", documents[0].read_text(), re.MULTILINE))
    assert {"release", "check", "unpack"} <= told <= known


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_read_as_medtl_reads_them(channels: int, tmp_path: Path) -> None:
    """Upright by their EXIF data, black where they are transparent, and scaled by the bits that they use."""
    shown = eval(LOADED[channels].removeprefix("$"))  # as MONAI evaluates it
    drawn = np.random.default_rng(0)
    grey, colour = (drawn.integers(0, 256, shape, dtype=np.uint8) for shape in ((9, 5), (9, 5, 3)))
    indexed = Image.fromarray(colour).convert("P", palette=Image.Palette.ADAPTIVE)
    pictures = {
        "grey.png": Image.fromarray(grey),
        "colour.png": Image.fromarray(colour),
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 16),
        "half.png": Image.fromarray(np.dstack([colour, grey])),
        "half_grey.png": Image.fromarray(np.dstack([grey, grey[::-1]])),
        "palette.png": indexed,
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
    indexed.save(tmp_path / "one_colour_clear.png", transparency=3)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[274] = turn
        Image.fromarray(colour).save(tmp_path / f"turned{turn}.jpg", exif=exif)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 15
    for path in paths:
        with Image.open(path) as picture:
            np.testing.assert_array_equal(np.asarray(shown(picture)), read_raster(path, channels), err_msg=path.name)
