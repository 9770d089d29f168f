"""Agreement against scikit-learn, flips against a count by hand, chance against dealing models."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from peftcore.statistics.agreeing import Flips, agreement, differing

R, W = True, False


@pytest.mark.parametrize("labels", [2, 3])
def test_kappas_are_scikit_learns(labels):
    random = np.random.default_rng(labels)
    truth = random.integers(0, labels, 300)
    answers = [np.where(random.random(300) < p, truth, 0) for p in (0.9, 0.8, 0.4)]
    found = agreement(answers)
    for i, first in enumerate(answers):
        for j, second in enumerate(answers):
            assert found.shares[i, j] == pytest.approx(np.mean(first == second))
            assert found.kappas[i, j] == pytest.approx(cohen_kappa_score(first, second))


def test_two_models_of_one_and_the_same_answer_have_no_kappa():
    found = agreement([[1, 1, 1], [1, 1, 1]])
    assert found.shares.tolist() == [[1, 1], [1, 1]]
    assert np.isnan(found.kappas).all()


def flips(ours, theirs):
    """Three examples of three seeds each: given by example, as one thinks of them."""
    return Flips(ours=np.array(ours).T, theirs=np.array(theirs).T)


def test_flips_by_hand():
    found = flips(
        [[R, R, R], [R, R, W], [W, W, R], [R, W, W]],
        [[W, W, W], [W, W, R], [R, R, R], [R, W, W]],
    )
    assert (found.seeds, found.most) == (3, 2)
    assert found.lost.tolist() == [3, 2, 0, 0]
    assert found.gained.tolist() == [0, 1, 2, 0]
    assert [side.tolist() for side in found.sure(3)] == [[0], []]
    assert [side.tolist() for side in found.sure(2)] == [[0, 1], [2]]


def test_with_an_even_number_of_seeds_half_of_them_are_not_most():
    found = flips([[R, R, R, R], [R, R, W, W]], [[W, W, W, W], [W, W, W, W]])
    assert found.most == 3
    assert [side.tolist() for side in found.sure(found.most)] == [[0], []]


@pytest.mark.parametrize("least", [2, 3])
def test_chance_is_what_dealing_out_the_models_gives(least):
    random = np.random.default_rng(7)
    right = random.random((6, 40)) < random.random(40)
    dealt = []
    for hand in combinations(range(6), 3):
        others = [n for n in range(6) if n not in hand]
        lost, gained = Flips(ours=right[list(hand)], theirs=right[others]).sure(least)
        dealt.append((len(lost), len(gained)))
    expected = np.mean(dealt, axis=0)
    assert expected[0] == pytest.approx(expected[1])
    found = Flips(ours=right[:3], theirs=right[3:])
    assert found.by_chance(least) == pytest.approx(expected[0])
    assert expected[0] > 0.2


def test_of_one_seed_chance_gives_half_of_all_that_differ():
    found = flips([[R], [R], [W], [R]], [[W], [W], [R], [R]])
    assert found.by_chance(1) == pytest.approx(1.5)


def test_differing_is_a_count_for_each_two_models():
    right = np.array([[R, R, W], [R, W, W]])
    assert differing(right, right).tolist() == [[0, 1], [1, 0]]


def test_answers_of_other_examples_are_refused():
    with pytest.raises(ValueError, match="can't be paired"):
        Flips(ours=np.ones((2, 3), dtype=bool), theirs=np.ones((2, 4), dtype=bool))
