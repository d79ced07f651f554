"""Files of $MEDTL_PLUGINS are found, imported, picklable in another process, and named where they are at fault."""

import multiprocessing
from pathlib import Path

import pytest

from medtl import plugins
from medtl.errors import UsageError


def written(folder: Path, kind: str, name: str, text: str) -> Path:
    path = folder / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_without_the_variable_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDTL_PLUGINS", raising=False)
    assert plugins.modules("metrics") == ()


def test_each_kind_of_each_folder_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "a", "metrics", "first.py", "NUMBER = 1\n")
    written(tmp_path / "b", "metrics", "second.py", "from medtl.plugins.metrics._shared import NUMBER\n")
    written(tmp_path / "b", "metrics", "_shared.py", "NUMBER = 2\n")
    written(tmp_path / "b", "networks", "third.py", "NUMBER = 3\n")
    monkeypatch.setenv("MEDTL_PLUGINS", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    assert [module.NUMBER for module in plugins.modules("metrics")] == [1, 2]
    assert [module.NUMBER for module in plugins.modules("networks")] == [3]
    assert plugins.modules("metrics")[0] is plugins.modules("metrics")[0]


def test_the_same_name_in_another_folder_is_another_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        written(tmp_path / str(number), "metrics", "same.py", f"NUMBER = {number}\n")
        monkeypatch.setenv("MEDTL_PLUGINS", str(tmp_path / str(number)))
        assert [module.NUMBER for module in plugins.modules("metrics")] == [number]


def test_what_a_file_defines_reaches_a_new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "data_prep", "twice.py", "def twice(value):\n    return 2 * value\n")
    monkeypatch.setenv("MEDTL_PLUGINS", str(tmp_path))
    (module,) = plugins.modules("data_prep")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(module.twice, [1, 2]) == [2, 4]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "bad.py",
            "import there_is_no_such_module\n",
            "bad.py cannot be imported: ModuleNotFoundError: No module",
        ),
        ("bad.py", "def half(:\n", "bad.py cannot be imported: SyntaxError"),
        ("bad.py", "raise SystemExit(3)\n", "bad.py cannot be imported: SystemExit: 3"),
        ("two words.py", "", "two words.py cannot be imported: expected a name of letters"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, reason: str
) -> None:
    written(tmp_path, "metrics", name, text)
    monkeypatch.setenv("MEDTL_PLUGINS", str(tmp_path))
    with pytest.raises(UsageError, match=reason):
        plugins.modules("metrics")


def test_a_name_in_two_folders_and_a_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b"):
        written(tmp_path / folder, "metrics", "same.py", "")
    monkeypatch.setenv("MEDTL_PLUGINS", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    with pytest.raises(UsageError, match=r"b/metrics/same\.py and .*a/metrics/same\.py have one name"):
        plugins.modules("metrics")
    monkeypatch.setenv("MEDTL_PLUGINS", str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="absent is no folder"):
        plugins.modules("metrics")


def test_locks_of_editors_are_no_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emacs leaves a link to nowhere beside a file that is being written."""
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / ".#mine.py").symlink_to("somebody@machine.1234")
    monkeypatch.setenv(plugins.VARIABLE, str(tmp_path))
    assert plugins.modules("networks") == ()
    assert len(plugins.digest("networks")) == 64
