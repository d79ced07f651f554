"""Published designs: what a request becomes, what is told, and what a bundle or a file lacks."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import compare_fakes
import pytest

from medtl.compare import protocol
from medtl.compare.checks import check_ids, read_bundle
from medtl.compare.plan import Request, cells_of, settings_of
from medtl.errors import UsageError
from medtl.networks.freezing import TOP_TEN

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "bundles" / "folder"
DESIGN = {
    "title": "A made design",
    "source": "nobody, 2026",
    "backbones": ["resnet18"],
    "inits": ["random", "imagenet"],
    "settings": {"slow": {"epochs": 9}, "fast": {"epochs": 2}},
    "ids": {"image_size": 32},
    "faults": ["it never existed"],
}


def asked(tmp_path: Path, bundle: Path = FOLDER, **changes: Any) -> Request:
    """A request that leaves everything to a protocol, of made data."""
    made = compare_fakes.make(tmp_path)
    empty = {"backbones": (), "inits": (), "seeds": (), "ids": {}}
    return replace(made, bundle=bundle, **{**empty, **changes})


@pytest.fixture
def designs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for protocols of one's own."""
    folder = tmp_path / "plugins" / "protocols"
    folder.mkdir(parents=True)
    monkeypatch.setenv("MEDTL_PLUGINS", str(folder.parent))
    return folder


def test_radimagenet_is_24_settings_of_each_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Four networks times six ways, as the paper counts them: Mei et al. 2022."""
    request = protocol.applied(asked(tmp_path, seeds=(3, 4)), "radimagenet24")
    assert (len(request.backbones) * len(request.settings), request.inits) == (24, ("radimagenet", "imagenet"))
    assert {(dict(each.ids)["freeze"], dict(each.ids)["learning_rate"]) for each in request.settings} == {
        ("none", "0.001"), ("none", "0.0001"), ("trunk", "0.01"), ("trunk", "0.001"),
        ("keras_top10", "0.01"), ("keras_top10", "0.001"),
    }  # fmt: skip
    assert set(request.backbones) <= set(TOP_TEN)
    assert (request.ids["batch_size"], request.ids["epochs"], request.ids["image_size"]) == ("32", "30", "256")
    assert len(cells_of(request)) == 24 * 2 * 2
    assert request.seeds == (3, 4)
    check_ids(read_bundle(FOLDER), request)
    said = capfd.readouterr().err
    assert "batch 32 (the paper's is 256: --batch_size paper), 2 training images: 1 updates an epoch, 30 in 30" in said
    assert "75%/10%/15% training/validation/test in the paper, 50%/25%/25%" in said
    assert "fault of the paper: breast_train.py builds the model once" in said


def test_whatever_a_command_says_takes_the_place_of_the_protocols(tmp_path: Path) -> None:
    own = asked(tmp_path, backbones=("densenet121",), inits=("random",), ids={"epochs": "1", "batch_size": "paper"})
    request = protocol.applied(own, "radimagenet24", "paper")
    assert (request.backbones, request.inits, request.seeds) == (("densenet121",), ("random",), (0,))
    assert (request.ids["epochs"], request.ids["batch_size"]) == ("1", "256")
    assert request.ids["start"] == "$facade.start(mean=[0.407604, 0.457957, 0.48502], std=[1.0, 1.0, 1.0])"
    assert "start" not in protocol.applied(own, "radimagenet24").ids


def test_what_a_command_varies_is_not_what_the_protocol_fixes(tmp_path: Path) -> None:
    settings = settings_of({"epochs": ("10", "30"), "batch_size": ("16", "32")})
    request = protocol.applied(asked(tmp_path, settings=settings), "radimagenet24")
    check_ids(read_bundle(FOLDER), request)
    assert {dict(each.ids)["epochs"] for each in request.settings} == {"10", "30"}
    assert request.ids.keys().isdisjoint({"epochs", "batch_size"})
    assert request.ids["image_size"] == "256"
    both = protocol.applied(asked(tmp_path / "b", settings=settings, ids={"epochs": "5"}), "radimagenet24")
    with pytest.raises(UsageError, match="--epochs 5: the settings of this grid differ in it"):
        check_ids(read_bundle(FOLDER), both)


@pytest.mark.parametrize("name", sorted(protocol.files()))
def test_the_finetune_bundles_have_every_id_of_each_protocol(tmp_path: Path, name: str) -> None:
    request = protocol.applied(asked(tmp_path), name)
    check_ids(read_bundle(FOLDER), request)
    assert request.protocol == name
    design = protocol.read(name)
    assert design.faults
    assert design.figures["what"]


@pytest.mark.parametrize(
    ("name", "normalisation", "said"),
    [
        ("radimagenet42", None, "--protocol radimagenet42 is not one of cpmid, radimagenet24, transferability"),
        ("cpmid", "paper", "--normalisation paper: the paper of protocol cpmid names none"),
        ("cpmid", "theirs", "--normalisation theirs is not one of own, paper"),
        (None, "paper", "--normalisation paper needs --protocol NAME"),
    ],
)
def test_what_cannot_be_followed(tmp_path: Path, name: str | None, normalisation: str | None, said: str) -> None:
    request = asked(tmp_path, backbones=("resnet18",), inits=("random",))
    with pytest.raises(UsageError) as caught:
        protocol.applied(request, name, normalisation)
    assert said in str(caught.value)


def test_an_id_that_the_bundle_lacks_is_named(tmp_path: Path) -> None:
    said = "--protocol cpmid sets the id 'key_metric', which configs/train.json of made_bundle lacks"
    with pytest.raises(UsageError, match=said):
        protocol.applied(asked(tmp_path, bundle=tmp_path / "made_bundle"), "cpmid")


def test_red_and_blue_are_exchanged_on_grey_pictures_only(tmp_path: Path) -> None:
    request = asked(tmp_path)
    listed = request.dataset_dir / "datalist.json"
    listed.write_text(json.dumps({**json.loads(listed.read_text()), "channels": 3}))
    with pytest.raises(UsageError, match="exchanges red and blue"):
        protocol.applied(request, "radimagenet24", "paper")


def test_without_a_protocol_networks_and_starts_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--backbones is missing: expected names, comma-separated, or --protocol NAME"):
        protocol.applied(asked(tmp_path), None)
    given = {"backbones": ("resnet18",), "inits": ("random",)}
    assert protocol.applied(asked(tmp_path / "given", **given), None).seeds == (0,)


def test_one_file_adds_a_design(tmp_path: Path, designs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (designs / "made.json").write_text(json.dumps(DESIGN))
    request = protocol.applied(asked(tmp_path, bundle=tmp_path / "made_bundle"), "made")
    assert compare_fakes.run(request, jobs=2) == 0
    grid = json.loads((request.out / "grid.json").read_text())
    assert (grid["protocol"], grid["ids"]) == ("made", {"image_size": 32})
    row = grid["cells"][0]
    assert (row["name"], row["setting"], row["ids"]) == ("resnet18_random_slow_seed0", "slow", {"epochs": 9})
    config = compare_fakes.records(request)["resnet18_imagenet_fast_seed0"]["config"]
    assert (config["epochs"], config["image_size"]) == ("2", "32")
    assert "fault of the paper: it never existed" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"backbone": ["x"]}, "made.json has the key 'backbone'; did you mean backbones?"),
        ({"ids": ["epochs"]}, "made.json: ids is ['epochs']; expected object"),
        ({"title": ""}, "made.json lacks title"),
    ],
)
def test_a_file_that_is_no_protocol(designs: Path, change: dict[str, Any], said: str) -> None:
    (designs / "made.json").write_text(json.dumps({**DESIGN, **change}))
    with pytest.raises(UsageError) as caught:
        protocol.read("made")
    assert said in str(caught.value)


def test_two_files_of_one_name(designs: Path) -> None:
    (designs / "cpmid.json").write_text(json.dumps(DESIGN))
    with pytest.raises(UsageError, match="have one name; rename one of them"):
        protocol.files()
