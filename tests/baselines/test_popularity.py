import numpy as np

from baselines.popularity import Popularity
from harness.protocol.split import Histories, LeaveOneOut, TrainingData
from tests.conftest import domain_of


def test_counts_training_events_only() -> None:
    # Item 3 is popular in validation and test only.
    domain = LeaveOneOut().training(domain_of([[0, 1, 3, 3], [0, 2, 3, 3]], 4))
    scorer = Popularity().fit(TrainingData("toy", (), {"toy": domain}), None)
    histories = Histories(np.array([0]), domain_of([[1]], 4).interactions)
    assert scorer.score(histories, None).tolist() == [[2, 1, 1, 0]]
    assert scorer.score(histories, np.array([[3, 0]])).tolist() == [[0, 2]]
