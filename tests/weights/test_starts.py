"""Weights are found by backbone in the stated order, with the normalisation that they expect; nothing is guessed
silently."""

import hashlib
import json
import shutil
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from medtl.cards import IMAGENET_MEAN, IMAGENET_STD, dataset_cards
from medtl.errors import MedtlError
from medtl.networks.backbones.zoo import torchvision
from medtl.networks.classifier import build_classifier
from medtl.networks.registry import names
from medtl.weights.card import InputContract, WeightsCard
from medtl.weights.sources import official
from medtl.weights.starts import Start, apply, resolve

pytestmark = pytest.mark.slow

HALF = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return build_classifier("resnet18", 4).state_dict()


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, $MEDTL_WEIGHTS and a cache without anything in them."""
    for name in ("work/bundles", "shelf", "cache/medtl/weights"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("MEDTL_WEIGHTS", str(tmp_path / "shelf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def put_bundle(folder: Path, state: dict[str, torch.Tensor], **card: object) -> Path:
    (folder / "models").mkdir(parents=True)
    save_file(state, folder / "models" / "model.safetensors")
    if card:
        (folder / "card.json").write_text(json.dumps(card))
    return folder


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a usage error."""
    with pytest.raises(MedtlError) as left:
        resolve(*words)
    assert capsys.readouterr().err == ""
    assert "\n" not in str(left.value)
    return f"error: {left.value}\n"


def test_random_starts_are_normalised_as_imagenet_ones() -> None:
    assert resolve("random", "vit_b16") == Start("random", "vit_b16", None, IMAGENET_MEAN, IMAGENET_STD, "", "")


def test_named_weights_are_looked_up_by_backbone_in_the_stated_order(
    places: Path, state: dict[str, torch.Tensor]
) -> None:
    """The last place is filled first; each place before it then wins."""
    torch.save(state, places / "cache/medtl/weights/resnet18_cpmid.pth")
    torch.save(state, places / "shelf/resnet34_cpmid.pt")
    found = [resolve("cpmid", "resnet18").path]
    found.append(put_bundle(places / "work/bundles/cpmid_resnet18", state))
    assert resolve("cpmid", "resnet18").path == found[-1]
    for place in ("shelf/medtl_cpmid_resnet18", "shelf/cpmid_resnet18"):
        put_bundle(places / place, state)
        assert resolve("cpmid", "resnet18").path == places / place
    for name in ("resnet18_cpmid.pth", "resnet18_cpmid.pt", "resnet18_cpmid.safetensors"):
        save_file(state, places / "shelf" / name)
        assert resolve("cpmid", "resnet18").path == places / "shelf" / name
    assert found[0] == places / "cache/medtl/weights/resnet18_cpmid.pth"
    assert resolve("cpmid", "resnet34").path == places / "shelf/resnet34_cpmid.pt"


def test_a_bundles_card_says_normalisation_and_licence(places: Path, state: dict[str, torch.Tensor]) -> None:
    folder = put_bundle(
        places / "shelf/medtl_mini_resnet18",
        state,
        input={"file_channels": 1, "mean": [0.1, 0.2, 0.3], "std": [0.25]},
        data={"name": "mini", "licence": "CC0-1.0"},
    )
    start = resolve("mini", "resnet18")
    assert (start.mean, start.std, start.licence) == ((0.1, 0.2, 0.3), (0.25, 0.25, 0.25), "CC0-1.0")
    assert (start.init, start.path, start.assumed) == ("mini", folder, "")
    assert start.sha256 == hashlib.sha256((folder / "models/model.safetensors").read_bytes()).hexdigest()
    by_file = resolve(str(folder / "models/model.safetensors"), "resnet18")
    assert (by_file.mean, by_file.licence) == (start.mean, start.licence)
    with zipfile.ZipFile(places / "shelf/medtl_mini_resnet34.zip", "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, f"medtl_mini_resnet34/{path.relative_to(folder)}")
    zipped = resolve("mini", "resnet34")
    assert (zipped.mean, zipped.path) == (start.mean, places / "shelf/medtl_mini_resnet34.zip")
    network = build_classifier("resnet18", 2)
    assert apply(network, resolve(str(zipped.path), "resnet18"), "resnet18") is not None
    assert torch.equal(network.conv1.weight, state["conv1.weight"])


def filled(kind: type, **known: object) -> Any:
    """A card of which only what is read here is said."""
    return kind(**{field.name: known.get(field.name, {}) for field in fields(kind)})


def test_a_bundles_card_counts_from_within_its_folders(
    places: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path does not name the folder that it is read from."""
    bundle = put_bundle(places / "mine", state, input={"mean": [0.4] * 3, "std": [0.2] * 3})
    for folder, path in ((bundle, "models/model.safetensors"), (bundle / "models", "model.safetensors"), (bundle, ".")):
        monkeypatch.chdir(folder)
        start = resolve(path, "resnet18")
        assert (start.mean, start.assumed) == ((0.4,) * 3, ""), path
        with pytest.raises(MedtlError, match=r"card\.json: a weights card has no 'name'"):  # nor is it passed over
            apply(build_classifier("resnet18", 2), start, "resnet18")


def test_hugging_faces_one_number_stands_for_all_channels(places: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, places / "pytorch_model.bin")
    settings = {"image_mean": 0.5, "image_std": 0.25, "rescale_factor": 1 / 255}
    (places / "preprocessor_config.json").write_text(json.dumps(settings))
    start = resolve(str(places / "pytorch_model.bin"), "resnet18")
    assert start.mean == pytest.approx((0.5,) * 3)
    assert start.std == pytest.approx((0.25,) * 3)


def test_a_released_weights_card_is_understood(places: Path, state: dict[str, torch.Tensor]) -> None:
    """The card that ``medtl release`` writes is the one that is read here; what its training started from is not."""
    card = filled(
        WeightsCard,
        input=filled(InputContract, mean=HALF, std=(0.25, 0.25, 0.25)),
        start={"init": "imagenet", "mean": [0.1, 0.1, 0.1], "std": [0.1, 0.1, 0.1]},
        licence="CC0-1.0",
        data={"licence": "CC BY 4.0"},
    )
    folder = put_bundle(places / "shelf/medtl_mini_resnet18", state)
    (folder / "card.json").write_text(card.to_json())
    start = resolve("mini", "resnet18")
    assert (start.mean, start.std, start.licence) == (HALF, (0.25, 0.25, 0.25), "CC0-1.0")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not readable JSON"),
        ("[]", "is not a JSON object"),
        ('{"input": {"mean": [0.5], "std": [0]}}', "input.std is [0]; expected three numbers"),
        ('{"input": {"mean": [123.7, 116.3, 103.5], "std": [58]}}', "input.mean is [123.7"),
        ('{"input": {"mean": [0.5, 0.5]}}', "input.mean"),
        ('{"input": {"mean": "0.5"}}', "input.mean"),
        ('{"input": {"mean": [NaN]}}', "input.mean"),
    ],
)
def test_a_card_that_cannot_be_used_is_an_error(
    content: str, words: str, places: Path, state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = put_bundle(places / "shelf/mini_resnet18", state)
    (folder / "card.json").write_text(content)
    assert words in refused(capsys, "mini", "resnet18")


def test_a_runs_weights_bring_the_normalisation_of_the_run(places: Path, state: dict[str, torch.Tensor]) -> None:
    run = places / "run"
    run.mkdir()
    torch.save(state, run / "model.pt")
    (run / "run.json").write_text(json.dumps({"start": {"mean": [0.4], "std": [0.2]}, "data": {"licence": "mine"}}))
    start = resolve(str(run), "resnet18")
    assert (start.path, start.init) == (run / "model.pt", str(run / "model.pt"))
    assert (start.mean, start.std, start.licence) == ((0.4,) * 3, (0.2,) * 3, "mine")


@pytest.mark.parametrize(
    ("data", "trained_on"),
    [
        ({"name": "tb", "classes": ["normal", "tuberculosis"]}, ("tb",)),
        ({"name": "medtl-mini", "classes": ["nih/Edema", "msd/Brain", "msd/Spleen"]}, ("medtl-mini", "msd", "nih")),
        ({"name": "mix", "classes": ["cxr/normal"], "sources": ["chestxray2017"]}, ("chestxray2017", "cxr", "mix")),
        ({"licence": "mine"}, ()),
    ],
)
def test_it_is_known_what_a_runs_weights_were_trained_on(
    data: dict[str, object], trained_on: tuple[str, ...], places: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save(state, places / "model.pt")
    (places / "run.json").write_text(json.dumps({"data": data}))
    assert resolve(str(places / "model.pt"), "resnet18").trained_on == trained_on


def test_what_a_runs_own_start_had_seen_counts_and_a_folder_may_be_called_models(
    places: Path, state: dict[str, torch.Tensor]
) -> None:
    run = places / "models"
    run.mkdir()
    torch.save(state, run / "model.pt")
    start = {"mean": [0.4], "std": [0.2], "trained_on": ["chestxray2017"]}
    (run / "run.json").write_text(json.dumps({"data": {"name": "tb"}, "start": start}))
    found = resolve(str(run), "resnet18")
    assert found.trained_on == ("chestxray2017", "tb")
    assert found.mean == (0.4,) * 3


def test_named_weights_without_a_card_expect_what_their_makers_say(
    places: Path, state: dict[str, torch.Tensor]
) -> None:
    for name in ("resnet18_imagenet.pth", "resnet18_cpmid.pt"):
        torch.save(state, places / "shelf" / name)
    imagenet, cpmid = resolve("imagenet", "resnet18"), resolve("cpmid", "resnet18")
    assert (imagenet.mean, imagenet.std, imagenet.assumed) == (IMAGENET_MEAN, IMAGENET_STD, "")
    assert "ImageNet" in imagenet.licence
    assert (cpmid.mean, cpmid.licence, cpmid.assumed) == (IMAGENET_MEAN, dataset_cards()["cpmid"].licence, "")
    shutil.move(places / "shelf/resnet18_imagenet.pth", places / "shelf/resnet18-f37072fd.pth")
    assert resolve("imagenet", "resnet18").path == places / "shelf/resnet18-f37072fd.pth"
    by_path = resolve(str(places / "shelf/resnet18_cpmid.pt"), "resnet18")
    assert by_path.mean == IMAGENET_MEAN
    assert "assumed" in by_path.assumed
    assert by_path.licence == "not stated"


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("inception_v3", HALF),  # its own files come with transform_input, which makes these of ImageNet's
        ("googlenet", HALF),
        ("efficientnet_v2_l", HALF),
        ("resnet18", IMAGENET_MEAN),
    ],
)
def test_torchvisions_networks_expect_what_torchvision_feeds_them(places: Path, name: str, mean: Any) -> None:
    for file in (places / "shelf" / f"torchvision_{name}_imagenet.pt", places / "any.pt"):
        torch.save({"features.0.0.weight": torch.zeros(1)}, file)
    by_word = resolve("imagenet", f"torchvision/{name}")
    by_path = resolve(str(places / "any.pt"), f"torchvision/{name}")
    assert (by_word.mean, by_word.assumed) == (mean, "")
    assert (by_path.mean, "torchvision's own weights" in by_path.assumed) == (mean, True)


@torch.no_grad()
def test_torchvisions_own_inception_computes_the_same(places: Path) -> None:
    """With its files' transform_input, on images of ImageNet's mean and SD; ours on those that the start names."""
    models: Any = torchvision().models
    theirs = models.inception_v3(weights=None, transform_input=True, init_weights=False).eval()
    torch.save(theirs.state_dict(), places / "inception_v3_google-0cc3c7bd.pth")
    start = resolve(str(places / "inception_v3_google-0cc3c7bd.pth"), "torchvision/inception_v3")
    ours = build_classifier("torchvision/inception_v3", 1000, image_size=107).eval()
    apply(ours, start, "torchvision/inception_v3")
    ours.load_state_dict({name: theirs.state_dict()[name] for name in ours.state_dict()})
    images = torch.rand(2, 3, 107, 107)
    mean, std, own_mean, own_std = (
        torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD, start.mean, start.std)
    )
    torch.testing.assert_close(ours((images - own_mean) / own_std), theirs((images - mean) / std), rtol=1e-3, atol=1e-4)


def test_a_vits_layout_tells_its_makers_normalisation(places: Path) -> None:
    layouts = {
        "timm.pt": ("patch_embed.proj.weight", HALF, True),
        "mmpretrain.pth": ("backbone.patch_embed.projection.weight", HALF, True),
        "torchvision.pth": ("conv_proj.weight", IMAGENET_MEAN, False),
        "ours.pt": ("patch_embedding.patch_embeddings.weight", IMAGENET_MEAN, True),
    }
    for file, (name, mean, assumed) in layouts.items():
        torch.save({name: torch.zeros(1)}, places / file)
        start = resolve(str(places / file), "vit_b16")
        assert (start.mean, bool(start.assumed)) == (mean, assumed), file
    (places / "hub").mkdir()
    torch.save({"patch_embed.proj.weight": torch.zeros(1)}, places / "hub/model.pt")
    settings = {"pretrained_cfg": {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD), "license": "apache-2.0"}}
    (places / "hub/config.json").write_text(json.dumps(settings))
    start = resolve(str(places / "hub/model.pt"), "vit_b16")
    assert (start.mean, start.assumed, start.licence) == (IMAGENET_MEAN, "", "apache-2.0")


def test_what_is_not_found_says_where_it_was_looked_for_and_how_to_get_it(
    places: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "imagenet", "resnet50")
    wanted = ("error: --init imagenet: no weights of resnet50 in $MEDTL_WEIGHTS", "resnet50_imagenet.safetensors")
    wanted += tuple(str(places / name) for name in ("shelf", "work/bundles", "cache/medtl/weights"))
    wanted += ("medtl weights get imagenet --backbone resnet50 --from resnet50-0676ba61.pth",)
    wanted += ("https://download.pytorch.org/models/resnet50-0676ba61.pth",)
    assert [words for words in wanted if words not in line] == []
    assert "train bundles/cpmid_resnet18" in refused(capsys, "cpmid", "resnet18")
    monkeypatch.delenv("MEDTL_WEIGHTS")
    line = refused(capsys, "mini", "resnet34", "--inits")
    assert "error: --inits mini: no weights of resnet34 in $MEDTL_WEIGHTS (not set)" in line
    monkeypatch.setenv("MEDTL_WEIGHTS", str(places / "typo"))
    assert "typo, which is no folder" in refused(capsys, "imagenet", "resnet18")


def test_a_mistyped_name_is_not_taken_for_a_path_silently(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean imagenet?" in refused(capsys, "imagnet", "resnet18")
    assert "no such file or folder" in refused(capsys, "weights/none.pt", "resnet18")
    assert "holds neither model.pt nor models/model.safetensors" in refused(capsys, str(places), "resnet18")
    assert "backbone 'resnet19' is not one of" in refused(capsys, "random", "resnet19")


def test_apply_fills_the_trunk_and_says_so(
    places: Path, state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(state, places / "shelf/resnet18_imagenet.safetensors")
    start = resolve("imagenet", "resnet18")
    network = build_classifier("resnet18", 2)
    head = network.fc.weight.clone()
    report = apply(network, start, "resnet18")
    assert report is not None
    assert (report.coverage, report.normalization) == (1.0, "")
    assert torch.equal(network.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])
    assert torch.equal(network.fc.weight, head)
    printed = capsys.readouterr().err
    assert printed.startswith("start: imagenet: resnet18_imagenet.safetensors: 100.0 % of the trunk's parameters")
    assert printed.count("\n") == 1


def test_random_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    network = build_classifier("resnet18", 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert apply(network, resolve("random", "resnet18"), "resnet18") is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert capsys.readouterr().err == "start: random weights\n"


def test_another_normalisation_than_the_weights_expect_is_told(
    places: Path, state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(state, places / "shelf/resnet18_imagenet.safetensors")
    start = resolve("imagenet", "resnet18")
    network = build_classifier("resnet18", 2)
    for same in ((start.mean, start.std), ((0.485001, 0.456, 0.406), IMAGENET_STD)):
        report = apply(network, start, "resnet18", same)
        assert report is not None
        assert report.normalization == ""
    report = apply(network, start, "resnet18", ((0.5,), (0.5,)))
    assert report is not None
    assert "mean 0.5 and SD 0.5, the weights expect 0.485, 0.456, 0.406 and 0.229" in report.normalization
    assert report.normalization in capsys.readouterr().err


def test_only_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    apply(build_classifier("resnet18", 2), resolve("random", "resnet18"), "resnet18")
    assert capsys.readouterr().err == ""


def test_weights_of_another_network_end_in_one_line(places: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, places / "shelf/resnet34_cpmid.safetensors")
    with pytest.raises(MedtlError, match=r"resnet34_cpmid\.safetensors does not fit resnet34"):
        apply(build_classifier("resnet34", 2), resolve("cpmid", "resnet34"), "resnet34")


def test_the_real_imagenet_file_is_found_by_name(
    places: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDTL_WEIGHTS", str(shared_data.parent / "weights"))
    start = resolve("imagenet", "resnet18")
    assert start.path is not None
    assert start.path.name == "resnet18_imagenet.safetensors"
    assert (start.mean, start.std) == (IMAGENET_MEAN, IMAGENET_STD)
    report = apply(build_classifier("resnet18", 3), start, "resnet18")
    assert report is not None
    assert (report.coverage, report.used, report.missing, report.unused) == (1.0, 1.0, (), ())


def test_every_network_has_official_weights() -> None:
    dinov2 = {name for name in names() if name.endswith("14")}
    assert dinov2 == {"vit_s14", "vit_b14"}
    assert {len(official("dinov2", name).sha256) for name in dinov2} == {64}
    for name in set(names()) - dinov2:
        file = official("imagenet", name)
        assert file.url.endswith(f"-{file.sha256}.pth")
        assert len(file.sha256) == 8
