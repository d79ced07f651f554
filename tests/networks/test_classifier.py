"""One signature for every trunk; parameters and cost as published."""

import pytest
import torch
from complexity import complexity

from medtl.errors import UsageError
from medtl.networks.classifier import build_classifier, features
from medtl.networks.registry import backbone_of, names

pytestmark = pytest.mark.slow

# CPMID's table: FLOPs in G to two places, parameters of the trunk in M (its 21.29 for ResNet-34 includes the head)
PAPER = {
    "resnet18": (1.82, 11.18),
    "resnet34": (3.68, 21.28),
    "resnet50": (4.12, 23.51),
    "resnet101": (7.85, 42.50),
    "vit_b16": (16.86, 85.80),
}


def side(backbone: str) -> int:
    """The size next to 64 pixels that a network takes: 56 where patches of 14 must divide it."""
    return backbone_of(backbone).nearest(64)[0]


@pytest.fixture(scope="module", params=names())
def built(request: pytest.FixtureRequest) -> tuple[str, torch.nn.Module]:
    torch.manual_seed(0)
    return request.param, build_classifier(request.param, 5, in_channels=1, image_size=side(request.param)).eval()


def images(count: int, backbone: str) -> torch.Tensor:
    return torch.rand(count, 1, side(backbone), side(backbone))


def test_any_trunk_takes_grey_images_and_gives_logits(built: tuple[str, torch.nn.Module]) -> None:
    backbone, network = built
    with torch.no_grad():
        logits = network(images(2, backbone))
    assert logits.shape == (2, 5)


def test_stages_get_coarser_and_name_real_modules(built: tuple[str, torch.nn.Module]) -> None:
    backbone, network = built
    with torch.no_grad():
        stages = features(network, backbone, images(1, backbone))
    sizes = [stage.shape[-1] for stage in stages]
    assert len(stages) == 4
    assert sizes == sorted(sizes, reverse=True)
    assert not any(module._forward_hooks for module in network.modules())
    network.get_submodule(backbone_of(backbone).last_norm)


def test_dropout_sits_before_the_head_without_renaming_it(built: tuple[str, torch.nn.Module]) -> None:
    backbone, network = built
    dropping = build_classifier(backbone, 5, in_channels=1, image_size=side(backbone), dropout=0.5)
    assert list(dropping.state_dict()) == list(network.state_dict())
    dropping.load_state_dict(network.state_dict())
    image = images(2, backbone)
    with torch.no_grad():
        assert torch.equal(dropping.eval()(image), network(image))
        head = dropping.get_submodule(backbone_of(backbone).head).train()
        draws = [head(torch.ones(1, head.in_features)) for _ in range(2)]
        assert not torch.equal(*draws)


@pytest.mark.parametrize("backbone", list(PAPER))
def test_cost_is_that_of_the_papers_table(backbone: str) -> None:
    found = complexity(build_classifier(backbone, 20), backbone)
    flops, parameters = PAPER[backbone]
    assert round(found.paper_multiply_adds / 1e9, 2) == flops
    assert round(found.parameters / 1e6, 2) == parameters


def test_full_multiply_adds_are_those_that_others_publish() -> None:
    for backbone, billions in {"resnet50": 4.09, "vit_b16": 17.56}.items():
        assert round(complexity(build_classifier(backbone, 1000), backbone).multiply_adds / 1e9, 2) == billions


def test_every_trainable_parameter_gets_a_gradient(built: tuple[str, torch.nn.Module]) -> None:
    """What has none makes DDP wait for ever."""
    backbone, network = built
    network(images(2, backbone)).sum().backward()
    without = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"backbone": "resnet19"}, "resnet18, resnet34"),
        ({"num_classes": 0}, "num_classes 0"),
        ({"in_channels": 0}, "in_channels 0"),
        ({"dropout": 1.0}, "dropout 1.0"),
        ({"image_size": 16}, "at least 32"),
        ({"backbone": "vit_b16", "image_size": 100}, "a multiple of 16"),
    ],
)
def test_wrong_arguments_are_told(arguments: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_classifier(**{"backbone": "resnet18", "num_classes": 2, **arguments})
