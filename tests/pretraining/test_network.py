"""Heads take what the classifier's head takes, or the last map; they leave its answers alone and teach the trunk."""

import pytest
import torch

from medtl.networks.classifier import backbone_of, build_classifier, features
from medtl.pretraining.method import parse
from medtl.pretraining.network import SumOfLosses, WithHeads, as_map, sources_of

WIDTHS = {"resnet18": 512, "densenet121": 1024, "vit_b16": 768}
METHODS = "supervised+simclr(width=8)"


@pytest.mark.parametrize("backbone", list(WIDTHS))
def test_logits_stay_and_projections_come_from_the_pooled_features(backbone: str) -> None:
    torch.manual_seed(0)
    network = build_classifier(backbone, 3, image_size=32).eval()
    names, head = list(network.state_dict()), network.get_submodule(backbone_of(backbone).head)
    taken: list[torch.Tensor] = []
    head.register_forward_pre_hook(lambda module, inputs: taken.append(inputs[0]))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(images)
        wrapped = WithHeads(network, backbone, 32, parse(METHODS)).eval()
        found = wrapped({"image": images})
    assert torch.equal(found["supervised"]["answers"], expected)
    assert found["simclr"]["answers"].shape == (2, 8)
    assert taken[-1].shape == (2, WIDTHS[backbone])
    torch.testing.assert_close(wrapped.heads["simclr"](taken[-1]), found["simclr"]["answers"])
    assert list(network.state_dict()) == names  # what is saved stays a plain classifier


@pytest.mark.parametrize("backbone", list(WIDTHS))
def test_a_decoder_stands_on_the_last_map(backbone: str) -> None:
    torch.manual_seed(0)
    network = build_classifier(backbone, 3, image_size=64).eval()
    wrapped = WithHeads(network, backbone, 64, parse("context")).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found = wrapped({"image": images, "restored": images})["context"]
        last = features(network, backbone, images)[-1]
        assert torch.equal(found["answers"], wrapped.heads["context"](last))
    assert found["answers"].shape == images.shape
    assert found["restored"] is images


def test_looking_for_the_map_changes_nothing() -> None:
    torch.manual_seed(0)
    network = build_classifier("resnet18", 3, image_size=32)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    WithHeads(network, "resnet18", 32, parse("context+jigsaw"))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_tokens_lie_as_their_patches() -> None:
    tokens = torch.arange(10.0)[None, :, None].repeat(1, 1, 2)  # a class token and 3 × 3 patches
    assert as_map(tokens)[0, 1].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert as_map(tokens[:, 1:])[0, 1].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]  # of a ViT without one
    assert as_map(torch.cat((tokens[:, :1], tokens), dim=1))[0, 1, 0].tolist() == [1, 2, 3]  # with one more before them
    maps = torch.randn(2, 5, 3, 3)
    assert as_map(maps) is maps
    assert torch.equal(as_map(maps.permute(0, 2, 3, 1)), maps)


def test_both_parts_of_a_sum_teach_the_trunk_and_a_weight_of_0_does_not() -> None:
    images, labels = torch.randn(8, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    gradients = []
    for words in ("0*supervised+simclr", "supervised+0*simclr"):
        torch.manual_seed(0)
        wrapped = WithHeads(build_classifier("resnet18", 3, image_size=32), "resnet18", 32, parse(words))
        SumOfLosses(parse(words))(wrapped({"image": images}), labels).backward()
        network = wrapped.network
        gradients.append([p.grad for p in (network.conv1.weight, network.fc.weight, wrapped.heads["simclr"][0].weight)])
    (trunk, head, projection), (other_trunk, other_head, other_projection) = gradients
    for taught in (trunk, other_trunk, other_head, projection):
        assert taught.abs().max() > 0
    for untouched in (head, other_projection):
        assert untouched.abs().max() == 0
    assert not torch.allclose(trunk, other_trunk)


def test_the_loss_is_the_weighted_sum() -> None:
    labels = torch.tensor([0, 1])
    answers = {
        "supervised": {"answers": torch.randn(4, 3)},
        "simclr": {"answers": torch.randn(4, 5)},
        "jigsaw": {"answers": torch.randn(2, 100), "order": torch.tensor([4, 90])},
    }
    alone = [float(SumOfLosses(parse(name))(answers, labels)) for name in answers]
    total = SumOfLosses(parse("2*supervised+0.5*simclr+3*jigsaw"))(answers, labels)
    assert total.item() == pytest.approx(2 * alone[0] + 0.5 * alone[1] + 3 * alone[2], rel=1e-6)
    assert answers["jigsaw"].keys() == {"answers", "order"}  # nothing is taken out


def test_a_head_a_source_learns_of_its_own_source_alone() -> None:
    classes = ("a/x", "a/y", "b/x", "b/z")
    assert sources_of(classes) == [0, 0, 1, 1]
    assert sources_of(("x", "y")) == [0, 0]
    methods = parse("supervised(heads='source')")
    assert not methods.trains_classifier
    assert "the last epoch is kept" in methods.describe()
    torch.manual_seed(0)
    wrapped = WithHeads(build_classifier("resnet18", 4, image_size=32), "resnet18", 32, methods, classes)
    assert "sources" not in wrapped.state_dict()
    SumOfLosses(methods)(wrapped({"image": torch.randn(4, 3, 32, 32)}), torch.tensor([0, 1, 0, 1])).backward()
    rows = wrapped.network.fc.weight.grad.abs().sum(1)
    assert (rows[:2] > 0).all()
    assert (rows[2:] == 0).all()
