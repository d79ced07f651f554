"""chaos_deeplabv3 from data list to masks: whole cases, folds by patient, and figures that numpy gives too."""

import json
import sys
from collections import defaultdict
from pathlib import Path

import fire
import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import ROOT, config, rows
from monai.bundle import ConfigParser, ckpt_export, verify_metadata, verify_net_in_out
from monai.bundle.properties import InferProperties, TrainProperties
from PIL import Image

from data_prep import sample
from medtl import datalist
from medtl.bundle import cases
from medtl.bundle.inspect import problems_of_bundle
from medtl.data.slices import box, cases_of, fitted, fitted_mask, unfitted
from medtl.datalist import DataList
from medtl.errors import MedtlError
from medtl.losses_segmentation import PixelLoss
from medtl.metrics.segmentation import names
from medtl.networks.classifier import build_classifier
from medtl.networks.deeplabv3 import build_deeplabv3
from medtl.report.build import write_report

FOLDER = ROOT / "bundles" / "chaos_deeplabv3"
META = str(FOLDER / "configs" / "metadata.json")
ORGANS = ("liver", "right_kidney", "left_kidney", "spleen")
SMALL = ("--epochs", "1", "--image_size", "48", "--batch_size", "12", "--num_workers", "0", "--device", "cpu")


def run(*words: str) -> None:
    """``python -m monai.bundle run WORDS`` inside this process, which spares the imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["monai.bundle", "run", *words])
        fire.Fire(vars(monai.bundle))


def train_words(out: Path, *words: str) -> tuple[str, ...]:
    small = {name: value for name, value in zip(SMALL[::2], SMALL[1::2], strict=True) if name not in words}
    rest = [word for pair in small.items() for word in pair]
    return ("--config_file", config("train", folder=FOLDER), "--output_dir", str(out), *rest, *words)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the sample, fold 0, that has learnt something."""
    out = tmp_path_factory.mktemp("chaos") / "run"
    run(*train_words(out, "--epochs", "3", "--learning_rate", "0.002"))
    return out


@pytest.fixture(scope="module")
def evaluated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("chaos") / "evaluated"
    configs = config("train", "evaluate", folder=FOLDER)
    words = ("--weights", str(trained / "model.pt"), "--num_workers", "0", "--device", "cpu")
    run("--config_file", configs, "--output_dir", str(out), *words)
    return out


def test_bundle_is_whole() -> None:
    assert problems_of_bundle(FOLDER)[1] == []


def test_run_folder_holds_what_the_contract_says(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        *("model.pt", "checkpoints", "predictions.csv", "metrics.json", "run.json", "history.csv", "tensorboard"),
        "overlays",
    }
    table = rows(trained / "predictions.csv")
    assert list(table[0])[: 3 + len(names(ORGANS))] == ["case", "patient", "split", *names(ORGANS)]
    listed = datalist.with_fold(datalist.read(sample.prepared("chaos")), 0)
    expected = {(e["case"], e["patient"], "val") for e in listed.validation if e["sequence"] == "T1DUAL-in"}
    assert {(row["case"], row["patient"], row["split"]) for row in table} == expected
    record = json.loads((trained / "run.json").read_text())
    assert (record["status"], record["recipe"]["fold"], record["recipe"]["sequence"]) == ("finished", 0, "T1DUAL-in")
    state = torch.load(trained / "model.pt", weights_only=True)
    assert state["classifier.4.weight"].shape == (5, 256, 1, 1)
    assert sorted(path.name for path in (trained / "overlays").iterdir()) == sorted(
        f"val_{case.replace('/', '_')}.png" for case, *_ in expected
    )


def test_metrics_are_means_over_cases_and_organs(trained: Path) -> None:
    table, metrics = rows(trained / "predictions.csv"), json.loads((trained / "metrics.json").read_text())
    means = {}
    for name in names(ORGANS):
        there = [float(row[name]) for row in table if row[name]]
        means[name] = np.mean(there)
        assert metrics[f"val_{name}"] == pytest.approx(means[name], rel=1e-5)
    for kind in ("iou", "dice", "hd95"):
        expected = np.mean([means[f"{kind}_{organ}"] for organ in ORGANS])
        assert metrics[f"val_mean_{kind}"] == pytest.approx(expected, rel=1e-5)
    assert metrics["val_iou_liver_lo"] <= metrics["val_iou_liver"] <= metrics["val_iou_liver_hi"]


def test_evaluation_agrees_with_the_validation_of_training(trained: Path, evaluated: Path) -> None:
    for name in ("predictions.csv", "metrics.json"):
        assert (evaluated / name).read_bytes() == (trained / name).read_bytes()


def test_iou_equals_one_by_numpy_from_the_written_masks(trained: Path, evaluated: Path) -> None:
    """The saved masks against the data list's own pictures, slice by slice, by plain counting."""
    data = sample.prepared("chaos")
    truth: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    for entry in datalist.read(data).training:
        if entry["sequence"] == "T1DUAL-in" and entry["fold"] == 0:
            truth[entry["case"]][entry["slice"]] = np.asarray(Image.open(data / entry["label"]))
    table = {row["case"]: row for row in rows(trained / "predictions.csv")}
    assert set(table) == set(truth)
    for case, slices in truth.items():
        image = nib.load(evaluated / "masks" / f"{case.replace('/', '_')}.nii.gz")
        mask = np.asarray(image.dataobj)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        assert float(table[case]["iou_liver"]) > 0.1
        whole = np.stack([slices[number].T for number in sorted(slices)], axis=2)
        for index, organ in enumerate(ORGANS, start=1):
            a, b = whole == index, mask == index
            shared, union = int((a & b).sum()), int((a | b).sum())
            assert float(table[case][f"iou_{organ}"]) == pytest.approx(shared / union, rel=1e-6)
            assert float(table[case][f"dice_{organ}"]) == pytest.approx(2 * shared / (a.sum() + b.sum()), rel=1e-6)


@pytest.fixture(scope="module")
def folds() -> list[DataList]:
    folder = str(sample.prepared("chaos"))
    return [cases.data(folder, ORGANS, "T1DUAL-in", fold) for fold in range(3)]


def test_every_patient_is_validated_once_and_never_trained_on_then(folds: list[DataList]) -> None:
    validated: list[str] = []
    for listed in folds:
        training, validation = ({entry["patient"] for entry in part} for part in (listed.training, listed.validation))
        assert not training & validation
        assert len(training | validation) == 6
        validated += validation
        assert {entry["sequence"] for _, entry in listed} == {"T1DUAL-in"}
    assert len(validated) == len(set(validated)) == 6


def test_cases_are_never_split(folds: list[DataList]) -> None:
    for listed in folds:
        for split in ("training", "validation"):
            for case in cases_of(getattr(listed, split)):
                assert case.numbers == tuple(range(len(case.numbers)))  # all of its slices, in order
    entries = folds[0].training
    broken = DataList("chaos", ORGANS, 1, "", "", False, entries[1:], entries[:1], [])
    with pytest.raises(MedtlError, match="may not be split"):
        cases._check_apart(broken)


def listed_with(folder: Path, *sequences: str, fold: bool = True) -> str:
    """A data list with one entry a sequence."""
    entries = [
        {"image": "a.png", "label": "b.png", "patient": f"p{n}", "source": "s", "sha256": str(n), "sequence": name}
        | ({"fold": n % 3} if fold else {})
        for n, name in enumerate(sequences)
    ]
    validation = [] if fold else [{**entries[0], "patient": "other"}]
    datalist.write(DataList("chaos", ORGANS, 1, "", "", False, entries, validation, []), folder)
    return str(folder)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (("CT", "T1DUAL-in", "T1DUAL-out", "T2SPIR"), "T1DUAL-in"),
        (("CT", "T2SPIR"), "T2SPIR"),
        (("T1DUAL-out", "T2SPIR"), "name one: --sequence NAME"),
        (("CT",), "expected an MR sequence"),
    ],
)
def test_auto_takes_t1_in_phase_or_the_only_mr(
    there: tuple[str, ...], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = listed_with(tmp_path, *there)
    if expected in there:
        assert cases.sequence_in(folder) == expected
    else:
        with pytest.raises(SystemExit):
            cases.sequence_in(folder)
        assert expected in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cases.sequence_in(folder, "CT")


def test_fold_is_the_first_where_there_are_any(tmp_path: Path) -> None:
    assert cases.default_fold(listed_with(tmp_path / "folds", "T2SPIR", "T2SPIR")) == 0
    undealt = listed_with(tmp_path / "none", "CT", "T2SPIR", "T2SPIR", fold=False)
    assert cases.default_fold(undealt) is None
    listed = cases.data(undealt, ORGANS, "T2SPIR", None)
    assert (len(listed.training), len(listed.validation)) == (2, 0)
    assert len(cases.data(undealt, ORGANS, None, None).validation) == 1


def test_start_and_frozen_trunk_stay_in_the_trained_weights(tmp_path: Path) -> None:
    """Another decoder, loss, stride, sequence and fold, from a classifier's weights."""
    torch.manual_seed(3)
    classifier = build_classifier("resnet18", 7)
    torch.save(classifier.state_dict(), tmp_path / "classifier.pt")
    words = "--decoder deeplabv3plus --loss dice_ce --output_stride 16 --sequence T2SPIR --fold 1 --postprocess largest"
    start = ("--init", str(tmp_path / "classifier.pt"), "--freeze", "trunk", "--auxiliary", "0.4")
    run(*train_words(tmp_path / "run", *words.split(), *start))
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["start"]["coverage"] == 1.0
    assert record["start"]["file"] == "classifier.pt"
    assert record["recipe"]["sequence"] == "T2SPIR"
    state = torch.load(tmp_path / "run/model.pt", weights_only=True)
    for name, tensor in classifier.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(state[f"backbone.{name}"], tensor), name
    build_deeplabv3("resnet18", 5, output_stride=16, decoder="deeplabv3plus", auxiliary=True).load_state_dict(state)
    patients = {row["patient"] for row in rows(tmp_path / "run/predictions.csv")}
    assert patients == {"chaos/MR/2", "chaos/MR/8"}


def test_inference_writes_masks_on_the_sources_grid(trained: Path, tmp_path: Path) -> None:
    source = sample.download("chaos") / "Train_Sets" / "MR" / "5"
    words = ("--input", str(source), "--weights", str(trained / "model.pt"), "--output_dir", str(tmp_path / "out"))
    run("--config_file", config("inference", folder=FOLDER), *words, "--save", "nifti,dicom_png", "--device", "cpu")
    table = rows(tmp_path / "out/predictions.csv")
    names_ = [row["case"] for row in table]
    assert names_ == ["T1DUAL/DICOM_anon/InPhase", "T1DUAL/DICOM_anon/OutPhase", "T2SPIR/DICOM_anon"]
    for name in names_:
        mask = nib.load(tmp_path / "out/masks" / f"{name}.nii.gz")
        assert mask.shape == (128, 128, len(list((source / name).iterdir())))
        assert (tmp_path / "out/overlays" / f"{name}.png").is_file()
    pictures = sorted((tmp_path / "out/Task5/MR/5/T2SPIR/Results").iterdir())
    assert len(pictures) == len(list((source / "T2SPIR/DICOM_anon").iterdir()))
    assert {value for path in pictures for value in np.unique(np.asarray(Image.open(path)))} <= {0, 63, 126, 189, 252}


def test_inference_predicts_what_evaluation_did(trained: Path, evaluated: Path, tmp_path: Path) -> None:
    """From DICOM by geometry, and from data_prep's pictures: the same organs in the same voxels."""
    source = sample.download("chaos") / "Train_Sets" / "MR" / "5" / "T1DUAL" / "DICOM_anon" / "InPhase"
    words = ("--input", str(source), "--weights", str(trained / "model.pt"), "--output_dir", str(tmp_path / "out"))
    run("--config_file", config("inference", folder=FOLDER), *words, "--device", "cpu")
    ours, theirs = (
        np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)
        for path in (tmp_path / "out/masks/InPhase.nii.gz", evaluated / "masks/MR_5.nii.gz")
    )
    assert ours.any()
    assert (ours == theirs).mean() > 0.9999


def test_report_reads_the_run(trained: Path) -> None:
    paths = write_report(trained)
    text = paths[1].read_text()
    metrics = json.loads((trained / "metrics.json").read_text())
    assert f"{metrics['val_mean_iou']:.3f}"[1:] in text
    assert "liver" in text
    for path in paths:
        path.unlink()


def parsed(data: str | None) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(config("train", folder=FOLDER))
    parser.read_meta(META)
    parser["dataset_dir"] = str(sample.prepared("chaos"))
    if data is None:  # any data list that is not the sample
        parser["data"] = "$type('Listed', (), {'sample': False})"
    return parser


def test_only_the_presets_three_values_differ_on_the_sample() -> None:
    recipes = [parsed(data).get_parsed_content("recipe") for data in ("sample", None)]
    assert {name for name in recipes[0] if recipes[0][name] != recipes[1][name]} == {
        "epochs",
        "batch_size",
        "image_size",
    }
    protocol = {"output_stride": 8, "loss": "ce", "postprocess": "none", "epochs": 100}
    assert {name: recipes[1][name] for name in protocol} == protocol


def test_batches_are_dictionaries_of_image_label_index() -> None:
    parser = parsed("sample")
    parser["device"] = "cpu"
    batch = next(iter(parser.get_parsed_content("train#dataloader")))
    assert set(batch) == {"image", "label", "index"}
    assert batch["image"].shape == (4, 3, 96, 96)
    assert (batch["label"].shape, batch["label"].dtype) == ((4, 96, 96), torch.int64)


@pytest.mark.parametrize(("name", "properties"), [("train", TrainProperties), ("inference", InferProperties)])
def test_configs_have_the_ids_that_monai_requires(name: str, properties: dict[str, dict]) -> None:
    parser = ConfigParser()
    parser.read_config(config(name, folder=FOLDER))
    parser.read_meta(META)
    assert [each["id"] for each in properties.values() if each["required"] and each["id"] not in parser] == []


def test_monais_tools_work(tmp_path: Path) -> None:
    words = {"meta_file": META, "config_file": config("inference", folder=FOLDER)}
    verify_metadata(meta_file=META, filepath=str(ROOT / "medtl" / "bundle" / "metadata_schema.json"))
    verify_net_in_out("network_def", device="cpu", **words)
    network = build_deeplabv3("resnet18", 5).eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    export = {"filepath": str(tmp_path / "model.ts"), "ckpt_file": str(tmp_path / "model.pt"), "key_in_ckpt": ""}
    ckpt_export("network_def", **export, **words)
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(torch.jit.load(tmp_path / "model.ts")(picture), network(picture), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--key_metric", "auc"), "--key_metric auc is not one of mean_iou"),
        (("--loss", "focal"), "--loss focal: expected ce or dice_ce"),
        (("--postprocess", "crf"), "--postprocess crf: expected none or largest"),
        (("--output_stride", "4"), "--output_stride 4: expected 8 or 16"),
        (("--batch_size", "1"), "at least 2 slices a process"),
        (("--fold", "7"), "--fold 7"),
        (("--sequence", "T1"), "--sequence T1: --dataset_dir"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    words: tuple[str, ...], expected: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run(*train_words(tmp_path / "run", *words))
    assert end.value.code == 2
    assert expected in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("rows_", "columns"), [(256, 256), (320, 260), (100, 288), (40, 40)])
def test_squares_keep_the_shape_of_organs_and_come_back(rows_: int, columns: int) -> None:
    size = 96
    top, left, height, width = box(rows_, columns, size)
    assert max(height, width) == size
    assert height / width == pytest.approx(rows_ / columns, rel=0.02)
    mask = np.zeros((rows_, columns), np.uint8)
    mask[rows_ // 4 : rows_ // 2, columns // 4 : columns // 2] = 3
    square = fitted_mask(mask, size)
    assert not square[:top].any()
    assert not square[:, :left].any()
    logits = torch.nn.functional.one_hot(torch.from_numpy(square).long(), 5).permute(2, 0, 1).float()
    back = unfitted(logits, rows_, columns).argmax(0).numpy()
    assert back.shape == mask.shape
    shared = ((back == 3) & (mask == 3)).sum() / ((back == 3) | (mask == 3)).sum()
    assert shared > 0.85
    picture = np.where(mask, 200, 50).astype(np.uint8)
    assert abs(fitted(picture[np.newaxis], size)[0][square == 3].mean() - 200) < 12


def test_losses_weigh_both_heads() -> None:
    torch.manual_seed(0)
    logits, masks = torch.randn(2, 2, 5, 8, 8), torch.randint(0, 5, (2, 8, 8))
    entropy = torch.nn.functional.cross_entropy
    expected = entropy(logits[:, 0], masks) + 0.4 * entropy(logits[:, 1], masks)
    assert PixelLoss("ce", 0.4)(logits, masks) == pytest.approx(float(expected))
    probabilities = logits[:, 0].softmax(1)
    truth = torch.nn.functional.one_hot(masks, 5).permute(0, 3, 1, 2).float()
    shared, both = (probabilities * truth).sum((0, 2, 3)), (probabilities + truth).sum((0, 2, 3))
    dice = 1 - (2 * shared / both)[1:].mean()
    found = PixelLoss("dice_ce", 0)(logits[:, 0], masks)
    assert float(found) == pytest.approx(float(entropy(logits[:, 0], masks) + dice), rel=1e-4)
