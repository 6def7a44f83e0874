"""Ensembles: several models as one, with weights that are learned on validation data.

Here belong members of any kind (nets, estimators of scikit-learn, functions), ways of pooling what
they predict, searches for weights, measures of diversity, and the averages of weights that are an
alternative. Training is the Trainer's.
"""

from torchbp.ensemble.averaging import Snapshots, greedy_soup, soup
from torchbp.ensemble.batched import BatchedEnsemble
from torchbp.ensemble.diversity import Diversity
from torchbp.ensemble.ensemble import Ensemble
from torchbp.ensemble.files import load_ensemble
from torchbp.ensemble.member import Member
from torchbp.ensemble.pooling import (
    ExponentialMean,
    GeometricMean,
    MajorityVote,
    Mean,
    Median,
    Pooling,
    PowerMean,
)
from torchbp.ensemble.predictions import Predictions
from torchbp.ensemble.rank_mean import RankMean
from torchbp.ensemble.report import Report
from torchbp.ensemble.search import GreedySelection, NelderMead, RandomSearch
from torchbp.ensemble.stacking import Stacking, out_of_fold

__all__ = [
    "BatchedEnsemble",
    "Diversity",
    "Ensemble",
    "ExponentialMean",
    "GeometricMean",
    "GreedySelection",
    "MajorityVote",
    "Mean",
    "Median",
    "Member",
    "NelderMead",
    "Pooling",
    "PowerMean",
    "Predictions",
    "RandomSearch",
    "RankMean",
    "Report",
    "Snapshots",
    "Stacking",
    "greedy_soup",
    "load_ensemble",
    "out_of_fold",
    "soup",
]
