"""A few kB that stand for gigabytes are refused in one line, in little memory, through whatever reads them."""

import subprocess
import sys
from pathlib import Path

import pytest
from bomb_files import DEEP, MOST_MEMORY, MOST_SECONDS, PICTURES, archive, npy, write
from typer.testing import CliRunner

from medtl.cli import app
from medtl.errors import BadFileError, MedtlError
from medtl.files import read_json
from medtl.limits import MOST_PIXELS, check_growth
from medtl.readers.npz import open_npz, read_array
from medtl.readers.picture import find_pictures, read_picture
from medtl.weights.archive import unpack


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("bombs"), PICTURES)


def refused(path: Path) -> str:
    """The reason for which a picture is refused, when it is found or when it is read."""
    found = find_pictures(path)
    if found.refused:
        return found.refused[0].reason
    with pytest.raises(BadFileError) as raised:
        read_picture(found.pictures[0].path, found.pictures[0].index)
    return str(raised.value)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_and_volumes(bombs: Path, name: str) -> None:
    assert (bombs / name).stat().st_size < 6e6
    reason = refused(bombs / name)
    assert "\n" not in reason
    assert any(word in reason for word in ("fill the memory", "absurd", "deflated", "behind", "cut short")), reason


@pytest.mark.slow  # a process
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_memory_and_time(bombs: Path) -> None:
    script = (
        "import resource, sys\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[2])\nimport test_bombs\n"
        "before = resource.getrusage(resource.RUSAGE_SELF)\n"
        "for name in test_bombs.PICTURES:\n    test_bombs.refused(Path(sys.argv[1], name))\n"
        "after = resource.getrusage(resource.RUSAGE_SELF)\n"
        "told = Path('/proc/self/status').read_text()\n"  # ru_maxrss would count the process that started this one
        "print(told.split('VmHWM:')[1].split()[0], after.ru_utime - before.ru_utime)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, bombs, Path(__file__).parent], capture_output=True, text=True, check=True
    )
    peak, seconds = map(float, done.stdout.split())
    assert peak * 1024 < MOST_MEMORY
    assert seconds < MOST_SECONDS  # all of them together


def test_arrays(tmp_path: Path) -> None:
    for name, content in {
        "shape": archive({"x.npy": npy((10**10, 10**3))}),
        "header": archive({"x.npy": npy((3,), 2**31)}, 2**26),
        "grown": archive({"x.npy": npy((2**28 - 1,))}, 2**28),
    }.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        with open_npz(tmp_path / f"{name}.npz") as file, pytest.raises(BadFileError, match=r"cannot be read|memory"):
            read_array(file, "x")


@pytest.mark.slow  # torch is imported
def test_hdf5_of_a_few_kb_that_claims_gigabytes(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    from medtl.survival.bags import read_bag
    from medtl.weights.read import read_checkpoint

    for form in ({"chunks": (1000, 1000)}, {"chunks": (1000, 1000), "compression": "gzip"}, {}):
        with h5py.File(tmp_path / "a.h5", "w") as file:  # nothing is stored of what was never written
            file.attrs["layer_names"] = [b"layer"]
            file.create_group("layer").attrs["weight_names"] = [b"layer/kernel:0"]
            file["layer"].create_dataset("layer/kernel:0", shape=(100_000, 100_000), dtype="f4", **form)
            file.create_dataset("features", shape=(100_000, 100_000), dtype="f4", **form)
        with pytest.raises(MedtlError, match="fill the memory"):
            read_checkpoint(tmp_path / "a.h5")
        with pytest.raises(BadFileError, match="fill the memory"):
            read_bag(tmp_path / "a.h5")


def test_a_zip_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(archive({"b/models/model.pt": b""}, 2**28))
    with pytest.raises(MedtlError, match="fill the memory"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    ended = CliRunner().invoke(app, ["check", str(tmp_path / "a.zip")])
    assert ended.exit_code == 1


@pytest.mark.parametrize("text", ["[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP])
def test_deep_json(tmp_path: Path, text: str) -> None:
    for name in ("datalist.json", "run.json"):
        (tmp_path / name).write_text(text)
        with pytest.raises(MedtlError, match=f"{name} is not valid JSON: it is nested too deeply"):
            read_json(tmp_path / name)
    ended = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert isinstance(ended.exception, MedtlError)


@pytest.mark.parametrize("name", ["train.json", "metadata.json", "train.yaml", "expanding.yaml"])
def test_deep_configs(tmp_path: Path, name: str) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text("{}")
    expanding = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)
    )
    (tmp_path / "configs" / name).write_text(expanding if name == "expanding.yaml" else "[" * DEEP + "]" * DEEP)
    ended = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert ended.exit_code == 1
    assert name in ended.output
    told = " ".join(ended.output.split())
    assert any(words in told for words in ("nested too deeply", "levels deep", "bytes; at most"))


def test_what_is_small_or_hardly_packed_is_never_too_much() -> None:
    check_growth(10, 100 * 2**20)  # an empty mask
    check_growth(2**30, 20 * 2**30)
    with pytest.raises(BadFileError):
        check_growth(2**20, 2**30)
    assert MOST_PIXELS > 30e6 * 1.5  # the largest detectors


def test_limits_are_told_in_the_documents() -> None:
    told = (Path(__file__).parents[1] / "docs" / "security.md").read_text(encoding="utf-8")
    assert f"{MOST_PIXELS // 10**6} megapixels" in told
    assert "100 times" in told
