"""``--method`` in words, methods of one's own, and what is shown once or several times."""

from pathlib import Path

import pytest
import torch

from medtl.errors import UsageError
from medtl.pretraining.batches import Pictures, of_pass, prepare
from medtl.pretraining.context import Context
from medtl.pretraining.jigsaw import Jigsaw
from medtl.pretraining.method import MethodSum, Part, methods, parse
from medtl.pretraining.simclr import SimCLR
from medtl.pretraining.supervised import Supervised
from medtl.transforms.batch import normalisation


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("supervised", [Part(Supervised(), 1)]),
        ("supervised+simclr", [Part(Supervised(), 1), Part(SimCLR(), 1)]),
        (" supervised + 0.5*simclr ", [Part(Supervised(), 1), Part(SimCLR(), 0.5)]),
        ("0*supervised+2*jigsaw+simclr", [Part(Supervised(), 0), Part(Jigsaw(), 2), Part(SimCLR(), 1)]),
        (
            "3*jigsaw(permutations=1000, gamma=0)+simclr(temperature=0.1)",
            [Part(Jigsaw(permutations=1000, gamma=0), 3), Part(SimCLR(temperature=0.1), 1)],
        ),
    ],
)
def test_words_are_read(words: str, parts: list[Part]) -> None:
    assert parse(words) == MethodSum(tuple(parts))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("simclrr", r"simclrr is not one of context, jigsaw, masked, simclr, supervised; did you mean simclr\?"),
        ("", "expected a method or a sum"),
        ("supervised simclr", "expected a method or a sum"),
        ("supervised-simclr", "expected a method or a sum"),
        ("simclr*2", "expected a method or a sum"),
        ("simclr(0.1)", "expected a method or a sum"),
        ("simclr(temperature=exit(1))", "expected a method or a sum"),
        ("2*supervised+simclr+supervised", "names supervised twice"),
        ("True*simclr", "expected weights of 0 or more, not True"),
        ("1e999*simclr", "expected weights of 0 or more, not inf"),
        ("0*simclr", "expected a weight above 0"),
        ("simclr(temprature=0.1)", r"has no option temprature; it has .*; did you mean temperature\?"),
        ("jigsaw(permutations=10.5)", "permutations 10.5: expected a whole number"),
        ("simclr(temperature='warm')", "temperature 'warm': expected a number"),
        ("simclr(temperature=0)", "temperature 0 must be above 0"),
    ],
)
def test_what_cannot_be_read_is_told(words: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse(words)
    assert str(caught.value).startswith(f"--method {words}")


def test_labels_are_learnt_from_the_views_of_another_method_where_they_hold() -> None:
    """One forward pass for both; pictures of which labels do not hold are shown apart."""
    shown = {words: [one.shown_by.name for one in parse(words).passes] for words in (
        "supervised", "supervised+simclr", "simclr+supervised", "supervised+jigsaw", "context+supervised+simclr",
    )}  # fmt: skip
    assert shown == {
        "supervised": ["supervised"],
        "supervised+simclr": ["simclr"],
        "simclr+supervised": ["simclr"],
        "supervised+jigsaw": ["supervised", "jigsaw"],
        "context+supervised+simclr": ["context", "simclr"],
    }


def test_validation_chooses_the_epoch_where_the_classifier_learns() -> None:
    words = ("supervised", "supervised+simclr", "0*supervised+simclr", "simclr", "jigsaw+context")
    assert [parse(each).trains_classifier for each in words] == [True, True, False, False, False]
    assert "head stays random" not in parse("supervised").describe()
    assert "head stays random" in parse("jigsaw").describe()


def test_batches_hold_the_pictures_of_every_pass() -> None:
    images = torch.randint(0, 256, (4, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    index, plain = torch.arange(4), normalisation(seed=5, channels_last=True)
    both = parse("supervised+jigsaw+context")
    made = Pictures(both, plain)(images, index, 1)
    assert sorted(made) == ["context.image", "context.restored", "image", "jigsaw.image", "jigsaw.order"]
    assert made["image"].is_contiguous(memory_format=torch.channels_last)
    assert made["jigsaw.image"].is_contiguous(memory_format=torch.channels_last)
    given, label = prepare({**made, "label": torch.ones(4), "index": index}, "cpu")
    assert torch.equal(label, torch.ones(4))
    for number, (one, method) in enumerate(zip(both.passes, (Supervised(), Jigsaw(), Context()), strict=True)):
        pictures, targets = of_pass(given, number, one)
        alone = method.views(plain)(images, index, 1)
        alone = {"image": alone} if isinstance(alone, torch.Tensor) else dict(alone)
        assert torch.equal(pictures, alone.pop("image"))
        assert targets.keys() == alone.keys()
        assert all(torch.equal(targets[name], value) for name, value in alone.items())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("METHOD = 3\n", "own.py holds no METHOD"),
        ("", "own.py holds no METHOD"),
        ("from medtl.pretraining.simclr import METHOD\n", "there is another pretraining method called simclr"),
        ("import no_such_module\n", "own.py cannot be imported"),
    ],
)
def test_a_file_that_is_no_method_is_named(
    text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "own.py").write_text(text)
    monkeypatch.setenv("MEDTL_PLUGINS", str(tmp_path))
    with pytest.raises(UsageError, match=reason):
        methods()
