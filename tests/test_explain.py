"""medtl explain: Grad-CAM by hand, planted evidence, Dice with lesions, and what a user sees and gets wrong."""

import csv
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser
from PIL import Image
from released_bundles import CLASSES, START, change_record, made_run, small_list
from sklearn.metrics import f1_score
from torch import nn
from typer.testing import CliRunner

from medtl import datalist
from medtl.cli import app
from medtl.datalist import DataList
from medtl.errors import BadFileError, MedtlError
from medtl.explain.heat import heat_of, layer_of, scaled
from medtl.explain.overlap import Overlap, disc, overlap, summary
from medtl.explain.panel import LARGEST, Panel, write_panel
from medtl.explain.pictures import Item, from_files, from_list, panel_names, read_mask
from medtl.explain.subject import Subject, of_run
from medtl.handlers.grad_cam import GradCAMOverlays
from medtl.networks.classifier import build_classifier

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
NETWORK = {"_target_": "medtl.networks.classifier.build_classifier", "num_classes": 3, "image_size": 64}


def by_autograd(network: nn.Module, layer: str, image: torch.Tensor, class_index: int) -> tuple[np.ndarray, np.ndarray]:
    """A layer's activations and the gradients of a class's logit there, (width, rows, columns)."""
    kept = []

    def keep(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        kept.append(output)
        return output.clone()  # what follows may write into it

    handle = network.get_submodule(layer).register_forward_hook(keep)
    logit = network(image)[0, class_index]
    handle.remove()
    (gradient,) = torch.autograd.grad(logit, kept)
    maps = kept[0].detach()[0].numpy(), gradient[0].numpy()
    if maps[0].ndim == 3:
        is_last = maps[0].shape[0] == maps[0].shape[1]  # channels, of a Swin
        return (maps[0].transpose(2, 0, 1), maps[1].transpose(2, 0, 1)) if is_last else maps
    side = image.shape[2] // 16
    return maps[0][-(side**2) :].T.reshape(-1, side, side), maps[1][-(side**2) :].T.reshape(-1, side, side)


@pytest.fixture(scope="module", params=[("resnet18", 96), ("vit_b16", 48), ("densenet121", 64)], ids=lambda p: p[0])
def seen(request: pytest.FixtureRequest) -> tuple[nn.Module, str, torch.Tensor, int]:
    """A network in double precision, its layer, a picture and a class for which something speaks."""
    backbone, size = request.param
    torch.manual_seed(1)
    network = build_classifier(backbone, 3, image_size=size).double().eval()
    image = torch.rand(1, 3, size, size, dtype=torch.float64)
    layer = layer_of(backbone)
    spoken_for = (c for c in range(3) if grad_cam(*by_autograd(network, layer, image, c)).any())
    return network, layer, image, next(spoken_for)


def by_own_maximum(values: np.ndarray) -> np.ndarray:
    return values / values.max()


def grad_cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Selvaraju et al. 2017, equations 1 and 2."""
    return np.maximum(np.einsum("c,crk->rk", gradients.mean(axis=(1, 2)), activations), 0)


def grad_cam_pp(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Chattopadhay et al. 2018, equation 19 in 10, without the factor exp(score)."""
    sums = 2 * gradients**2 + (activations * gradients**3).sum(axis=(1, 2), keepdims=True)
    alpha = np.divide(gradients**2, sums, out=np.zeros_like(sums + gradients), where=gradients != 0)
    weights = (alpha * np.maximum(gradients, 0)).sum(axis=(1, 2))
    return np.maximum(np.einsum("c,crk->rk", weights, activations), 0)


def test_grad_cam_is_that_of_the_paper(seen: tuple[nn.Module, str, torch.Tensor, int]) -> None:
    network, _, image, class_index = seen
    found = heat_of(*seen)
    expected = grad_cam(*by_autograd(*seen))
    np.testing.assert_allclose(found.values, expected, rtol=1e-5, atol=1e-6 * expected.max())
    assert found.class_index == class_index
    np.testing.assert_allclose(found.logits, network(image)[0].detach(), rtol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "size"), [("timm/swin_tiny_patch4_window7_224", 64), ("timm/vit_little_patch16_reg4_gap_256", 48)]
)
def test_grad_cam_with_channels_last_and_with_registers_is_that_of_the_paper(backbone: str, size: int) -> None:
    torch.manual_seed(1)
    network = build_classifier(backbone, 3, image_size=size).double().eval()
    image, layer = torch.rand(1, 3, size, size, dtype=torch.float64), layer_of(backbone)
    maps = [grad_cam(*by_autograd(network, layer, image, c)) for c in range(3)]
    assert any(each.any() for each in maps)
    for class_index, expected in enumerate(maps):
        found = heat_of(network, layer, image, class_index).values
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * expected.max())


def test_grad_cam_pp_is_that_of_the_paper(seen: tuple[nn.Module, str, torch.Tensor, int]) -> None:
    found = heat_of(*seen, "gradcam++").values
    expected = grad_cam_pp(*by_autograd(*seen))
    assert expected.any()
    np.testing.assert_allclose(by_own_maximum(found), by_own_maximum(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["gradcam", "gradcam++"])
def test_of_one_number_the_map_is_of_what_raises_it(method: str) -> None:
    torch.manual_seed(4)
    network = build_classifier("resnet18", 1, image_size=64).double().eval()
    what = network, "layer4.1.bn2", torch.rand(1, 3, 64, 64, dtype=torch.float64), 0
    if not grad_cam(*by_autograd(*what)).any():
        with torch.no_grad():
            network.fc.weight.neg_()  # everything lowered the number: now it raises it
    activations, gradients = by_autograd(*what)
    expected = {"gradcam": grad_cam, "gradcam++": grad_cam_pp}[method](activations, gradients)
    assert expected.any()
    found = heat_of(*what[:3], method=method)
    np.testing.assert_allclose(by_own_maximum(found.values), by_own_maximum(expected), rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        network.fc.weight.neg_()  # what raised the number lowers it now
    opposite = heat_of(*what[:3], method=method).values
    assert not np.allclose(opposite, found.values)
    if method == "gradcam":
        np.testing.assert_allclose(opposite, grad_cam(activations, -gradients), rtol=1e-4, atol=1e-6 * expected.max())


def test_grad_cam_pp_of_small_gradients_and_large_logits() -> None:
    """MONAI adds 1e-7 to squares of gradients and multiplies by exp(score)."""
    torch.manual_seed(3)
    network = build_classifier("resnet18", 2, image_size=64).double().eval()
    network.fc.weight.data /= 1000
    network.fc.bias.data += 2000
    what = network, "layer4.1.bn2", torch.rand(1, 3, 64, 64, dtype=torch.float64), 1
    activations, gradients = by_autograd(*what)
    assert np.abs(gradients).max() < 1e-4
    expected = by_own_maximum(grad_cam_pp(activations, gradients))
    np.testing.assert_allclose(by_own_maximum(heat_of(*what, "gradcam++").values), expected, rtol=1e-3, atol=1e-4)


def test_a_frozen_network_is_explained_alike_and_left_as_it_was() -> None:
    torch.manual_seed(2)
    network = build_classifier("resnet18", 2, image_size=64)
    image = torch.rand(1, 3, 64, 64)
    network.train()
    network.layer1.eval()
    before = heat_of(network, "layer4.1.bn2", image, 0).values
    assert before.any()
    modes = [module.training for module in network.modules()]
    network.fc.weight.grad = torch.ones_like(network.fc.weight)
    statistics = network.bn1.running_mean.clone()
    for parameter in network.layer1.parameters():
        parameter.requires_grad_(False)
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    with torch.no_grad():
        np.testing.assert_array_equal(heat_of(network, "layer4.1.bn2", image, 0).values, before)
    assert [parameter.requires_grad for parameter in network.parameters()] == wanted
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(network.bn1.running_mean, statistics)
    assert network.fc.weight.grad.eq(1).all()
    assert network.conv1.weight.grad is None
    network.requires_grad_(False)
    np.testing.assert_array_equal(heat_of(network, "layer4.1.bn2", image, 0).values, before)
    assert not network.layer4[1].bn2._forward_hooks


class Small(nn.Module):
    """A classifier whose layer ``norm`` has a grid of 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 7, stride=8, padding=3)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(nn.functional.relu(self.norm(self.conv(images))).mean(dim=(2, 3)))


@pytest.mark.parametrize("method", ["gradcam", "gradcam++"])
def test_the_heat_is_where_the_evidence_was_planted(method: str) -> None:
    """Class 1 are pictures with a bright square in one corner."""
    torch.manual_seed(0)
    images = torch.rand(48, 1, 64, 64) * 0.3
    corners = [(row, column) for row in (2, 42) for column in (2, 42)] * 6
    for number, (row, column) in enumerate(corners):
        images[2 * number, :, row : row + 20, column : column + 20] += 0.7
    images = images.expand(-1, 3, -1, -1)
    labels = 1 - torch.arange(48).remainder(2)
    network = Small()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    for number, (row, column) in enumerate(corners[:4]):
        mask = np.zeros((64, 64), dtype=bool)
        mask[row : row + 20, column : column + 20] = True
        heat = heat_of(network, "norm", images[2 * number : 2 * number + 1], method=method)
        assert heat.class_index == 1
        found = overlap(heat.values, mask)
        assert found.dice_180 > 0.6 > 3 * max(found.dice_180_random, found.dice_180_centre)


def test_the_dice_of_the_hottest_pixels_by_hand() -> None:
    random = np.random.default_rng(0)
    for shape in ((12, 17), (9, 9)):
        values = random.random(shape).astype(np.float32)
        mask = np.zeros(shape, dtype=bool)
        mask[2:7, 3:9] = True
        hot = 255 * values / values.max() > 180
        found = overlap(values, mask)
        assert found.dice_180 == pytest.approx(f1_score(mask.ravel(), hot.ravel()))
        assert (found.hot_area, found.mask_area) == (hot.sum(), mask.sum())
        moved = [np.roll(hot, by, axis=(0, 1)) for by in np.ndindex(shape)]
        assert found.dice_180_random == pytest.approx(
            np.mean([2 * (each & mask).sum() / (each.sum() + mask.sum()) for each in moved])
        )
        middle = disc(found.hot_area, shape)
        assert middle.sum() == found.hot_area
        assert found.dice_180_centre == pytest.approx(f1_score(mask.ravel(), middle.ravel()))
    empty = overlap(np.zeros((3, 3), dtype=np.float32), mask)
    assert (empty.dice_180, empty.dice_180_random, empty.dice_180_centre, empty.hot_area) == (0, 0, 0, 0)


def test_hot_is_what_lies_above_180_and_not_at_it() -> None:
    values = np.array([[255, 180, 181], [179, 0, 180]], dtype=np.float32)
    assert overlap(values, np.ones((2, 3), dtype=bool)).hot_area == 2


def test_a_disc_lies_in_the_middle() -> None:
    inside = np.argwhere(disc(80, (20, 40)))
    np.testing.assert_allclose(inside.mean(axis=0), (9.5, 19.5), atol=0.1)
    assert np.hypot(*(inside - (9.5, 19.5)).T).max() < 1.1 * np.sqrt(80 / np.pi)


def test_maps_are_enlarged_like_pictures_and_scaled_by_their_maximum() -> None:
    values = np.random.default_rng(1).random((3, 5)).astype(np.float32)
    enlarged = np.asarray(Image.fromarray(values).resize((35, 27), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(scaled(values, 27, 35), 255 * enlarged / enlarged.max(), rtol=1e-4)
    assert not scaled(np.zeros((2, 2), dtype=np.float32), 8, 8).any()


def test_means_with_intervals_by_patient() -> None:
    found = [Overlap(d, 0.25, d / 2, 10, 10) for d in (0.5, 0.75, 0.25, 0.5, 0.875)]
    alone = summary(found[:2], ["a", "a"])
    assert alone["dice_180"] == 0.625
    assert not any(name.endswith(("_lo", "_hi")) for name in alone)
    several = summary(found, list("abcde"))
    assert several["above_random"] == pytest.approx(several["dice_180"] - 0.25)
    assert 0.25 <= several["dice_180_lo"] < several["dice_180"] < several["dice_180_hi"] <= 0.875
    assert several["above_centre"] == pytest.approx(several["dice_180"] / 2)
    assert "dice_180_random_lo" not in several  # all alike


@pytest.mark.parametrize(("channels", "shape"), [(1, (50, 70)), (3, (64, 48, 3)), (1, (40, 40))])
def test_pictures_are_prepared_as_by_the_inference_of_the_bundles(
    channels: int, shape: tuple[int, ...], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mean, std = START["mean"], START["std"]
    subject = Subject(nn.Identity(), "resnet18", CLASSES, 40, channels, tuple(mean), tuple(std))
    parser = ConfigParser()
    parser.read_config(str(ROOT / "bundles" / "breastmnist" / "configs" / "inference.json"))
    parser["image_size"], parser["start"] = 40, subject
    transform = parser.get_parsed_content("preprocessing")
    expected = transform({"image": str(tmp_path / "a.png")})["image"]
    np.testing.assert_allclose(subject.prepared(pixels)[0], expected, rtol=1e-5, atol=1e-6)


def entries(*labels: float) -> list[dict]:
    return [
        {"image": f"i/{n}.png", "label": label, "patient": str(n), "source": "s", "sha256": "0"}
        for n, label in enumerate(labels)
    ]


def test_the_choice_is_balanced_repeatable_and_only_grows() -> None:
    listed = DataList("made", CLASSES, 1, "", "", False, [], entries(*[0] * 9, 1, 1, 2), [])
    chosen = from_list(listed, "val", 6, seed=5)
    assert sorted(item.label for item in chosen) == [0, 0, 0, 1, 1, 2]
    assert {item.label for item in from_list(listed, "val", 3, seed=5)} == {0, 1, 2}
    assert chosen == from_list(listed, "validation", 6, seed=5) != from_list(listed, "val", 6, seed=6)
    assert len(from_list(listed, "val", 0)) == len(from_list(listed, "val", 99)) == 12
    sizes = [{item.image for item in from_list(listed, "val", number, seed=5)} for number in range(1, 13)]
    assert all(small < large for small, large in itertools.pairwise(sizes))


def test_numbers_are_chosen_from_all_sizes() -> None:
    numbers = [float(number) for number in np.random.default_rng(0).permutation(400)]
    listed = DataList("made", ("age",), 1, "", "", False, [], entries(*numbers), [])
    chosen = [item.label for item in from_list(listed, "val", 8, seed=5)]
    assert [sum(100 * k <= number < 100 * (k + 1) for number in chosen) for k in range(4)] == [2, 2, 2, 2]


def test_overlays_of_different_pictures_have_different_names() -> None:
    def item(image: str, sha256: str = "0") -> Item:
        return Item(Path(image), image, sha256=sha256)

    def named(*images: str, suffix: str = "", taken: dict | None = None) -> list[str]:
        return panel_names([item(image) for image in images], suffix, taken or {})

    assert named("x/a.png", "x/b.dcm", "v.nii.gz#7") == ["a", "b", "v-007"]
    assert named("x/a.png", "y/a.png", "b.png") == ["x-a", "y-a", "b"]
    assert named("a.png", "A.jpg") == ["a.png", "A.jpg"]
    assert named("x/a.png", "x-a.png", "b.png") == ["a", "x-a", "b"]
    assert named("x/a.png", "x-a.png", "a.png") == ["x-a.png-2", "x-a", "a"]
    assert named("1.2.840.10", "ä b+.png") == ["1.2.840.10", "ä-b"]
    assert named("a.png", suffix="_gradcampp") == ["a_gradcampp"]
    assert named("a.png", taken={"a": ("a.png", "0")}) == ["a"]
    assert named("a.png", taken={"a": ("a.png", "1")}) == ["a.png"]


def test_names_hold_no_more_of_a_path_than_tells_pictures_apart(tmp_path: Path) -> None:
    for place in ("p/x/1.png", "p/x/2.png", "q/x/1.png", "q/x/z/3.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / place)

    def named(*places: str) -> list[str]:
        return [item.image for item in from_files([tmp_path / place for place in places])[0]]

    assert named("p/x") == ["1.png", "2.png"]
    assert named("p/x/1.png", "q/x/z") == ["1.png", "3.png"]
    assert named("p/x", "q/x") == ["p/x/1.png", "p/x/2.png", "q/x/1.png", "q/x/z/3.png"]
    assert named("q", "q/x", "q/x/1.png") == ["x/1.png", "x/z/3.png"]


def test_the_same_panel_is_the_same_file_and_never_large(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    panel = Panel(pixels, np.eye(4, dtype=np.float32), np.eye(9) > 0, "a $x_1$", "Grad-CAM for ÿ", ("words", "more"))
    for name in "ab":
        write_panel(tmp_path / f"{name}.png", panel)
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    assert len(content) <= LARGEST
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["Description"] == "a $x_1$ | Grad-CAM for ÿ | words | more"
        assert "Software" not in image.info


@pytest.fixture(scope="module")
def made(module_path: Path) -> tuple[Path, DataList, nn.Module]:
    """A run folder, its data list whose val pictures have masks (the first an empty one), and its network."""
    listed = small_list(module_path / "data")
    for number, entry in enumerate(listed.validation):
        mask = np.zeros((40, 48), dtype=np.uint8)
        mask[5 : 5 + 8 * number, 10:30] = 1
        entry["mask"] = f"masks/{number}.png"
        (module_path / "data" / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(module_path / "data" / entry["mask"])
    datalist.write(listed, module_path / "data")
    return module_path, listed, made_run(module_path / "run", listed, start=START, image_size=64)


@pytest.fixture
def run(made: tuple[Path, DataList, nn.Module]) -> Iterator[Path]:
    yield made[0] / "run"
    shutil.rmtree(made[0] / "run" / "explain", ignore_errors=True)


def explain(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["explain", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        error = done.exception
        assert isinstance(error, MedtlError), repr(error)
        return error.exit_status, done.stdout, str(error)
    return done.exit_code, done.stdout, done.stderr


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "explain.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_of_a_data_list(made: tuple[Path, DataList, nn.Module], run: Path) -> None:
    folder, listed, network = made
    status, printed, _ = explain(run, "--dataset_dir", folder / "data", "--number", 3)
    assert (status, printed.count("\n")) == (0, 1)
    assert "3 overlays (Grad-CAM at layer4.1.bn2 of resnet18 for the predicted class)" in printed
    assert "not for clinical use" in printed
    found = rows(run / "explain")
    assert sorted(path.name for path in (run / "explain").iterdir()) == sorted(
        ["explain.csv", "explain.json", *(row["panel"] for row in found)]
    )
    assert {row["label"] for row in found} == set(CLASSES)
    subject = of_run(run)
    for row in found:
        entry = next(e for e in listed.validation if e["image"] == row["image"])
        assert (row["patient"], row["split"], row["label"]) == (entry["patient"], "val", CLASSES[entry["label"]])
        pixels = np.asarray(Image.open(folder / "data" / entry["image"]))
        probabilities = torch.softmax(network(subject.prepared(pixels)), dim=1)[0].detach().numpy()
        assert row["predicted"] == row["class"] == CLASSES[probabilities.argmax()]
        assert float(row["prob"]) == pytest.approx(probabilities.max(), abs=1e-5)
        mask = np.asarray(Image.open(folder / "data" / entry["mask"])) > 0
        assert int(row["mask_area"]) == mask.sum()
        heat = heat_of(network, "layer4.1.bn2", subject.prepared(pixels)).values
        if mask.any():
            assert float(row["dice_180"]) == pytest.approx(overlap(heat, mask).dice_180, abs=1e-6)
        else:
            assert row["dice_180"] == row["hot_area"] == ""
        with Image.open(run / "explain" / row["panel"]) as image:
            assert f"label {row['label']}" in image.info["Description"]
    dice = [float(row["dice_180"]) for row in found if row["dice_180"]]
    (told,) = json.loads((run / "explain" / "explain.json").read_text())["maps"]
    assert (told["pictures"], told["lesions"]) == (3, len(dice))
    assert told["dice_180"] == pytest.approx(np.mean(dice))


def test_a_second_call_adds_and_the_same_call_changes_nothing(
    made: tuple[Path, DataList, nn.Module], run: Path
) -> None:
    words = (run, "--dataset_dir", made[0] / "data", "--number", 1)
    explain(*words)
    before = {path.name: path.read_bytes() for path in (run / "explain").iterdir()}
    explain(*words)
    assert {path.name: path.read_bytes() for path in (run / "explain").iterdir()} == before
    explain(*words, "--class", "label", "--method", "gradcam++", "--split", "test")
    explain(*words, "--class", CLASSES[2])
    found = rows(run / "explain")
    assert len(found) == 3
    assert {path.name for path in (run / "explain").glob("*.png")} == {row["panel"] for row in found}
    assert sum(row["panel"].endswith("_gradcampp_label.png") and row["split"] == "test" for row in found) == 1
    assert all(row["class"] == row["label"] for row in found if row["asked"] == "label")
    assert sum(row["class"] == row["asked"] == CLASSES[2] for row in found) == 1
    assert len(json.loads((run / "explain" / "explain.json").read_text())["maps"]) == 3
    (run / "explain" / next(row["panel"] for row in found if row["asked"] == "label")).unlink()
    explain(*words, "--class", CLASSES[2])
    assert {row["asked"] for row in rows(run / "explain")} == {"predicted", CLASSES[2]}
    told = json.loads((run / "explain" / "explain.json").read_text())
    (run / "explain" / "explain.json").write_text(json.dumps({**told, "weights_sha256": "0"}))
    status, _, error = explain(*words)
    assert (status, "overlays of other weights" in error) == (2, True)


def test_files_that_the_user_names_and_one_that_cannot_be_read(
    made: tuple[Path, DataList, nn.Module], run: Path, tmp_path: Path
) -> None:
    shutil.copy(made[0] / "data" / made[1].validation[0]["image"], tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "broken.nii").write_bytes(b"no volume")
    status, printed, errors = explain(run, tmp_path, tmp_path / "broken.png", "--out", tmp_path / "out")
    assert status == 3
    (row,) = rows(tmp_path / "out")
    assert (row["image"], row["panel"], row["label"], row["mask_area"]) == ("good.png", "good.png", "", "")
    assert "broken.png is not a readable image" in errors
    assert "broken.nii" in errors
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir() if path.suffix != ".png")
    assert str(tmp_path) not in written + errors
    status, printed, errors = explain(run, tmp_path / "broken.png", "--out", tmp_path / "none")
    assert (status, printed) == (3, "none of 1 pictures could be read\n")
    assert [path.name for path in (tmp_path / "none").iterdir()] == ["rejected.csv"]


def test_a_picture_whose_file_or_mask_is_not_as_listed_is_left_out(
    made: tuple[Path, DataList, nn.Module], run: Path, tmp_path: Path
) -> None:
    shutil.copytree(made[0] / "data", tmp_path / "data")
    listed = datalist.read(tmp_path / "data")
    (tmp_path / "data" / listed.validation[0]["mask"]).unlink()
    shutil.copy(tmp_path / "data" / listed.validation[2]["image"], tmp_path / "data" / listed.validation[1]["image"])
    status, _, errors = explain(run, "--dataset_dir", tmp_path / "data")
    assert status == 3
    assert "mask that is missing" in errors
    assert "another SHA-256" in errors
    assert len(rows(run / "explain")) == 2


def test_masks_are_read_as_data_prep_reads_them(tmp_path: Path) -> None:
    lesion = np.zeros((6, 5), dtype=bool)
    lesion[1:3, 2:4] = True
    seen = Image.fromarray(np.where(lesion[..., None], 255, [90, 90, 90, 0]).astype(np.uint8))  # alpha is the lesion
    indexed = Image.fromarray(lesion.astype(np.uint8) * 2)
    indexed.putpalette([0, 0, 0, 9, 9, 9, 20, 0, 0])
    deep = Image.fromarray(lesion.astype(np.uint16) * 300)
    for name, image in {"indexed": indexed, "deep": deep}.items():
        image.save(tmp_path / f"{name}.png")
        assert (read_mask(tmp_path / f"{name}.png") == lesion).all(), name
    seen.save(tmp_path / "seen.png")
    with pytest.raises(BadFileError, match="mask with 3 channels"):
        read_mask(tmp_path / "seen.png")
    fractions = Image.fromarray(lesion.astype(np.float32) / 2)
    fractions.save(tmp_path / "fractions.tif")
    deep.save(tmp_path / "pages.tif", save_all=True, append_images=[deep])
    for name in ("fractions.tif", "pages.tif"):
        with pytest.raises(BadFileError, match="has a mask that"):
            read_mask(tmp_path / name)


def test_a_run_of_a_fold_is_explained_on_it(made: tuple[Path, DataList, nn.Module], tmp_path: Path) -> None:
    listed = made[1]
    folded = [{**entry, "fold": number % 2} for number, entry in enumerate(listed.training)]
    datalist.write(replace(listed, training=folded, validation=[]), made[0] / "data" / "folded")
    for split in ("images", "masks"):
        (made[0] / "data" / "folded" / split).symlink_to(made[0] / "data" / split)
    made_run(tmp_path / "run", datalist.read(made[0] / "data" / "folded"), fold=1)
    assert explain(tmp_path / "run", "--dataset_dir", made[0] / "data" / "folded")[0] == 0
    found = {row["image"] for row in rows(tmp_path / "run" / "explain")}
    assert found == {entry["image"] for entry in folded if entry["fold"] == 1}


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["a.png", "--class", "Bacterial"], 2, "did you mean Bacterial pneumonia?"),
        (["a.png", "--class", "label"], 2, "only a data list"),
        (["a.png", "--method", "gradcm"], 2, "did you mean gradcam?"),
        (["none.png"], 2, "none.png: no such file"),
        (["empty"], 2, "holds no PNG"),
        ([], 2, "expected pictures, or --dataset_dir"),
        (["a.png", "--dataset_dir", "x"], 2, "not both"),
        (["--dataset_dir", "x"], 2, "x: no such folder"),
        (["--dataset_dir", "data", "--split", "tset"], 2, "split 'tset' is not one of"),
        (["--dataset_dir", "other"], 2, "has the classes a, b; the run has Normal"),
    ],
)
def test_mistakes_in_the_words(
    words: list[str], status: int, told: str, made: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (40, 40)).save("a.png")
    Path("empty").mkdir()
    Path("data").symlink_to(made[0] / "data")
    datalist.write(DataList("made", ("a", "b"), 1, "", "", False, [], entries(0, 1), []), Path("other"))
    found, printed, error = explain(made[0] / "run", *words)
    assert (found, printed, error.strip().count("\n")) == (status, "", 0)
    assert told in error


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ("no folder", 2, "no such folder; expected a run"),
        ("no model.pt", 2, "holds no model.pt"),
        ("no run.json", 2, "holds no run.json"),
        ({"recipe": 3}, 1, "has recipe '3'; expected an object"),
        ({"network": {"_target_": "medtl.networks.segmenter.Segmenter"}}, 1, "a run of Segmenter"),
        ({"task": "segmentation"}, 1, "a run of a segmentation network"),
        ({"network": {**NETWORK, "backbone": "alexnet"}}, 2, "'alexnet' is not one of"),
        ({"network": NETWORK, "recipe": {"image_size": 64}}, 1, "names no backbone"),
        ({"network": {**NETWORK, "backbone": "resnet34"}}, 1, "not of this network"),
    ],
)
def test_mistakes_about_the_run(change: str | dict, status: int, told: str, made: tuple, tmp_path: Path) -> None:
    Image.new("L", (40, 40)).save(tmp_path / "a.png")
    run = tmp_path / "run"
    if change != "no folder":
        run.mkdir()
        for name in ("model.pt", "run.json"):
            if change != f"no {name}":
                shutil.copy(made[0] / "run" / name, run)
    if isinstance(change, dict):
        change_record(run, **change)
    found, printed, error = explain(run, tmp_path / "a.png")
    assert (found, printed, error.strip().count("\n")) == (status, "", 0)
    assert told in error


def test_a_pretraining_run_names_its_backbone_in_its_network(made: tuple, tmp_path: Path) -> None:
    shutil.copytree(made[0] / "run", tmp_path / "run")
    change_record(tmp_path / "run", recipe={"image_size": 64}, network={**NETWORK, "backbone": "resnet18"})
    assert of_run(tmp_path / "run").backbone == "resnet18"


def test_several_labels_a_picture(made: tuple, tmp_path: Path) -> None:
    shutil.copytree(made[0] / "run", tmp_path / "run")
    change_record(tmp_path / "run", task="multilabel")
    subject = of_run(tmp_path / "run")
    assert subject.task == "multilabel"
    heat = subject.explain(np.full((64, 64), 9, dtype=np.uint8), 1, "gradcam")
    np.testing.assert_allclose(subject.answers(heat), 1 / (1 + np.exp(-heat.logits)), rtol=1e-5)


def test_the_handler_leaves_what_medtl_explain_would(made: tuple, run: Path, tmp_path: Path) -> None:
    folder, _, network = made
    subject = of_run(run)
    weights = str(run / "model.pt")
    shape = {"image_size": 64, "mean": subject.mean, "std": subject.std}
    engine = Engine(lambda engine, batch: None)
    handler = GradCAMOverlays(
        network, "resnet18", weights, str(tmp_path), datalist.read(folder / "data"), number=2, **shape
    )
    handler.attach(engine)
    engine.run([0])
    explain(run, "--dataset_dir", folder / "data", "--split", "test", "--number", 2)
    there, here = ({p.name: p.read_bytes() for p in (place / "explain").iterdir()} for place in (tmp_path, run))
    assert there == here
    assert len(here) == 4
