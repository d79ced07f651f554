"""The decoder of a finished segmentation as the start of another one's, where both have the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from medtl.weights.read import read_state_dict

PART = "classifier."  # of a segmenter's names, ours and torchvision's


@dataclass(frozen=True)
class DecoderReport:
    """What became of a decoder.

    Attributes:
        share: of the decoder's parameters that came from the file, 0..1.
        told: that as a sentence.
    """

    share: float
    told: str


def load_decoder(network: nn.Module, source: Path, theirs: Sequence[str], own: Sequence[str]) -> DecoderReport | None:
    """Fill a segmenter's decoder from a file whose decoder has the same layers; the layers that answer are taken where
    both files' classes are the same, and start anew elsewhere.

    Args:
        network: with ``classifier``, its decoder; filled in place only if the whole decoder fits.
        source: weights, a bundle or its zip.
        theirs: the classes in index order that the file was trained on; empty where nobody says.
        own: the network's classes in index order.

    Returns:
        What became of it; None for a file that holds no decoder.

    Raises:
        MedtlError: the file cannot be read.
    """
    state = {name: tensor for name, tensor in read_state_dict(source).items() if name.startswith(PART)}
    here = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(PART)}
    if not any(name.startswith(PART) and tensor.ndim == 4 for name, tensor in state.items()):
        return None  # of a classifier whose head has that name
    answers = _answers(network, len(own) + 1)
    same = bool(theirs) and tuple(theirs) == tuple(own)
    taken = {name: tensor for name, tensor in state.items() if same or name not in answers}
    wanted = {name for name in here if same or name not in answers}
    if taken.keys() != wanted or any(tensor.shape != here[name].shape for name, tensor in taken.items()):
        return DecoderReport(0.0, "the decoder starts anew: the file's has other layers")
    network.load_state_dict(taken, strict=False)
    total = sum(parameter.numel() for name, parameter in network.named_parameters() if name.startswith(PART))
    filled = sum(parameter.numel() for name, parameter in network.named_parameters() if name in taken)
    anew = "" if same else "; the layers that answer start anew, for other classes"
    return DecoderReport(filled / total, f"{100 * filled / total:.1f} % of the decoder's parameters loaded{anew}")


def _answers(network: nn.Module, count: int) -> set[str]:
    """Names of the tensors of convolutions that give a number a class: with a bias, as no inner one of that width."""
    layers = {
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.out_channels == count and module.bias is not None
    }
    return {f"{name}.{part}" for name in layers for part in ("weight", "bias")}
