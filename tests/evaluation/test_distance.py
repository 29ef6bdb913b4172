"""Distances between sets of features against closed forms, and their intervals."""

import numpy as np
import pytest
from scipy import linalg

from echocascade.evaluation.distance import frechet_distance, kernel_distance, with_interval
from echocascade.rng import numpy_generator


@pytest.fixture
def feature_sets():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(5, 5))
    return rng.normal(size=(60, 5)), rng.normal(1, 2, (80, 5)) @ mixing


def test_frechet_distance_equals_the_matrix_square_root_formula(feature_sets):
    a, b = feature_sets
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_shifted_and_of_scaled_gaussians_in_closed_form(feature_sets):
    a = feature_sets[0]
    variance = a.var(axis=0, ddof=1).sum()
    assert frechet_distance(a, a + np.array([3, 0, 0, 4, 0])) == pytest.approx(25)
    centred = a - a.mean(axis=0)
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * variance)


def test_frechet_distance_is_zero_for_a_set_with_itself_and_symmetric(feature_sets):
    a, b = feature_sets
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a[:4], b[:3]) > 0  # fewer samples than features


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        (np.zeros((1, 3)), np.zeros((4, 3)), "N >= 2"),
        (np.zeros((4, 3)), np.zeros((4, 2)), "counts differ: 3 and 2"),
        (np.full((4, 3), np.nan), np.zeros((4, 3)), "finite"),
    ],
)
def test_features_that_fit_no_gaussian_are_an_error(a, b, word):
    with pytest.raises(ValueError, match=word):
        frechet_distance(a, b)


def test_kernel_distance_is_the_published_estimator(feature_sets):
    a, b = feature_sets[0][:6], feature_sets[1][:4]

    def k(x, y):
        return (x @ y / 5 + 1) ** 3

    xx = np.mean([k(a[i], a[j]) for i in range(6) for j in range(6) if i != j])
    yy = np.mean([k(b[i], b[j]) for i in range(4) for j in range(4) if i != j])
    xy = np.mean([k(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(xx + yy - 2 * xy)
    assert kernel_distance(a, b) == pytest.approx(kernel_distance(b, a))


def test_kernel_distance_of_one_distribution_is_zero_on_average():
    rng = numpy_generator(0, "one distribution")
    found = [kernel_distance(rng.normal(size=(20, 3)), rng.normal(size=(20, 3)))
             for _ in range(200)]  # fmt: skip
    assert abs(np.mean(found)) < 3 * np.std(found) / 200**0.5


def test_the_interval_of_a_distance_covers_it_as_often_as_it_says():
    """Of the difference of means, whose spread over experiments is known: 90 % of 200 times."""
    truth, covered = 1.0, 0
    for experiment in range(200):
        rng = numpy_generator(1, "experiment", experiment)
        patients = np.repeat(np.arange(60), 3)  # samples of a patient are alike
        x = rng.normal(0, 1, (60, 1))[patients] + rng.normal(truth, 0.3, (180, 1))
        y = rng.normal(0, 1, (60, 1))[patients] + rng.normal(0, 0.3, (180, 1))
        found = with_interval(
            lambda a, b: float(a.mean() - b.mean()), (x, patients.tolist()), (y, patients.tolist()),
            level=0.9, groups=20, seed=experiment,
        )  # fmt: skip
        covered += found.interval.low < truth < found.interval.high
    assert 160 <= covered <= 196  # 180 expected, 4 the standard deviation


def test_an_interval_says_on_how_many_patients_it_stands_and_needs_enough(feature_sets):
    a, b = feature_sets
    found = with_interval(frechet_distance, (a, list(range(60))), (b, list(range(80))), level=0.95)
    assert (found.n_samples, found.n_patients) == (60, 80)
    assert found.interval.low < found.value < found.interval.high
    few = with_interval(frechet_distance, (a[:6], list(range(6))), (b[:6], list(range(6))))
    assert few.value > 0 and np.isnan(few.interval.low)
