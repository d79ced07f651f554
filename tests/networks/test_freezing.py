"""Frozen parts stay as they were to the last bit through a real trainer; the others train at their own rates."""

from pathlib import Path

import pytest
import torch
from monai.engines import SupervisedTrainer

from medtl.errors import UsageError
from medtl.networks.classifier import build_classifier
from medtl.networks.freezing import freeze, frozen_parts, parameter_groups
from medtl.networks.registry import backbone_of

State = dict[str, torch.Tensor]


def small(backbone: str) -> torch.nn.Module:
    torch.manual_seed(1)
    return build_classifier(backbone, 2, image_size=32)


def train(network: torch.nn.Module, backbone: str, steps: int = 2, **options: float) -> tuple[State, State]:
    """A few iterations of MONAI's trainer; state before and after."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    batches = [{"image": torch.randn(4, 3, 32, 32) + 2, "label": torch.tensor([0, 1, 1, 0])} for _ in range(steps)]
    groups = parameter_groups(network, backbone, options.get("rate", 0.1), options.get("multiplier", 1.0))
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=batches,
        network=network,
        optimizer=torch.optim.SGD(groups),
        loss_function=torch.nn.CrossEntropyLoss(),
        decollate=False,
    )
    trainer.run()
    assert network.training
    return before, network.state_dict()


def changed(before: State, after: State) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("backbone", ["resnet18", "vit_b16", "densenet121"])
def test_each_parameter_of_the_trunk_is_in_exactly_one_part(backbone: str) -> None:
    card, network = backbone_of(backbone), small(backbone)
    parts = [name for group in card.parts for name in group]
    assert len(card.parts) == 1 + len(card.stages)
    for name, _ in network.named_parameters():
        owners = [part for part in parts if name == part or name.startswith(f"{part}.")]
        assert len(owners) == (0 if name.startswith(card.head) else 1), name
    for stage, group in zip(card.stages[:3], card.parts[1:4], strict=True):
        assert group[-1] == stage


@pytest.mark.parametrize(
    ("backbone", "how", "training"),
    [
        ("resnet18", "trunk", ("fc.",)),
        ("resnet18", "all_but_last:0", ("fc.",)),
        ("resnet18", "all_but_last:1", ("fc.", "layer4.")),
        ("resnet18", "all_but_last:4", ("fc.", "layer4.", "layer3.", "layer2.", "layer1.")),
        ("resnet18", "none", ("fc.", "layer", "conv1.", "bn1.")),
        (
            "densenet121",
            "all_but_last:1",
            ("class_layers.", "features.denseblock4", "features.transition3", "features.norm5"),
        ),
        ("vit_b16", "all_but_last:1", ("classification_head.", "blocks.9.", "blocks.10.", "blocks.11.", "norm.")),
    ],
)
def test_frozen_parts_are_equal_to_the_bit_and_others_change(
    backbone: str, how: str, training: tuple[str, ...]
) -> None:
    network = small(backbone)
    freeze(network, backbone, how)
    before, after = train(network, backbone)
    wanted = {name for name in before if name.startswith(training) and "norm_cross_attn" not in name}
    assert changed(before, after) == wanted


def test_a_frozen_trunk_computes_in_training_as_in_evaluation_and_thaws() -> None:
    network = small("densenet121")
    images = torch.randn(3, 3, 32, 32)
    expected = network.eval()(images)
    freeze(network, "densenet121", "trunk")
    assert torch.equal(network.train()(images), expected)
    freeze(network, "densenet121", "none")
    assert not torch.allclose(network.train()(images), expected)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_multiplier_is_the_hand_computed_step() -> None:
    network = small("resnet18")
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 0, 1])
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    groups = parameter_groups(network, "resnet18", 0.2, 0.25)
    assert [(group["name"], group["lr"]) for group in groups] == [("head", 0.2), ("trunk", 0.05)]
    optimizer = torch.optim.SGD(groups, lr=0.2)
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    optimizer.step()
    for name, parameter in network.named_parameters():
        rate = 0.2 if name.startswith("fc.") else 0.05
        assert torch.allclose(parameter, before[name] - rate * parameter.grad, atol=1e-7), name


def test_frozen_parameters_are_in_no_group() -> None:
    network = small("vit_b16")
    freeze(network, "vit_b16", "trunk")
    (group,) = parameter_groups(network, "vit_b16", 0.1, 0.5)
    assert {id(p) for p in group["params"]} == {id(p) for p in network.classification_head.parameters()}
    freeze(network, "vit_b16", "none")
    listed = sum(len(group["params"]) for group in parameter_groups(network, "vit_b16", 0.1, 0.5))
    assert listed == sum("norm_cross_attn" not in name for name, _ in network.named_parameters())


@pytest.mark.parametrize("how", ["trunks", "all_but_last", "all_but_last:5", "all_but_last:-1", "all_but_last:1.5", 3])
def test_impossible_freezing_is_one_line(how: object) -> None:
    with pytest.raises(UsageError, match=f"^--freeze {how}: "):
        freeze(small("resnet18"), "resnet18", how)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -0.5, 1.5, float("nan"), float("inf"), "fast", True])
def test_impossible_multiplier_is_one_line(value: object) -> None:
    with pytest.raises(UsageError, match=f"^--trunk_multiplier {value}: expected"):
        parameter_groups(small("resnet18"), "resnet18", 0.1, value)  # type: ignore[arg-type]


def ddp_step(rank: int, folder: str) -> None:
    torch.set_num_threads(1)  # a forked process has none of its parent's threads
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    network = small("resnet18")
    freeze(network, "resnet18", "all_but_last:2")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wrapped = torch.nn.parallel.DistributedDataParallel(network)
    optimizer = torch.optim.SGD(parameter_groups(network, "resnet18", 0.1, 0.5))
    torch.manual_seed(rank)
    for _ in range(2):  # a second step fails where DDP waits for a gradient that never came
        optimizer.zero_grad()
        wrapped.train()(torch.randn(2, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    after = network.state_dict()
    frozen = tuple(f"{part}." for part in frozen_parts("resnet18", "all_but_last:2"))
    moved = [name for name in changed(before, after) if name.startswith(frozen)]
    torch.save({"moved": len(moved), "head": after["fc.weight"]}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_freezing_works_under_ddp(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(ddp_step, (str(tmp_path),), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first["moved"] == 0
    assert torch.equal(first["head"], second["head"])


@pytest.mark.parametrize(
    ("backbone", "counted"),
    [
        ("timm/inception_resnet_v2", 4_132_384),
        ("resnet50", 3_414_016),
        ("timm/resnet50", 3_414_016),
        ("densenet121", 168_128),
        ("torchvision/densenet121", 168_128),
        ("torchvision/inception_v3", 384),
        ("timm/inception_v3", 384),
    ],
)
def test_keras_top_ten_trains_what_the_last_ten_layers_of_keras_hold(backbone: str, counted: int) -> None:
    """Counted in Keras 3.15 and carried over to torch's tensors: batch norms have their scale here, convolutions before
    one no bias."""
    network = build_classifier(backbone, 2, image_size=96)
    freeze(network, backbone, "keras_top10")
    head = backbone_of(backbone).head
    trained = {name: p.numel() for name, p in network.named_parameters() if p.requires_grad}
    assert sum(count for name, count in trained.items() if not name.startswith(f"{head}.")) == counted
    assert any(name.startswith(f"{head}.") for name in trained)


def test_keras_top_ten_keeps_the_statistics_of_what_is_frozen() -> None:
    network = small("densenet121")
    freeze(network, "densenet121", "keras_top10")
    moved = changed(*train(network, "densenet121"))
    last = "features.denseblock4.denselayer16.layers"
    norms = {f"{last}.norm1", f"{last}.norm2", "features.norm5"}
    assert {name.rpartition(".")[0] for name in moved if "running_" in name} == norms
    assert {name.rpartition(".")[0] for name in moved} == norms | {f"{last}.conv1", f"{last}.conv2", "class_layers.out"}


def test_a_network_without_a_list_trains_its_last_ten_layers_and_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    network = small("resnet18")
    freeze(network, "resnet18", "keras_top10")
    assert "keras_top10 has no list for resnet18: its last ten layers train (" in capfd.readouterr().err
    trained = {name.rpartition(".")[0] for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {  # the other two of the ten are an activation and the pooling
        *(f"layer4.1.{name}" for name in ("conv1", "bn1", "conv2", "bn2")), "fc",
        *(f"layer4.0.{name}" for name in ("conv2", "bn2", "downsample.0", "downsample.1")),
    }  # fmt: skip
