"""WSISA-like: a small network a cluster, clusters kept by their C-index, and a linear risk of what is kept.

After Zhu et al. 2017. There DeepConvSurv is a convolutional network on the pixels of patches; here it is one hidden
layer on their features, trained by Cox's loss on the mean of each patient's instances of the cluster. A cluster is
kept where its network orders held-out training patients better than chance.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from medtl.errors import tell
from medtl.metrics.survival import c_index_harrell, followed
from medtl.survival import linear
from medtl.survival.bags import padded
from medtl.survival.clusters import centres_of, members, shares_and_means
from medtl.survival.cox import efron_loss
from medtl.survival.mtlsa import stratified
from medtl.survival.network import Bag, RiskNetwork

HIDDEN = 32
STEPS, RATE, DECAY = 60, 0.01, 0.01
HELD = 3  # one of so many training patients says whether a cluster is kept
FEWEST = 10  # patients with a cluster, and with the event, that its network is trained on


class Wsisa(RiskNetwork):
    """Cox or MTLSA on the hidden features of the networks of the clusters that are kept.

    Args:
        width: of a feature.
        clusters: how many.
        last: "cox" or "mtlsa".
    """

    by_gradient = False
    centres: Tensor
    layer: Tensor
    bias: Tensor
    kept: Tensor
    vector_mean: Tensor
    vector_scale: Tensor

    def __init__(self, width: int, clusters: int, last: str) -> None:
        super().__init__(width)
        self.last = last
        self.register_buffer("centres", torch.zeros(clusters, width))
        self.register_buffer("layer", torch.zeros(clusters, width, HIDDEN))
        self.register_buffer("bias", torch.zeros(clusters, HIDDEN))
        self.register_buffer("kept", torch.zeros(clusters))
        self.register_buffer("vector_mean", torch.zeros(clusters * HIDDEN))
        self.register_buffer("vector_scale", torch.ones(clusters * HIDDEN))
        self.weights = nn.Parameter(torch.zeros(clusters * HIDDEN), requires_grad=False)

    def fit(self, bags: Sequence[Bag], label: Tensor, seed: int) -> None:
        """Find clusters, train their networks, choose among them, and fit the last model.

        Raises:
            UsageError: training bags hold fewer different instances than clusters.
        """
        super().fit(bags, label, seed)
        self.centres.copy_(centres_of(self.scaled_rows(bags), "kmeans", len(self.centres), seed))
        with torch.no_grad():
            told = [self._told(padded([bag], len(self.mean)).to(self.mean.device)) for bag in bags]
        shares, means = (torch.cat([each[part] for each in told]).cpu() for part in (0, 1))
        who = followed(label[:, 0].double().numpy(), label[:, 1].numpy())
        held = torch.from_numpy(stratified(who, HELD, seed) == 0)
        scores = np.zeros(len(self.centres))
        for cluster in range(len(self.centres)):
            there = shares[:, cluster] > 0
            own, rest = there & ~held, there & held
            if own.sum() < FEWEST or label[own, 1].sum() < FEWEST:
                continue
            hidden, network = _trained(means[own, cluster], label[own], seed)
            with torch.no_grad():
                risk = network(means[rest, cluster])[:, 0].double().numpy()
            kept = rest.numpy()
            some = followed(who.time[kept], who.event[kept])
            scores[cluster] = np.nan_to_num(c_index_harrell(some, risk), nan=0.0)
            self.layer[cluster] = hidden.weight.detach().T
            self.bias[cluster] = hidden.bias.detach()
        better = torch.from_numpy((scores > 0.5) | ((scores == scores.max()) & (scores > 0)))
        self.kept.copy_(better.float())
        if not better.any():
            tell(f"warning: no cluster has {FEWEST} training patients with the event: all risks are equal")
        with torch.no_grad():
            vectors = self._vector(shares.to(self.mean.device), means.to(self.mean.device)).cpu()
        for buffer, found in zip(
            (self.vector_mean, self.vector_scale, self.weights.data),
            linear.fitted(vectors, label, self.last, seed),
            strict=True,
        ):
            buffer.copy_(found)

    def _told(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        features, mask = self.standardised(padded)
        return shares_and_means(features, members(features, mask, self.centres))

    def _vector(self, shares: Tensor, means: Tensor) -> Tensor:
        hidden = (torch.einsum("ncw,cwh->nch", means, self.layer) + self.bias).relu()
        return (hidden * (shares * self.kept)[..., None]).flatten(1)

    def forward(self, padded: Tensor) -> Tensor:
        """Return risks (n, 1)."""
        scaled = (self._vector(*self._told(padded)) - self.vector_mean) / self.vector_scale
        return (scaled @ self.weights)[:, None]


def _trained(table: Tensor, label: Tensor, seed: int) -> tuple[nn.Linear, nn.Sequential]:
    """The hidden layer, and the whole of a network, trained by Cox's loss on vectors (n, width) and labels (n, 2)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hidden = nn.Linear(table.shape[1], HIDDEN)
        network = nn.Sequential(hidden, nn.ReLU(), nn.Linear(HIDDEN, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    with torch.enable_grad():
        for _ in range(STEPS):
            loss = efron_loss(network(table)[:, 0], label[:, 0], label[:, 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return hidden, network
