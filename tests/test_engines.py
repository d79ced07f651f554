"""The training step against plain PyTorch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn

from medtl import engines
from medtl.errors import MedtlError, UsageError

Batches = list[dict[str, torch.Tensor]]


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))


def batches(sizes: list[int], seed: int = 0) -> Batches:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for size in sizes:
        image = torch.randn(size, 3, 8, 8, generator=generator)
        label = torch.randint(0, 3, (size,), generator=generator)
        found.append({"image": image, "label": label, "index": torch.arange(size) + 100 * len(found)})
    return found


def trained(data: Batches, epochs: int = 1, loss: Any = None, **options: Any) -> tuple[nn.Module, SupervisedTrainer]:
    net = engines.prepare_network(network(), options.get("channels_last", True))
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=data,
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), 0.1, 0.9),
        loss_function=loss or nn.CrossEntropyLoss(),
        iteration_update=engines.training_step(**options),
        decollate=False,
    )
    trainer.run()
    return net, trainer


def plainly_trained(data: Batches, epochs: int = 1) -> nn.Module:
    net = network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9)
    for _ in range(epochs):
        for batch in data:
            optimizer.zero_grad()
            images = batch["image"].contiguous(memory_format=torch.channels_last)
            nn.functional.cross_entropy(net(images), batch["label"]).backward()
            optimizer.step()
    return net


def difference(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def test_equals_a_plain_loop_to_the_last_bit() -> None:
    data = batches([4, 4, 3])
    assert difference(trained(data, epochs=2)[0], plainly_trained(data, epochs=2)) == 0


@pytest.mark.parametrize("sizes", [[4, 4], [4, 3], [5, 2, 4, 4], [4, 4, 4]])
def test_accumulation_equals_the_large_batch(sizes: list[int]) -> None:
    parts = batches(sizes)
    groups = [parts[k : k + 2] for k in range(0, len(parts), 2)]
    large = [{key: torch.cat([part[key] for part in group]) for key in group[0]} for group in groups]
    assert difference(trained(parts, epochs=2, accumulate=2)[0], plainly_trained(large, epochs=2)) < 1e-6


def test_accumulation_steps_once_a_group() -> None:
    steps = []
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    optimizer.register_step_post_hook(lambda *_: steps.append(trainer.state.iteration))
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=2,
        train_data_loader=batches([2] * 5),
        network=net,
        optimizer=optimizer,
        loss_function=nn.CrossEntropyLoss(),
        iteration_update=engines.training_step(accumulate=3),
        decollate=False,
    )
    trainer.run()
    assert steps == [3, 5, 8, 10]


def test_bf16_trains_on_a_cpu() -> None:
    data = batches([16])
    net, trainer = trained(data * 30, epochs=2, precision="bf16")
    assert trainer.state.output["pred"].dtype == torch.bfloat16
    assert next(net.parameters()).dtype == torch.float32
    before = nn.functional.cross_entropy(network()(data[0]["image"]), data[0]["label"])
    assert float(trainer.state.output["loss"]) < 0.8 * float(before.detach())


def test_soft_labels_of_mixup_are_understood() -> None:
    data = batches([4])
    soft = [{**data[0], "label": nn.functional.one_hot(data[0]["label"], 3).float()}]
    assert difference(trained(soft)[0], trained(data)[0]) < 1e-6


class BadAt:
    """Cross entropy that is spoilt at one iteration."""

    def __init__(self, iteration: int, value: float) -> None:
        self.left, self.value = iteration, value

    def __call__(self, pred: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        return nn.functional.cross_entropy(pred, label) * (self.value if self.left == 0 else 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_images(value: float) -> None:
    with pytest.raises(MedtlError, match=r"at iteration 3, training images 200, 201: take") as raised:
        trained(batches([2] * 6), loss=BadAt(3, value))
    assert "\n" not in str(raised.value)


def test_the_losses_are_looked_at_before_an_epoch_is_saved() -> None:
    net = network()
    step = engines.training_step(check_every=1000)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=2,
        train_data_loader=batches([40, 40]),
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), 0.1),
        loss_function=BadAt(2, float("nan")),
        iteration_update=step,
        decollate=False,
    )
    saved = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: saved.append(1))
    with pytest.raises(MedtlError, match=r"training images 100, .* and 32 more"):
        trainer.run()
    assert not saved


def test_events_come_in_the_order_of_monais_own_step() -> None:
    from monai.engines.utils import IterationEvents

    def heard(update: Callable | None) -> list[str]:
        net = network()
        names: list[str] = []

        def heard_one(_: Any, name: str) -> None:
            names.append(name)

        trainer = SupervisedTrainer(
            device="cpu",
            max_epochs=1,
            train_data_loader=batches([2]),
            network=net,
            optimizer=torch.optim.SGD(net.parameters(), 0.1),
            loss_function=nn.CrossEntropyLoss(),
            iteration_update=update,
            decollate=False,
        )
        for event in IterationEvents:
            trainer.add_event_handler(event, heard_one, event.name)
        trainer.run()
        return names

    assert heard(engines.training_step()) == heard(None)


def test_the_moving_average_follows() -> None:
    net = network()
    ema = engines.moving_average(net, 0.5)
    expected = [p.detach().clone() for p in net.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    seen: list[list[torch.Tensor]] = []
    optimizer.register_step_post_hook(lambda *_: seen.append([p.detach().clone() for p in net.parameters()]))
    SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=batches([2] * 3),
        network=net,
        optimizer=optimizer,
        loss_function=nn.CrossEntropyLoss(),
        iteration_update=engines.training_step(ema=ema),
        decollate=False,
    ).run()
    expected = seen[0]  # the first step starts the average
    for weights in seen[1:]:
        expected = [0.5 * a + 0.5 * w for a, w in zip(expected, weights, strict=True)]
    for average, wanted in zip(ema.module.parameters(), expected, strict=True):
        torch.testing.assert_close(average, wanted)


def test_the_moving_average_holds_running_statistics_and_counts() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2))
    ema = engines.moving_average(net, 0.75)
    means = []
    for number in range(4):
        net(torch.full((3, 2), 1.0 + number))
        ema.update_parameters(net)
        means.append(net[0].running_mean.clone())  # type: ignore[operator, union-attr]
    expected = means[0]
    for mean in means[1:]:
        expected = 0.75 * expected + 0.25 * mean
    state = ema.module.state_dict()
    torch.testing.assert_close(state["0.running_mean"], expected)
    assert int(state["0.num_batches_tracked"]) == 4


def test_synchronised_batch_norm_keeps_names_values_and_parameters() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    parameters, before = list(net.parameters()), {name: value.clone() for name, value in net.state_dict().items()}
    images = torch.randn(2, 3, 5, 5)
    expected = net.eval()(images)
    assert engines.synchronised(net, False) is net
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in net.modules())
    changed = engines.synchronised(net)
    assert [type(module) for module in changed.modules()].count(nn.SyncBatchNorm) == 1
    assert list(changed.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in changed.state_dict().items())
    assert all(one is other for one, other in zip(changed.parameters(), parameters, strict=True))
    assert torch.equal(changed(images), expected)


def test_a_prepared_network_keeps_its_names_and_values() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    prepared = engines.prepare_network(net, channels_last=True, compile=True)
    assert prepared.state_dict().keys() == before.keys()
    assert all(torch.equal(prepared.state_dict()[name], value) for name, value in before.items())
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr]


def test_wrong_arguments_are_refused() -> None:
    for options in ({"precision": "int8"}, {"accumulate": 0}, {"check_every": 0}):
        with pytest.raises(UsageError):
            engines.training_step(**options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        engines.precision("cpu", "fp16")
    assert engines.precision("cpu") == "fp32"
    assert engines.precision("cpu", "bf16") == "bf16"
    assert engines.image_dtype("bf16") == "bfloat16"
