"""The methods that give one risk a bag of features, by name. Adding one is one file and one line here."""

from collections.abc import Callable
from dataclasses import dataclass

from medtl.errors import UsageError
from medtl.survival.attention import AttentionRisk
from medtl.survival.cluster_cox import ClusterCox
from medtl.survival.deepattnmisl import DeepAttnMisl
from medtl.survival.network import RiskNetwork
from medtl.survival.wsisa import Wsisa


@dataclass(frozen=True)
class Shape:
    """Numbers of a network.

    Attributes:
        width: of a feature.
        hidden: of the embedded instances, of methods that are trained by gradient.
        dropout: of these, 0 to below 1.
        clusters: of methods that have some.
    """

    width: int
    hidden: int = 64
    dropout: float = 0.25
    clusters: int = 6


@dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
        build: makes its network.
        by_gradient: whether epochs of training change it.
    """

    build: Callable[[Shape], RiskNetwork]
    by_gradient: bool = True


METHODS: dict[str, Method] = {
    "attention": Method(lambda s: AttentionRisk(s.width, s.hidden, s.dropout)),
    "deepattnmisl": Method(lambda s: DeepAttnMisl(s.width, s.hidden, s.dropout, s.clusters)),
    "kmeans_cox": Method(lambda s: ClusterCox(s.width, "kmeans", s.clusters), by_gradient=False),
    "spectral_cox": Method(lambda s: ClusterCox(s.width, "spectral", s.clusters), by_gradient=False),
    "wsisa_cox": Method(lambda s: Wsisa(s.width, s.clusters, "cox"), by_gradient=False),
    "wsisa_mtlsa": Method(lambda s: Wsisa(s.width, s.clusters, "mtlsa"), by_gradient=False),
}


def build_risk_network(
    method: str, width: int, hidden: int = 64, dropout: float = 0.25, clusters: int = 6
) -> RiskNetwork:
    """Return a network of a method; arguments as of ``Shape``.

    Raises:
        UsageError: there is no such method, or a number cannot be.
    """
    if method not in METHODS:
        raise UsageError(f"--method {method} is not one of {', '.join(METHODS)}")
    for name, value in (("hidden", hidden), ("clusters", clusters)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"--{name} {value}: expected a whole number of at least 1")
    return METHODS[method].build(Shape(width, hidden, dropout, clusters))
