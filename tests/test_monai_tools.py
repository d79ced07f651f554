"""MONAI's own bundle commands work on our bundles, offline."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import BUNDLE, ROOT, config
from monai.bundle import ConfigParser, ckpt_export, onnx_export, verify_metadata, verify_net_in_out
from monai.bundle.properties import InferProperties, MetaProperties, TrainProperties

pytestmark = pytest.mark.slow

SCHEMA = ROOT / "medtl" / "bundles" / "metadata_schema.json"
META = str(BUNDLE / "configs" / "metadata.json")
NETWORK = {"meta_file": META, "config_file": config("inference")}


@pytest.fixture
def weights(tmp_path: Path) -> tuple[torch.nn.Module, Path]:
    """A network with random weights, and its saved state."""
    from monai.networks.nets import resnet18

    torch.manual_seed(1)
    arguments = {"spatial_dims": 2, "n_input_channels": 3, "num_classes": 20}
    network = resnet18(**arguments, conv1_t_stride=2, bias_downsample=False).eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    return network, tmp_path / "model.pt"


def test_metadata_is_verified_against_the_schema_in_the_repository() -> None:
    verify_metadata(meta_file=META, filepath=str(SCHEMA))


def test_schema_refuses_what_a_user_of_weights_would_miss(tmp_path: Path) -> None:
    import json

    content = json.loads(Path(META).read_text())
    content["intended_use"] = "diagnosis"
    (tmp_path / "metadata.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(SCHEMA))


@pytest.mark.parametrize("name", ["train", "inference"])
def test_network_takes_and_gives_what_metadata_says(name: str) -> None:
    verify_net_in_out("network_def", meta_file=META, config_file=config(name), device="cpu")


def test_torchscript_export_computes_the_same(weights: tuple[torch.nn.Module, Path], tmp_path: Path) -> None:
    network, path = weights
    ckpt_export("network_def", filepath=str(tmp_path / "model.ts"), ckpt_file=str(path), key_in_ckpt="", **NETWORK)
    picture = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(torch.jit.load(tmp_path / "model.ts")(picture), network(picture), atol=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("onnxscript") is None, reason="needs the extra onnx")
def test_onnx_export_computes_the_same(weights: tuple[torch.nn.Module, Path], tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    network, path = weights
    onnx_export("network_def", filepath=str(tmp_path / "model.onnx"), ckpt_file=str(path), key_in_ckpt="", **NETWORK)
    picture = torch.rand(1, 3, 224, 224)
    evaluator = ReferenceEvaluator(str(tmp_path / "model.onnx"))
    (found,) = evaluator.run(None, {evaluator.input_names[0]: picture.numpy()})
    with torch.no_grad():
        assert np.allclose(found, network(picture).numpy(), atol=1e-3)


@pytest.mark.parametrize(("name", "properties"), [("train", TrainProperties), ("inference", InferProperties)])
def test_configs_have_the_ids_that_monai_requires(name: str, properties: dict[str, dict]) -> None:
    parser = ConfigParser()
    parser.read_config(config(name))
    parser.read_meta(META)
    for wanted in {**properties, **MetaProperties}.values():
        assert wanted["id"] in parser or not wanted["required"], wanted["id"]
