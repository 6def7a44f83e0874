"""Searches for the weights of a mean: points of the simplex at which a loss is small.

A search is called with a loss of the weights (M,) and the number M, and gives the weights. Each
also looks at equal weights and at each member alone, so that on the data it searches on it is
never worse than these.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torchbp.errors import missing_extra

LossOfWeights = Callable[[Any], float]
"""loss(weights (M,) as a numpy array) -> number."""


class Search(Protocol):
    """What `Ensemble.fit_weights` takes."""

    def __call__(self, loss: LossOfWeights, num_members: int) -> Any:
        """The weights (M,) as a numpy array, not negative, with the sum 1."""
        ...


@dataclass(frozen=True)
class NelderMead:
    """Nelder and Mead's simplex search, from equal weights and from random points.

    Args:
        num_starts: how often it starts; the first time from equal weights.
        max_iterations: of each start.
        tolerance: of weights and of losses at which a start ends.
        seed: draws the other starts.

    Raises:
        MissingExtraError: scipy is not installed.

    Example:
        >>> search = NelderMead(num_starts=1)
        >>> search(lambda w: ((w - [0.2, 0.8]) ** 2).sum(), num_members=2).round(4)
        array([0.2, 0.8])

    Weights are |v| / sum |v| of the free point v that scipy moves.
    Source: Nelder, Mead 1965, https://doi.org/10.1093/comjnl/7.4.308, by scipy.
    """

    num_starts: int = 4
    max_iterations: int = 1000
    tolerance: float = 1e-6
    seed: int = 0

    def __call__(self, loss: LossOfWeights, num_members: int) -> Any:
        """The best weights of all starts."""
        try:
            from scipy.optimize import minimize
        except ImportError as error:
            raise missing_extra("scipy", "ensemble") from error
        import numpy as np

        rng = np.random.default_rng(self.seed)
        options = {
            "maxiter": self.max_iterations,
            "xatol": self.tolerance,
            "fatol": self.tolerance,
            "adaptive": num_members > 5,
        }
        starts = [np.full(num_members, 1 / num_members)]
        starts += list(rng.dirichlet(np.ones(num_members), self.num_starts - 1))
        found = [
            minimize(lambda v: loss(on_simplex(v)), start, method="Nelder-Mead", options=options).x
            for start in starts
        ]
        return _best(loss, [on_simplex(v) for v in found], num_members)


@dataclass(frozen=True)
class RandomSearch:
    """The best of weights drawn from a Dirichlet distribution.

    Args:
        num_draws: how many are tried.
        concentration: of the distribution: 1 is uniform over the simplex, less prefers corners.
        seed: of the draws.

    Example:
        >>> search = RandomSearch(num_draws=500)
        >>> search(lambda w: ((w - [0.2, 0.8]) ** 2).sum(), num_members=2).round(1)
        array([0.2, 0.8])
    """

    num_draws: int = 1000
    concentration: float = 1.0
    seed: int = 0

    def __call__(self, loss: LossOfWeights, num_members: int) -> Any:
        """The best weights of all draws."""
        import numpy as np

        rng = np.random.default_rng(self.seed)
        draws = rng.dirichlet(np.full(num_members, self.concentration), self.num_draws)
        return _best(loss, list(draws), num_members)


@dataclass(frozen=True)
class GreedySelection:
    """Members are added one by one, each as often as it helps; weights are their counts.

    Args:
        num_rounds: members added, the same ones again if they help most.
        num_bags: selections whose counts are added; each is from a random part of the members.
        bag_fraction: that part; all members if 1.
        seed: draws the parts, and decides between equals.

    Example:
        >>> search = GreedySelection(num_rounds=10)
        >>> search(lambda w: ((w - [0.2, 0.8]) ** 2).sum(), num_members=2)
        array([0.2, 0.8])

    The best of all rounds counts, not the last one.
    Source: Caruana et al. 2004, https://doi.org/10.1145/1015330.1015432: selection with
    replacement from the best member on, and bagged selection.
    """

    num_rounds: int = 50
    num_bags: int = 1
    bag_fraction: float = 1.0
    seed: int = 0

    def __call__(self, loss: LossOfWeights, num_members: int) -> Any:
        """The weights of the selection."""
        import numpy as np

        rng = np.random.default_rng(self.seed)
        size = max(1, round(self.bag_fraction * num_members))
        counts = np.zeros(num_members)
        for _ in range(self.num_bags):
            bag = rng.permutation(num_members)[:size]  # its order decides between equals
            counts += self._select(loss, bag, num_members)
        return _best(loss, [on_simplex(counts)], num_members)

    def _select(self, loss: LossOfWeights, bag: Any, num_members: int) -> Any:
        """The share of each member in the best round."""
        import numpy as np

        counts, best, best_loss = np.zeros(num_members), np.zeros(num_members), np.inf
        for number in range(1, self.num_rounds + 1):
            losses = [loss((counts + np.eye(num_members)[member]) / number) for member in bag]
            chosen = int(np.argmin(losses))
            counts[bag[chosen]] += 1
            if losses[chosen] < best_loss:
                best, best_loss = counts / number, losses[chosen]
        return best


def on_simplex(point: Any) -> Any:
    """|v| / sum |v|; equal weights where all are zero."""
    import numpy as np

    size = np.abs(point)
    return size / size.sum() if size.sum() > 0 else np.full(len(size), 1 / len(size))


def _best(loss: LossOfWeights, found: list[Any], num_members: int) -> Any:
    """The best of what was found, of equal weights and of each member alone."""
    import numpy as np

    candidates = [*found, np.full(num_members, 1 / num_members), *np.eye(num_members)]
    return min(candidates, key=loss)
