"""chaos_deeplabv3 from data list to masks: whole cases, folds by patient, and figures that numpy gives too."""

import io
import json
import math
import re
import sys
from collections import defaultdict
from pathlib import Path

import fire
import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import ROOT, bundle_here, config, last_line, rows
from chaos_lists import SHAPE, SPACING, draw_case, write_list
from monai.bundle import ConfigParser, ckpt_export, verify_metadata, verify_net_in_out
from monai.bundle.properties import InferProperties, TrainProperties
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_prep import sample
from medtl import datalist
from medtl.bundles import segmentations as cases
from medtl.bundles.inspect import problems_of_bundle
from medtl.data.slices import box, cases_of, fitted, fitted_mask, unfitted
from medtl.datalist import DataList
from medtl.errors import MedtlError, UsageError
from medtl.losses_segmentation import PixelLoss
from medtl.metrics.segmentation import names
from medtl.networks.classifier import build_classifier
from medtl.networks.segmenter import build_segmenter
from medtl.report.build import write_report

pytestmark = pytest.mark.slow

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
def trained(module_path: Path) -> Path:
    """A short run on the sample, fold 0, that has learnt something; what it printed lies beside it."""
    out = module_path / "run"
    longer = ("--epochs", "4", "--batch_size", "6", "--learning_rate", "0.001")
    status, printed = bundle_here("run", *train_words(out, *longer))
    assert status == 0, printed
    out.with_suffix(".log").write_text(printed)
    return out


@pytest.fixture(scope="module")
def evaluated(trained: Path, module_path: Path) -> Path:
    out = module_path / "evaluated"
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


def truths() -> dict[str, np.ndarray]:
    """(columns, rows, slices) of fold 0's cases from the data list's own pictures."""
    data = sample.prepared("chaos")
    slices: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    for entry in datalist.read(data).training:
        if entry["sequence"] == "T1DUAL-in" and entry["fold"] == 0:
            slices[entry["case"]][entry["slice"]] = np.asarray(Image.open(data / entry["label"]))
    return {case: np.stack([found[n].T for n in sorted(found)], axis=2) for case, found in slices.items()}


def test_last_line_says_what_came_out_beside_what_guessing_gives(trained: Path) -> None:
    line = last_line(trained.with_suffix(".log").read_text())
    said = re.fullmatch(r"best epoch [1-4] of 4: val_mean_iou (0\.\d{3}) \(chance (0\.\d{3})\); (.*)", line)
    assert said is not None, line
    assert said[3] == f"weights, predictions, metrics and overlays in {trained}"
    metrics = json.loads((trained / "metrics.json").read_text())
    assert said[1] == f"{metrics['val_mean_iou']:.3f}"
    shares = [[(truth == index).mean() for index in range(1, 5)] for truth in truths().values()]
    assert said[2] == f"{np.mean(shares):.3f}"  # all four organs are in all cases
    assert float(said[1]) > 2 * float(said[2])


def test_overlays_are_in_tensorboard_too(trained: Path) -> None:
    shown = EventAccumulator(str(trained / "tensorboard"), size_guidance={"images": 0})
    shown.Reload()
    names_ = {f"overlays/val {row['case']}": row["case"] for row in rows(trained / "predictions.csv")}
    assert set(shown.Tags()["images"]) == set(names_)
    for tag, case in names_.items():
        (event,) = shown.Images(tag)
        picture = Image.open(io.BytesIO(event.encoded_image_string))
        written = Image.open(trained / "overlays" / f"val_{case.replace('/', '_')}.png")
        assert np.array_equal(np.asarray(picture), np.asarray(written))
        grey, truth, _ = np.split(np.asarray(written), 3, axis=1)
        assert (grey[..., 0] == grey[..., 2]).all()
        assert (truth[..., 0] != truth[..., 2]).any()  # organs have colours
    assert shown.Tags()["scalars"]


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
    truth = truths()
    table = {row["case"]: row for row in rows(trained / "predictions.csv")}
    assert set(table) == set(truth)
    for case, whole in truth.items():
        image = nib.load(evaluated / "masks" / f"{case.replace('/', '_')}.nii.gz")
        mask = np.asarray(image.dataobj)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        assert float(table[case]["iou_liver"]) > 0.1
        for index, organ in enumerate(ORGANS, start=1):
            a, b = whole == index, mask == index
            shared, union = int((a & b).sum()), int((a | b).sum())
            assert float(table[case][f"iou_{organ}"]) == pytest.approx(shared / union, rel=1e-6)
            assert float(table[case][f"dice_{organ}"]) == pytest.approx(2 * shared / (a.sum() + b.sum()), rel=1e-6)


def test_missing_organs_are_scored_by_the_documented_rule(tmp_path: Path) -> None:
    """By a network that calls every voxel liver."""
    network = build_segmenter("resnet18", 5)
    with torch.no_grad():
        network.classifier[4].weight.zero_()
        network.classifier[4].bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]))
    torch.save(network.state_dict(), tmp_path / "model.pt")
    (tmp_path / "data").mkdir()
    training = draw_case(tmp_path / "data", "1", 3)
    validation = [*draw_case(tmp_path / "data", "2", 3, (1, 4)), *draw_case(tmp_path / "data", "3", 4, (2,))]
    words = ("--weights", tmp_path / "model.pt", "--dataset_dir", write_list(tmp_path / "data", training, validation))
    more = ("--output_dir", tmp_path / "out", "--image_size", "32", "--num_workers", "0", "--device", "cpu")
    run("--config_file", config("train", "evaluate", folder=FOLDER), *map(str, (*words, *more)))
    two, three = rows(tmp_path / "out" / "predictions.csv")
    liver = (np.asarray(Image.open(tmp_path / "data" / "2_1_mask.png")) == 1).sum() / (3 * np.prod(SHAPE))
    far = [math.dist((0, 0, 0), (SHAPE[1] * SPACING[0], SHAPE[0] * SPACING[1], n * SPACING[2])) for n in (3, 4)]
    assert float(two["iou_liver"]) == pytest.approx(liver, rel=1e-6)  # there and found
    assert [float(two[name]) for name in ("iou_spleen", "dice_spleen", "hd95_spleen")] == pytest.approx([0, 0, far[0]])
    assert [float(three[name]) for name in ("iou_liver", "dice_liver", "hd95_liver")] == pytest.approx([0, 0, far[1]])
    assert float(three["iou_right_kidney"]) == 0
    for row, absent in ((two, ("right_kidney", "left_kidney")), (three, ("left_kidney", "spleen"))):
        assert {row[f"{kind}_{organ}"] for kind in ("iou", "dice", "hd95") for organ in absent} == {""}
    assert float(two["mean_iou"]) == pytest.approx(liver / 2, rel=1e-6)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["val_iou_liver"] == pytest.approx(liver / 2, rel=1e-6)  # of both cases
    assert "val_iou_left_kidney" not in metrics
    assert metrics["val_mean_iou"] == pytest.approx(liver / 2 / 3, rel=1e-6)  # over the organs that are anywhere


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
def test_auto_takes_t1_in_phase_or_the_only_mr(there: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    folder = listed_with(tmp_path, *there)
    if expected in there:
        assert cases.sequence_in(folder) == expected
    else:
        with pytest.raises(UsageError, match=expected):
            cases.sequence_in(folder)
    with pytest.raises(UsageError, match="on CT only the liver is marked"):
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
    build_segmenter("resnet18", 5, output_stride=16, decoder="deeplabv3plus", auxiliary=True).load_state_dict(state)
    patients = {row["patient"] for row in rows(tmp_path / "run/predictions.csv")}
    assert patients == {"chaos/MR/2", "chaos/MR/8"}


def itk_corners(path: Path) -> list[tuple[float, ...]]:
    """Where ITK puts the first, the last and each axis's last voxel of a DICOM folder or a file, in LPS+ mm."""
    itk = pytest.importorskip("itk")
    names_ = itk.GDCMSeriesFileNames.New()
    if path.is_dir():
        names_.SetDirectory(str(path))
    image = itk.imread(list(names_.GetInputFileNames()) if path.is_dir() else str(path))
    x, y, z = (int(size) - 1 for size in image.GetLargestPossibleRegion().GetSize())
    voxels = ((0, 0, 0), (x, 0, 0), (0, y, 0), (0, 0, z), (x, y, z))
    return [tuple(image.TransformIndexToPhysicalPoint(voxel)) for voxel in voxels]


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
        series, masked = (itk_corners(path) for path in (source / name, tmp_path / "out/masks" / f"{name}.nii.gz"))
        assert np.allclose(series, masked, atol=0.01)
        assert (tmp_path / "out/overlays" / f"{name}.png").is_file()
    pictures = sorted((tmp_path / "out/Task5/MR/5/T2SPIR/Results").iterdir())
    assert len(pictures) == len(list((source / "T2SPIR/DICOM_anon").iterdir()))
    assert {value for path in pictures for value in np.unique(np.asarray(Image.open(path)))} <= {0, 63, 126, 189, 252}


@pytest.mark.parametrize("alone", [True, False])
def test_inference_names_what_it_cannot_use_and_ends_with_status_3(alone: bool, trained: Path, tmp_path: Path) -> None:
    """CT for a network of MR, beside an MR series or by itself."""
    sets = sample.download("chaos") / "Train_Sets"
    (tmp_path / "in").mkdir()
    (tmp_path / "in/ct").symlink_to(sets / "CT/1/DICOM_anon")
    if not alone:
        (tmp_path / "in/mr").symlink_to(sets / "MR/5/T2SPIR/DICOM_anon")
    out = tmp_path / "out"
    words = ("--input", str(tmp_path / "in"), "--weights", str(trained / "model.pt"), "--output_dir", str(out))
    status, printed = bundle_here("run", "--config_file", config("inference", folder=FOLDER), *words, "--device", "cpu")
    assert status == 3, printed
    refused = rows(out / "rejected.csv")
    assert {row["file"] for row in refused} == {f"ct/{path.name}" for path in (sets / "CT/1/DICOM_anon").iterdir()}
    assert {row["reason"] for row in refused} == {"modality CT, and the network knows MR alone"}
    assert (out / "predictions.csv").is_file() != alone
    assert "Traceback" not in printed
    if not alone:
        assert [row["case"] for row in rows(out / "predictions.csv")] == ["mr"]
        assert (out / "masks/mr.nii.gz").is_file()


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
    parser = ConfigParser(globals={"ids": "medtl.bundles.ids"})
    parser.read_config(config("train", folder=FOLDER))
    parser.read_meta(META)
    parser["dataset_dir"] = str(sample.prepared("chaos"))
    if data is None:  # any data list that is not the sample
        parser["data"] = "$type('Listed', (), {'sample': False})"
    parser["recorded"] = "$ids.recipe()"
    return parser


def test_only_the_presets_three_values_differ_on_the_sample() -> None:
    recipes = [parsed(data).get_parsed_content("recorded") for data in ("sample", None)]
    assert {name for name in recipes[0] if recipes[0][name] != recipes[1][name]} == {
        "epochs",
        "batch_size",
        "image_size",
    }
    protocol = {"output_stride": 8, "loss": "ce", "auxiliary": 0, "postprocess": "none", "epochs": 100}
    protocol |= {"sequence": "T1DUAL-in", "fold": 0, "train_fraction": 1, "decoder": "deeplabv3"}
    assert {name: recipes[1][name] for name in protocol} == protocol


def test_defaults_build_the_papers_protocol() -> None:
    """An eighth of the picture's size, plain cross-entropy, and the first of three folds by patient."""
    parser = parsed("sample")
    parser["device"] = "cpu"
    *_, third, last = parser.get_parsed_content("network").backbone.eval()(torch.zeros(1, 3, 64, 64))
    assert third.shape[-2:] == last.shape[-2:] == (8, 8)
    logits, masks = torch.randn(2, 5, 8, 8), torch.randint(0, 5, (2, 8, 8))
    entropy = torch.nn.functional.cross_entropy(logits, masks)
    assert torch.allclose(parser.get_parsed_content("loss_function")(logits, masks), entropy)
    assert {entry["fold"] for entry in parser.get_parsed_content("data").validation} == {0}
    assert {entry["fold"] for entry in parser.get_parsed_content("data").training} == {1, 2}


def test_batches_are_dictionaries_of_image_label_index() -> None:
    parser = parsed("sample")
    parser["device"] = "cpu"
    batch = next(iter(parser.get_parsed_content("train#dataloader")))
    assert set(batch) == {"image", "label", "index"}
    assert batch["image"].shape == (4, 3, 80, 80)
    assert (batch["label"].shape, batch["label"].dtype) == ((4, 80, 80), torch.int64)


@pytest.mark.parametrize(("name", "properties"), [("train", TrainProperties), ("inference", InferProperties)])
def test_configs_have_the_ids_that_monai_requires(name: str, properties: dict[str, dict]) -> None:
    parser = ConfigParser()
    parser.read_config(config(name, folder=FOLDER))
    parser.read_meta(META)
    assert [each["id"] for each in properties.values() if each["required"] and each["id"] not in parser] == []


def test_monais_tools_work(tmp_path: Path) -> None:
    words = {"meta_file": META, "config_file": config("inference", folder=FOLDER)}
    verify_metadata(meta_file=META, filepath=str(ROOT / "medtl" / "bundles" / "metadata_schema.json"))
    verify_net_in_out("network_def", device="cpu", **words)
    network = build_segmenter("resnet18", 5).eval()
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
        (("--loss", "focal"), "--loss focal: expected ce, balanced_ce, dice_ce, lovasz"),
        (("--postprocess", "crf"), "--postprocess crf: expected none or largest"),
        (("--output_stride", "4"), "--output_stride 4: expected 8 or 16"),
        (("--batch_size", "1"), "at least 2 pictures per process"),
        (("--fold", "7"), "--fold 7"),
        (("--sequence", "T1"), "--sequence T1: --dataset_dir"),
        (("--sequence", "CT"), "--sequence CT: on CT only the liver is marked"),
        (("--resume", "elsewhere"), "--resume elsewhere: expected auto"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    words: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=expected):
        run(*train_words(tmp_path / "run", *words))
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


class Watched(torch.nn.CrossEntropyLoss):
    """Counts its batches."""

    calls = 0

    def forward(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        Watched.calls += 1
        return super().forward(logits, masks)


def test_a_second_config_replaces_components(tmp_path: Path) -> None:
    """Network, loss, optimiser, schedule, augmentation and a handler, each under MONAI's own id."""
    here = {
        "network_def": {"_target_": f"{__name__}.build_segmenter", "backbone": "resnet18", "num_classes": 5},
        "loss_function": {"_target_": f"{__name__}.Watched"},
        "optimizer": {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": 0.01},
        "lr_scheduler": {"_target_": "torch.optim.lr_scheduler.ConstantLR", "optimizer": "@optimizer", "factor": 0.5},
        "train#augmentation": {"_target_": "medtl.bundles.facade.joint_normalisation"},
        "validate#inferer": {"_target_": "SlidingWindowInferer", "roi_size": [48, 48], "sw_batch_size": 4},
    }
    (tmp_path / "here.json").write_text(json.dumps(here))
    Watched.calls = 0
    files = str([str(FOLDER / "configs" / "train.json"), str(tmp_path / "here.json")])
    run("--config_file", files, "--output_dir", str(tmp_path / "run"), *SMALL)
    assert Watched.calls == 5  # 60 slices, 12 a batch
    (row,) = rows(tmp_path / "run/history.csv")
    assert float(row["learning_rate"]) == pytest.approx(0.005)
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "finished"
