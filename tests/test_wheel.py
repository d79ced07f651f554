"""What a wheel installs works without the checkout: the bundles are in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bundle_runs import ROOT

from medtl.errors import UsageError
from medtl.places import bundle_folder, bundle_of_word

pytestmark = pytest.mark.slow

pytest.importorskip("setuptools")


@pytest.fixture(scope="module")
def installed(module_path: Path) -> Path:
    """What a wheel's installation holds, built where an earlier version was built before."""
    left = module_path / "lib" / "medtl" / "_bundles" / "gone" / "configs"
    left.mkdir(parents=True)
    (left / "train.json").write_text("{}")
    (module_path / "lib" / "medtl" / "gone.py").write_text("")
    words = ["-q", "build", "--build-base", str(module_path / "base"), "--build-lib", str(module_path / "lib")]
    done = subprocess.run([sys.executable, "setup.py", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return module_path / "lib"


def run(installed: Path, *words: str) -> str:
    """What a command that is run from elsewhere prints."""
    place = installed.parent / "elsewhere"
    place.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, *words], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_of_an_earlier_build_is_in_it(installed: Path) -> None:
    assert (installed / "medtl" / "__init__.py").is_file()
    assert not list(installed.rglob("gone*"))


def test_each_bundle_is_there_whole(installed: Path) -> None:
    there = {path.relative_to(installed / "medtl" / "_bundles") for path in installed.glob("medtl/_bundles/**/*.*")}
    tracked = subprocess.run(["git", "ls-files", "bundles"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    if not tracked:
        pytest.skip("this is no git checkout")
    wanted = {Path(name).relative_to("bundles") for name in tracked if "." in Path(name).name}
    assert {path for path in wanted if path.parts[0] != "_recipes"} <= there
    assert not any(path.parts[0] == "_recipes" for path in there)


def test_path_and_list_find_the_bundles_that_are_installed(installed: Path) -> None:
    folder = installed / "medtl" / "_bundles" / "cpmid_resnet18"
    assert run(installed, "-m", "medtl", "path", "cpmid_resnet18").strip() == str(folder)
    assert (folder / "configs" / "train.json").is_file()
    listed = json.loads(run(installed, "-m", "medtl", "list", "--json"))
    assert {row["path"].rpartition("/")[0] for row in listed["bundles"]} == {str(folder.parent)}


def test_the_mini_start_is_the_one_that_is_installed(installed: Path) -> None:
    script = "from medtl.weights.starts import resolve; print(resolve('mini', 'resnet18').path)"
    assert run(installed, "-c", script).strip() == str(installed / "medtl" / "_bundles" / "medtl_mini_resnet18")


def test_the_start_that_comes_with_it_is_installed_with_its_notice(installed: Path) -> None:
    script = "from medtl.weights.starts import resolve; print(resolve('imagenet', 'torchvision/mobilenet_v2').path)"
    found = Path(run(installed, "-c", script).strip())
    assert found == installed / "medtl" / "weights" / "shipped" / "mobilenet_v2_imagenet.safetensors"
    assert found.with_name("NOTICE").is_file()
    assert found.with_name("mobilenet_v2_imagenet.card.json").is_file()


def test_a_bundle_is_found_by_name_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundle_folder("folder") == ROOT / "bundles" / "folder"
    assert bundle_of_word("folder") == ROOT / "bundles" / "folder"
    (tmp_path / "folder").mkdir()  # some folder of the user's that happens to be called so
    assert bundle_of_word("folder") == ROOT / "bundles" / "folder"
    (tmp_path / "folder" / "configs").mkdir()
    assert bundle_of_word("folder") == Path("folder")
    assert bundle_of_word("some/foldr") == Path("some/foldr")
    with pytest.raises(UsageError, match=r"bundle .foldr. is not one of .*did you mean folder"):
        bundle_of_word("foldr")
