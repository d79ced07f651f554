"""Packed sets: the right pixels, whole or absent, made once; the loader visits what it should."""

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Compose, Resized
from PIL import Image

from medtl import places
from medtl.data import packed as packing
from medtl.data import sources
from medtl.data.packed import Packed, fingerprint, pack, read_index, verify
from medtl.data.packed_loader import PackedLoader
from medtl.datalist import DataList
from medtl.errors import MedtlError, UsageError
from medtl.files import file_hash
from medtl.transforms import LoadPictured
from medtl.transforms.batch import BatchTransform
from medtl.transforms.mixup import Mixup

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SIZES = [(40, 56), (33, 33), (64, 20), (48, 48), (224, 97), (31, 200), (20, 20)]


def make_list(folder: Path, count: int = 7, channels: int = 1, multilabel: bool = False) -> DataList:
    rng = np.random.default_rng(5)
    entries = []
    for number in range(count):
        shape = SIZES[number % len(SIZES)] + ((3,) if channels == 3 else ())
        path = folder / "images" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
        label: object = [number % 2, 1] if multilabel else number % 2
        name = path.relative_to(folder).as_posix()
        entries.append(
            {"image": name, "label": label, "patient": f"x/{number}", "source": "x", "sha256": file_hash(path)}
        )
    return DataList("x", ("a", "b"), channels, "", "", False, entries, [], [], folder)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_those_of_the_bundles_transforms(tmp_path: Path, channels: int) -> None:
    listed = make_list(tmp_path, channels=channels)
    found = pack(listed, "train", 48, tmp_path / "cache")
    chain = Compose([LoadPictured("image", channels=channels), Resized("image", [48, 48], mode="area")])
    assert found.images.shape == (7, channels, 48, 48)
    for number, entry in enumerate(listed.absolute("train")):
        expected = np.asarray(chain({"image": entry["image"]})["image"])
        np.testing.assert_array_equal(found.images[number], np.rint(expected).astype(np.uint8))


def test_labels_are_class_indices_or_multi_hot(tmp_path: Path) -> None:
    plain = pack(make_list(tmp_path / "a"), "training", 16, tmp_path / "cache").labels
    assert plain.dtype == torch.int64
    assert plain.tolist() == [0, 1, 0, 1, 0, 1, 0]
    multi = pack(make_list(tmp_path / "b", multilabel=True), "train", 16, tmp_path / "cache").labels
    assert multi.dtype == torch.float32
    assert multi[1].tolist() == [1.0, 1.0]


def test_processes_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "CHUNK_BYTES", 32 * 32 * 2)
    listed = make_list(tmp_path, count=9)
    alone = pack(listed, "train", 32, tmp_path / "one")
    several = pack(listed, "train", 32, tmp_path / "two", workers=2)
    assert alone.path
    assert several.path
    assert alone.path.read_bytes() == several.path.read_bytes()
    assert len(read_index(alone.path)["crc32"]) == 5


def test_what_fits_is_reused_and_what_has_changed_is_packed_anew(tmp_path: Path) -> None:
    listed = make_list(tmp_path)
    first = pack(listed, "train", 24, tmp_path / "cache")
    assert first.path
    before = first.path.stat().st_mtime_ns
    relabelled = replace(listed, training=[{**entry, "label": 1} for entry in listed.training])
    again = pack(relabelled, "train", 24, tmp_path / "cache")
    assert again.path == first.path
    assert first.path.stat().st_mtime_ns == before
    assert again.labels.tolist() == [1] * 7
    others = [
        pack(listed, "train", 25, tmp_path / "cache").path,
        pack(listed, "train", 24, tmp_path / "cache", channels=3).path,
        pack(replace(listed, training=listed.training[::-1]), "train", 24, tmp_path / "cache").path,
    ]
    assert len({first.path, *others}) == 4


@pytest.mark.parametrize("damage", ["cut", "grown", "mark", "empty"])
def test_a_file_that_is_not_whole_is_made_again(tmp_path: Path, damage: str) -> None:
    listed = make_list(tmp_path)
    path = pack(listed, "train", 24, tmp_path / "cache").path
    assert path
    good = path.read_bytes()
    path.write_bytes({"cut": good[:-40], "grown": b"\0" + good, "mark": good[:-8] + b"12345678", "empty": b""}[damage])
    with pytest.raises(MedtlError, match="not a whole packed file"):
        read_index(path)
    pack(listed, "train", 24, tmp_path / "cache")
    assert path.read_bytes() == good


def test_verify_finds_a_changed_byte(tmp_path: Path) -> None:
    path = pack(make_list(tmp_path), "train", 24, tmp_path / "cache").path
    assert path
    verify(path)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(MedtlError, match="damaged"):
        verify(path)


def test_flipped_bytes_are_found_before_the_set_is_used(tmp_path: Path) -> None:
    listed = make_list(tmp_path)
    path = pack(listed, "train", 24, tmp_path / "cache").path
    assert path
    content = np.fromfile(path, np.uint8)
    content[np.random.default_rng(0).choice(7 * 24 * 24, 2000, replace=False)] ^= 255
    path.write_bytes(content.tobytes())
    with pytest.raises(MedtlError, match=r"\.u8 is damaged from image 0 on; delete it"):
        pack(listed, "train", 24, tmp_path / "cache")


@pytest.mark.parametrize("what", ["replaced", "replaced, same size and time", "gone"])
def test_images_that_changed_after_packing_are_found(tmp_path: Path, what: str) -> None:
    listed = make_list(tmp_path)
    pack(listed, "train", 24, tmp_path / "cache")
    image = tmp_path / "images" / "3.png"
    old, status = image.read_bytes(), image.stat()
    if what == "gone":
        image.unlink()
    else:
        image.write_bytes(old[:-1] + bytes([old[-1] ^ 1]))
    if what.endswith("time"):  # its time of modification; that of its last change cannot be set
        os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert (image.stat().st_size, image.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    expected = "is missing" if what == "gone" else "replaced after the images were packed; prepare the data again"
    with pytest.raises(MedtlError, match=rf"3\.png .*{expected}") as raised:
        pack(listed, "train", 24, tmp_path / "cache")
    assert "\n" not in str(raised.value)


def test_only_what_changed_is_hashed_again_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = make_list(tmp_path)
    pack(listed, "train", 24, tmp_path / "cache")
    hashed: list[str] = []
    monkeypatch.setattr(sources, "file_hash", lambda path: hashed.append(path.name) or file_hash(path))
    pack(listed, "train", 24, tmp_path / "cache")
    assert hashed == []
    os.utime(tmp_path / "images" / "2.png", (1, 1))  # touched, or copied: the same bytes
    for _ in range(2):
        pack(listed, "train", 24, tmp_path / "cache")
    assert hashed == ["2.png"]


def test_packed_files_are_their_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDTL_PACKED", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    pack(make_list(tmp_path), "train", 16)
    cache = tmp_path / "home" / "medtl"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (cache, *cache.rglob("*"))}
    assert len(modes) >= 5
    assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}


def test_a_bad_picture_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    listed = make_list(tmp_path)
    bad = tmp_path / "images" / "3.png"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(MedtlError, match=r"3\.png is not the file that the data list names"):
        pack(listed, "train", 24, tmp_path / "cache")
    entries = [{**entry, "sha256": file_hash(tmp_path / entry["image"])} for entry in listed.training]
    for workers in (0, 2):
        with pytest.raises(MedtlError, match=r"3\.png is not a readable image") as raised:
            pack(replace(listed, training=entries), "train", 24, tmp_path / "cache", workers=workers)
        assert "\n" not in str(raised.value)
    bad.unlink()
    with pytest.raises(MedtlError, match=r"3\.png is missing"):
        pack(listed, "train", 24, tmp_path / "cache")
    assert not [p for p in (tmp_path / "cache").iterdir() if p.suffix != ".lock"]


def test_masks_are_refused(tmp_path: Path) -> None:
    listed = make_list(tmp_path)
    masks = replace(listed, training=[{**entry, "label": "mask.png"} for entry in listed.training])
    with pytest.raises(UsageError, match="masks cannot be packed"):
        pack(masks, "train", 24, tmp_path / "cache")


def test_an_unwritable_cache_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(MedtlError, match="cannot be kept in") as raised:
        pack(make_list(tmp_path), "train", 24, tmp_path / "cache")
    assert "\n" not in str(raised.value)


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(MedtlError, match="No space left on device"):
        pack(make_list(tmp_path), "train", 24, tmp_path / "cache")
    assert not [p for p in (tmp_path / "cache").iterdir() if p.suffix != ".lock"]


def _pack_slowly(listed: DataList, cache: Path) -> None:
    original = packing._decoded

    def slow(*args: object) -> object:
        time.sleep(0.2)
        return original(*args)  # type: ignore[arg-type]

    packing._decoded = slow  # type: ignore[assignment]
    pack(listed, "train", 24, cache)


def test_a_killed_pack_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    listed, cache = make_list(tmp_path), tmp_path / "cache"
    process = multiprocessing.get_context("fork").Process(target=_pack_slowly, args=(listed, cache))
    process.start()
    while not list(cache.glob(".*medtl-part")):
        time.sleep(0.02)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list(cache.glob("*.u8"))
    path = pack(listed, "train", 24, cache).path
    assert path
    verify(path)
    assert not list(cache.glob(".*medtl-part"))


def test_several_processes_make_it_once(tmp_path: Path) -> None:
    listed, cache = make_list(tmp_path), tmp_path / "cache"
    start = multiprocessing.get_context("fork").Process
    first = start(target=_pack_slowly, args=(listed, cache))
    first.start()
    while not list(cache.glob(".*medtl-part")):
        time.sleep(0.02)
    entries = listed.absolute("train")
    path = pack(listed, "train", 24, cache).path  # waits for the first
    first.join()
    assert first.exitcode == 0
    assert path == cache / f"{fingerprint(entries, 1, 24)}.u8"


def set_of(count: int, channels: int = 1, size: int = 8) -> Packed:
    images = np.random.default_rng(0).integers(0, 256, (count, channels, size, size), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(count) % 256
    return Packed(images, torch.arange(count) % 3)


@pytest.mark.parametrize("count", [4, 5, 7, 31])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_image_comes_once(count: int, world: int) -> None:
    for shuffle in (False, True):
        loaders = [PackedLoader(set_of(count), 2, shuffle, rank=r, world_size=world) for r in range(world)]
        seen: Counter[int] = Counter()
        lengths = []
        for loader in loaders:
            batches = list(loader)
            assert len(batches) == len(loader)
            lengths.append(sum(len(batch["index"]) for batch in batches))
            for batch in batches:
                seen.update(batch["index"].tolist())
                assert batch["image"][:, 0, 0, 0].tolist() == batch["index"].tolist()
                assert batch["label"].tolist() == (batch["index"] % 3).tolist()
        assert max(seen.values()) == 1
        if shuffle:
            assert set(lengths) == {count // world}
            assert len(seen) == count - count % world
        else:
            assert len(seen) == count


def indices(loader: PackedLoader) -> list[int]:
    return [index for batch in loader for index in batch["index"].tolist()]


def test_an_epoch_has_an_order_of_its_own() -> None:
    loader = PackedLoader(set_of(31), 4, shuffle=True, seed=3)
    first, second = indices(loader), indices(loader)
    assert sorted(first) == sorted(second) == list(range(31))
    assert first != second
    again = PackedLoader(set_of(31), 4, shuffle=True, seed=3)
    again.set_epoch(1)
    assert indices(again) == second
    assert indices(PackedLoader(set_of(31), 4, shuffle=True, seed=4)) != first
    assert indices(PackedLoader(set_of(31), 4)) == list(range(31))


def test_drop_last_leaves_out_what_is_not_full() -> None:
    loader = PackedLoader(set_of(31), 4, shuffle=True, drop_last=True)
    assert len(loader) == 7
    assert [len(batch["image"]) for batch in loader] == [4] * 7


@settings(max_examples=30)
@given(count=st.integers(1, 20), size=st.integers(1, 6), taken=st.integers(0, 40), drop=st.booleans())
def test_a_stopped_loader_goes_on_exactly(count: int, size: int, taken: int, drop: bool) -> None:
    def batches(loader: PackedLoader, limit: int) -> list[tuple[list[int], float]]:
        found: list[tuple[list[int], float]] = []
        while len(found) < limit:
            for batch in loader:
                found.append((batch["index"].tolist(), float(batch["image"].sum())))
                if len(found) == limit:
                    break
        return found

    def make() -> PackedLoader:
        transform = BatchTransform(seed=1)
        return PackedLoader(set_of(count), size, True, seed=7, drop_last=drop and count >= size, transform=transform)

    total = taken + 9
    whole = batches(make(), total)
    stopped = make()
    before = batches(stopped, taken)
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = make()
    resumed.load_state_dict(state)
    assert before + batches(resumed, total - taken) == whole


def test_a_state_of_another_run_is_refused() -> None:
    state = PackedLoader(set_of(5), 2).state_dict()
    for other in (PackedLoader(set_of(6), 2), PackedLoader(set_of(5), 3), PackedLoader(set_of(5), 2, seed=1)):
        with pytest.raises(MedtlError, match="cannot go on"):
            other.load_state_dict(state)


def test_an_iteration_given_up_is_followed_by_a_new_epoch() -> None:
    loader = PackedLoader(set_of(12), 4, shuffle=True)
    next(iter(loader))
    iter(loader)  # begun by nobody
    assert indices(loader) == loader.order(1).tolist()


def test_images_do_not_depend_on_the_batch_or_the_process() -> None:
    def images(size: int, world: int) -> dict[int, torch.Tensor]:
        found = {}
        for rank in range(world):
            mixup = Mixup(3, alpha=0.4)
            loader = PackedLoader(
                set_of(12), size, True, rank=rank, world_size=world, transform=BatchTransform(), mixup=mixup
            )
            for batch in loader:
                for index, image, label in zip(batch["index"].tolist(), batch["image"], batch["label"], strict=True):
                    found[index] = torch.cat((image.flatten(), label))
        return found

    alone, shared = images(5, 1), images(2, 3)
    assert alone.keys() == shared.keys()
    for index, image in alone.items():
        torch.testing.assert_close(shared[index], image, rtol=1e-6, atol=1e-6)


def test_mixup_blends_images_and_labels_alike() -> None:
    constant = Packed(np.stack([np.full((1, 4, 4), 100 * k, np.uint8) for k in range(3)]), torch.arange(3))
    transform = BatchTransform(flip=0, rotate=0, scale=0, translate=0, mean=(0, 0, 0), std=(1, 1, 1))
    loader = PackedLoader(constant, 3, transform=transform, mixup=Mixup(3, alpha=1.0))
    blended = 0
    for _ in range(10):
        (batch,) = loader
        torch.testing.assert_close(batch["label"].sum(1), torch.ones(3))
        expected = batch["label"] @ torch.tensor([0.0, 100.0, 200.0]) / 255
        torch.testing.assert_close(batch["image"][:, 0, 0, 0], expected)
        blended += int((batch["label"].amax(1) < 0.999).sum())
    assert blended > 5


def test_more_processes_than_images_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be shared by 3 processes"):
        PackedLoader(set_of(2), 1, shuffle=True, world_size=3)


def test_the_folder_is_that_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTL_PACKED", str(tmp_path / "there"))
    path = pack(make_list(tmp_path), "train", 16).path
    assert path
    assert path.parent == tmp_path / "there"
    monkeypatch.delenv("MEDTL_PACKED")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert places.packed_folder() == tmp_path / "home" / "medtl" / "packed"


@pytest.mark.parametrize("resident", ["auto", "always", "never"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
def test_every_way_of_holding_the_images_gives_the_same(resident: str, device: str) -> None:
    def epochs(device: str, resident: str) -> list[dict[str, torch.Tensor]]:
        data, mixup = set_of(61, size=16), Mixup(3)
        transform = BatchTransform()
        loader = PackedLoader(data, 4, True, device=device, transform=transform, mixup=mixup, resident=resident)
        return [{key: value.cpu() for key, value in batch.items()} for _ in range(2) for batch in loader]

    for one, other in zip(epochs("cpu", "auto"), epochs(device, resident), strict=True):
        assert torch.equal(one["index"], other["index"])
        torch.testing.assert_close(one["label"], other["label"])
        torch.testing.assert_close(one["image"], other["image"], rtol=1e-3, atol=2e-3)
