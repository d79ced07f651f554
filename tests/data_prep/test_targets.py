"""What the three classification targets share: same bytes each time, resumable, leak-free, one line for mistakes."""

import hashlib
import importlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monai.data import load_decathlon_datalist

from data_prep import piece, sample
from medtl.cards import dataset_cards
from medtl.integrity import problems_of_data

pytestmark = pytest.mark.slow

NAMES = ("chestxray2017", "tb", "breastmnist")


def _tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pieces of work from few pictures."""
    for name in ("chestxray2017", "tb"):
        monkeypatch.setattr(f"data_prep.{name}.FILES_A_PIECE", 16)


@pytest.mark.parametrize("name", NAMES)
def test_the_phantom_download_never_varies_and_follows_its_seed(
    name: str, phantoms: Callable[[str], Path], tmp_path: Path
) -> None:
    made = _tree(phantoms(name))
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        importlib.import_module(f"data_prep.sample.{name}").make(tmp_path / str(seed), seed)
        again = _tree(tmp_path / str(seed))
        assert again.keys() == made.keys()
        assert (again == made) == (seed == 0)


@pytest.mark.parametrize("name", NAMES)
def test_data_list_is_sound_and_loads_with_monai(
    name: str, prep: Callable[..., Any], phantoms: Callable[[str], Path]
) -> None:
    ended = prep(name, "--raw", phantoms(name))
    assert (ended.status, ended.rejected) == (0, [])
    assert all("passed over" in line for line in ended.err.splitlines())
    assert ended.listed["classes"] == list(dataset_cards()[name].classes)
    assert ended.listed["channels"] == 1
    assert problems_of_data(ended.folder)[1] == []
    for split in (split for split in ("training", "validation", "test") if ended.listed[split]):
        loaded = load_decathlon_datalist(
            str(ended.folder / "datalist.json"), is_segmentation=False, data_list_key=split
        )
        assert [entry["label"] for entry in loaded] == [entry["label"] for entry in ended.listed[split]]
        for entry in loaded:
            assert Path(entry["image"]).is_file()
            assert {"patient", "source", "sha256"} <= entry.keys()
            assert entry["source"] == name
            assert entry["patient"].startswith(f"{name}/")
    splits = defaultdict(set)
    for entry in ended.entries:
        splits[entry["patient"]].add(entry["split"])
    assert all(len(where) == 1 for where in splits.values())
    assert str(ended.folder) not in (ended.folder / "datalist.json").read_text()
    on_disk = {path.relative_to(ended.folder).as_posix() for path in (ended.folder / "images").rglob("*.*")}
    assert on_disk == {entry["image"] for entry in ended.entries}
    assert min(Counter(entry["class"] for entry in ended.entries).values()) >= 30


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("small_pieces")
def test_interrupted_and_repeated_elsewhere_gives_the_same_bytes(
    name: str,
    prep: Callable[..., Any],
    phantoms: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calm = prep(name, "--raw", phantoms(name), "--out", tmp_path / "calm")
    assert calm.status == 0
    record, done = piece._record, []

    def stopping(*arguments: Any) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(arguments)
        record(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("data_prep.piece._record", stopping)
        assert prep(name, "--raw", phantoms(name)).status == 130
    module = importlib.import_module(f"data_prep.{name}")
    process, redone = module.process, []
    with monkeypatch.context() as patch:
        patch.setattr(f"data_prep.{name}.process", lambda *a: redone.append(a[0].id) or process(*a))
        ended = prep(name, "--raw", phantoms(name))
    assert ended.status == 0
    assert _tree(ended.folder) == _tree(calm.folder)
    assert len(redone) == len(list((calm.folder / ".progress").glob("*.json"))) - 2
    with monkeypatch.context() as patch:
        patch.setattr(f"data_prep.{name}.process", lambda *_: pytest.fail("work was done again"))
        again = prep(name, "--raw", phantoms(name))
    assert (again.status, again.out) == (0, ended.out)
    assert _tree(again.folder) == _tree(calm.folder)


@pytest.mark.parametrize("name", NAMES)
def test_dry_run_prints_the_publications_counts_and_writes_nothing(
    name: str, prep: Callable[..., Any], phantoms: Callable[[str], Path]
) -> None:
    ended = prep(name, "--raw", phantoms(name), "--dry-run")
    assert ended.status == 0
    assert not ended.folder.exists()
    card = dataset_cards()[name]
    for label in card.classes:
        (row,) = [line for line in ended.out.splitlines() if re.search(rf"\s{label}\s", line)]
        numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", row)]
        assert numbers[1::2] == [published[label] for published in card.parts.values()]
        assert all(numbers[::2])
    assert "partial download" in ended.out


def test_published_counts_are_those_of_the_papers() -> None:
    chest, tb, breast = (dataset_cards()[name] for name in NAMES)
    assert sum(chest.parts["train and val"].values()) == 5232
    assert sum(chest.parts["test"].values()) == 624
    assert tuple(tb.published.values()) == (366 + 40, 355 + 39)
    assert [sum(part.values()) for part in breast.parts.values()] == [546, 78, 156]
    for card in (tb, breast):
        assert all(sum(part[name] for part in card.parts.values()) == card.published[name] for name in card.classes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("raw", ["nowhere", "empty", "file"])
def test_a_raw_folder_without_the_set_is_one_line(
    name: str, raw: str, prep: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    ended = prep(name, "--raw", tmp_path / raw)
    assert (ended.status, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert raw in line
    assert not ended.folder.exists()


@pytest.mark.parametrize("name", NAMES)
def test_the_built_in_sample_is_prepared(
    name: str, prep: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sample._cache.cache_clear()
    try:
        folder = sample.prepared(name)
        listed = json.loads((folder / "datalist.json").read_text())
        assert listed["sample"] is True
        assert len(listed["training"]) >= 60
        assert len(listed["validation"]) >= 15
        ended = prep(name, "--raw", "sample")
        assert (ended.status, ended.listed["sample"]) == (0, True)
        assert "partial download" not in ended.out, "phantoms are no download that lacks something"
    finally:
        sample._cache.cache_clear()
