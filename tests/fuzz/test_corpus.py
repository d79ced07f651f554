"""What fuzzing has found is read again, and so is damage of each seed at each place (``tox -e fuzz`` looks further)."""

import random
from pathlib import Path

import pytest
from fuzz.targets import TARGETS, seeds

CORPUS = Path(__file__).with_name("corpus")
FILES = sorted(path for name in TARGETS for path in (CORPUS / name).glob("*"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name[:12]}")
def test_a_file_that_fuzzing_kept_is_read_or_refused(path: Path, tmp_path: Path) -> None:
    assert path.stat().st_size <= 4096
    TARGETS[path.parent.name](path.read_bytes(), tmp_path / "work")


@pytest.mark.parametrize("name", TARGETS)
def test_sound_seeds_are_sound(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nothing behind the first check would ever be reached."""
    for kind, content in seeds(name).items():
        if name == "unpack":
            TARGETS[name](content, tmp_path / kind)
            assert (tmp_path / kind / "out" / "configs" / "train.json").is_file()
        else:
            from medtl.readers.dicom import read_image

            (tmp_path / kind).write_bytes(content)
            assert read_image(tmp_path / kind).shape == (8, 8)


@pytest.mark.parametrize("name", TARGETS)
def test_damage_at_random_places(name: str, tmp_path: Path) -> None:
    chance = random.Random(0)
    for kind, content in seeds(name).items():
        for turn in range(25):
            bent = bytearray(content)
            for _ in range(chance.randint(1, 4)):
                bent[chance.randrange(len(bent))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            TARGETS[name](
                bytes(bent[: chance.choice((len(bent), chance.randrange(len(bent))))]), tmp_path / f"{kind}{turn}"
            )
