"""Masked attention over the instances of a bag."""

from torch import Tensor, nn

from medtl.survival.network import RiskNetwork, pooled


class AttentionRisk(RiskNetwork):
    """Gated attention over a bag's instances (Ilse, Tomczak and Welling 2018), then one number.

    Args:
        width: of a feature.
        hidden: of the embedded instances.
        dropout: of the embedded instances.
    """

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(width)
        self.embed = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.tanh = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh())
        self.gate = nn.Sequential(nn.Linear(hidden, hidden), nn.Sigmoid())
        self.weigh = nn.Linear(hidden, 1)
        self.head = nn.Linear(hidden, 1)

    def forward(self, padded: Tensor) -> Tensor:
        """Return risks (n, 1)."""
        features, mask = self.standardised(padded)
        embedded = self.embed(features)
        return self.head(pooled(embedded, self.weigh(self.tanh(embedded) * self.gate(embedded))[..., 0], mask))
