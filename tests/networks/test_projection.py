"""A projection takes what the head takes, leaves the classifier's answers alone and teaches the trunk."""

import pytest
import torch

from medtl.losses import LabelsAndViews
from medtl.networks.classifier import build_classifier
from medtl.networks.projection import WithProjection
from medtl.networks.registry import backbone_of

FEATURES = {"resnet18": 512, "densenet121": 1024, "vit_b16": 768}


@pytest.mark.parametrize("backbone", list(FEATURES))
def test_logits_stay_and_projections_come_from_the_pooled_features(backbone: str) -> None:
    torch.manual_seed(0)
    network = build_classifier(backbone, 3, image_size=32).eval()
    names = list(network.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(images)
        wrapped = WithProjection(network, backbone, width=8).eval()
        logits, projections = wrapped(images)
        assert torch.equal(logits, expected)
        assert projections.shape == (2, 8)
        pooled = wrapped._pooled
        assert pooled.shape == (2, FEATURES[backbone])
        torch.testing.assert_close(network.get_submodule(backbone_of(backbone).head)(pooled), expected)
        torch.testing.assert_close(wrapped.projection(pooled), projections)
    assert list(network.state_dict()) == names  # what is saved stays a plain classifier


def test_both_parts_of_the_loss_teach_the_trunk() -> None:
    images, labels = torch.randn(8, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    gradients = []
    for contrast, supervision in ((1.0, 0.0), (0.0, 1.0)):
        torch.manual_seed(0)
        wrapped = WithProjection(build_classifier("resnet18", 3, image_size=32), "resnet18")
        LabelsAndViews(contrast, supervision)(wrapped(images), labels).backward()
        network = wrapped.network
        gradients.append([p.grad for p in (network.conv1.weight, network.fc.weight, wrapped.projection[0].weight)])
    (trunk, head, projection), (other_trunk, other_head, other_projection) = gradients
    for taught in (trunk, other_trunk, other_head, projection):
        assert taught.abs().max() > 0
    for untouched in (head, other_projection):
        assert untouched.abs().max() == 0
    assert not torch.allclose(trunk, other_trunk)
