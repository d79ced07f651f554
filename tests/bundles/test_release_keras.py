"""A released network of Keras's kind opens where medtl is unknown, with its strides where Keras has them."""

import json
from pathlib import Path

import pytest
import torch
from released_bundles import made_run, small_list, without_medtl

from medtl.bundles.inspect import problems_of_bundle
from medtl.bundles.release import release
from medtl.errors import MedtlError
from medtl.networks.classifier import build_classifier
from medtl.weights.load import load_pretrained

pytestmark = pytest.mark.slow

OPENED = """
import torch
from monai.bundle import ConfigParser
root, out = sys.argv[1:]
parser = ConfigParser()
parser.read_config(root + "/configs/inference.json")
parser["bundle_root"], parser["device"] = root, "cpu"
network = parser.get_parsed_content("network").eval()
network.load_state_dict(torch.load(root + "/models/model.pt", weights_only=True))
images = torch.rand(2, 3, 48, 48)
with torch.no_grad():
    torch.save({"images": images, "logits": network(images)}, out)
"""


def test_keras_resnet_stands_alone_and_starts_its_own_kind_only(tmp_path: Path) -> None:
    listed = small_list(tmp_path / "data", channels=3)
    network = made_run(tmp_path / "run", listed, backbone="keras/resnet50")
    bundle = tmp_path / "tiny_keras"
    release(tmp_path / "run", bundle)
    definition = json.loads((bundle / "configs" / "inference.json").read_text())["network_def"]
    assert definition["_target_"] == "torch.nn.Module.apply"
    assert definition["self"]["_target_"] == "monai.networks.nets.resnet50"
    assert "--network_def#self#num_classes N --head new" in (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    assert problems_of_bundle(bundle)[1] == []
    status, printed = without_medtl(OPENED, bundle, tmp_path / "seen.pt", cwd=tmp_path)
    assert status == 0, printed
    seen = torch.load(tmp_path / "seen.pt", weights_only=True)
    with torch.no_grad():
        assert torch.allclose(seen["logits"], network(seen["images"]), rtol=0, atol=1e-6)
    again = build_classifier("keras/resnet50", 3, image_size=48)
    assert load_pretrained(again, bundle, "keras/resnet50").fits
    with pytest.raises(MedtlError, match="these weights are of keras/resnet50"):
        load_pretrained(build_classifier("resnet50", 3, image_size=48), bundle, "resnet50")
