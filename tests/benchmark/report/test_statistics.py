from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from benchmark.report import statistics
from benchmark.report.statistics import (
    agreement,
    detectable,
    difference,
    groups,
    half_width,
    holm,
    interval,
    resampled,
    signed_rank,
    standings,
)


def test_with_one_seed_the_width_is_that_of_the_t_interval():
    values = np.random.default_rng(0).normal(0.7, 0.1, (1, 12))
    low, high = stats.t.interval(0.95, 11, loc=values.mean(), scale=stats.sem(values[0]))
    assert half_width(values) == pytest.approx((high - low) / 2)


def test_an_interval_by_hand():
    """Two patients with 0 and 1: the mean is 1/2, its standard error 1/2, and t with one degree of freedom 12.706."""
    assert interval(np.array([[0.0, 1.0]])) == pytest.approx((0.5 - 6.353, 0.5 + 6.353), abs=1e-3)
    assert interval(np.array([[0.5, 0.5]])) == (0.5, 0.5)


def looped_mean_squares(values):
    """Patients, seeds and rest, from the sums of a two-way layout, one term after the other."""
    seeds, patients = values.shape
    grand = sum(values[s][p] for s in range(seeds) for p in range(patients)) / (seeds * patients)
    of_patient = [sum(values[s][p] for s in range(seeds)) / seeds for p in range(patients)]
    of_seed = [sum(values[s][p] for p in range(patients)) / patients for s in range(seeds)]
    rest = sum((values[s][p] - of_patient[p] - of_seed[s] + grand) ** 2 for s in range(seeds) for p in range(patients))
    return (
        seeds * sum((x - grand) ** 2 for x in of_patient) / (patients - 1),
        patients * sum((x - grand) ** 2 for x in of_seed) / (seeds - 1),
        rest / ((seeds - 1) * (patients - 1)),
    )


def test_the_width_follows_from_the_mean_squares_of_the_two_way_layout():
    values = np.random.default_rng(1).normal(0, 1, (4, 7)) + np.arange(4)[:, None]
    patients, seeds, rest = looped_mean_squares(values)
    variance = (patients + seeds - rest) / 28
    freedom = (patients + seeds) ** 2 / (patients**2 / 6 + seeds**2 / 3)
    assert half_width(values) == pytest.approx(stats.t.ppf(0.975, freedom) * variance**0.5)


@settings(max_examples=50, deadline=None)
@example(np.full((2, 6), 3.7e-132))
@given(arrays(float, st.tuples(st.integers(1, 4), st.integers(2, 6)), elements=st.floats(0, 1) | st.just(np.nan)))
def test_an_interval_holds_its_mean_whatever_is_missing(values):
    low, high = interval(values)
    if (~np.isnan(values)).any(0).sum() < 2:
        assert np.isnan([low, high]).all()
    else:
        assert low - 1e-12 <= np.nanmean(values) <= high + 1e-12


def test_patients_and_seeds_are_drawn_independently_of_each_other():
    """The mean of each resample, from the rows and columns that it drew, one after the other."""
    values = np.random.default_rng(0).random((2, 5))
    values[1, 3] = np.nan
    seeds, patients = statistics._draws(2, 5)
    for number in range(20):
        drawn = [
            values[s, p]
            for s in range(2) for p in range(5)
            for _ in range(int(seeds[number, s] * patients[number, p]))
            if not np.isnan(values[s, p])
        ]  # fmt: skip
        assert resampled(values)[number] == pytest.approx(np.mean(drawn))
    assert len({tuple(row) for row in seeds.tolist()}) == 3


def test_an_interval_narrows_with_more_patients():
    rng = np.random.default_rng(0)
    few, many = rng.normal(0.7, 0.1, (3, 10)), rng.normal(0.7, 0.1, (3, 1000))
    assert np.diff(interval(many)) < np.diff(interval(few)) / 3


def test_a_seed_effect_widens_the_interval():
    """All patients of a seed move together: nested resampling would hide that."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (3, 200))
    moved = noise + np.array([[-0.1], [0.0], [0.1]])
    assert np.diff(interval(moved)) > 5 * np.diff(interval(noise))


def test_the_interval_is_never_narrower_than_the_percentiles():
    values = np.random.default_rng(5).normal(0, 1, (5, 40))
    low, high = interval(values)
    assert high - low >= np.diff(np.quantile(resampled(values), [0.025, 0.975])) - 1e-12


def test_a_skewed_sample_has_a_skewed_interval():
    values = np.random.default_rng(0).exponential(1, (1, 30))
    low, high = interval(values)
    assert high - values.mean() > 1.1 * (values.mean() - low)


def test_one_patient_has_no_interval():
    assert np.isnan(interval(np.array([[0.5], [0.6]]))).all()


def test_the_interval_is_the_same_every_time():
    values = np.random.default_rng(1).random((2, 30))
    assert interval(values) == interval(values.copy())


def test_what_moves_both_methods_alike_leaves_their_difference_alone():
    rng = np.random.default_rng(0)
    ours, shared = rng.normal(0, 0.01, (3, 40)), rng.normal(0, 1, (3, 1)) + rng.normal(0, 1, (1, 40))
    apart, same = difference(ours + shared + 0.05, shared), difference(ours + 0.05, 0 * ours)
    assert (apart.mean, apart.low, apart.high) == pytest.approx((same.mean, same.low, same.high))
    assert apart.holds
    assert not difference(ours, 0 * ours).holds


def test_a_difference_is_over_the_pairs_that_both_have():
    ours, theirs = np.array([[1.0, 2.0, np.nan]]), np.array([[0.5, np.nan, 9.0]])
    assert difference(ours, theirs).mean == 0.5


def test_a_signed_rank_test_by_hand():
    """Differences 1, 2, 3, 4, 5, -6 and a tie: rank sums 15 and 6, so the effect is 9/21; 14 of the 64 signs reach it."""
    apart = np.array([[1.0, 2, 3, 4, 5, -6, 0]])
    found = signed_rank(apart, np.zeros((1, 7)))
    assert found.rank_biserial == pytest.approx(9 / 21)
    below = sum(1 for signs in range(64) if sum(r + 1 for r in range(6) if signs >> r & 1) <= 6)
    assert found.p == pytest.approx(2 * below / 64)
    assert (found.wins, found.ties, found.losses, found.median) == (5, 1, 1, 2)
    assert found.least == 2 / 64


def test_the_test_is_on_patients_averaged_over_seeds():
    ours = np.array([[1.0, 2.0, 3.0, 4.0, 6.0], [3.0, 2.0, 1.0, 4.0, -4.0]])
    found = signed_rank(ours, np.zeros((2, 5)))
    assert (found.wins, found.median) == (5, 2)
    assert found.p == pytest.approx(2 / 32)


def test_equal_methods_are_not_significant():
    same = np.random.default_rng(0).random((2, 9))
    found = signed_rank(same, same)
    assert (found.p, found.rank_biserial, found.ties) == (1, 0, 9)


def test_holm_by_hand():
    """0.01 x 3, then 0.03 x 2, then 0.04 raised to what came before."""
    assert holm([0.04, 0.01, 0.03], [1e-6] * 3) == pytest.approx([0.06, 0.03, 0.06])


def test_without_an_attainable_p_there_is_no_test():
    """Five patients: 2/32 at best. Eight: 1/128, enough alone, but not for seven comparisons."""
    assert np.isnan(holm([0.0625], [2 / 32])).all()
    assert holm([1 / 128], [1 / 128]) == pytest.approx([1 / 128])
    assert np.isnan(holm([1 / 128] * 7, [1 / 128] * 7)).all()
    assert holm([np.nan, 0.01], [1.0, 1e-6])[1] == pytest.approx(0.01)


def test_the_best_is_best_only_where_its_lead_on_all_holds():
    rng = np.random.default_rng(0)
    patients = rng.normal(0.7, 0.1, (1, 30))
    noise = [rng.normal(0, 0.01, (3, 30)) for _ in range(3)]
    a, b, c = patients + noise[0], patients + 0.05 + noise[1], patients + 0.051 + noise[2]
    assert groups({"a": a, "b": b}, 1) == {"b": "best"}
    assert groups({"a": a, "b": b}, -1) == {"a": "best"}
    assert groups({"a": a, "b": b, "c": c}, 1) == {"c": "tied", "b": "tied"}
    assert groups({"a": a}, 1) == {}
    assert groups({"a": a, "b": a * np.nan}, 1) == {}


def test_standings_by_hand():
    """Where all patients and seeds are alike every difference holds: c wins both cells, a and b one of two each."""
    flat = {name: np.full((2, 4), value) for name, value in {"a": 0.5, "b": 0.6, "c": 0.9}.items()}
    turned = {"a": flat["b"], "b": flat["a"], "c": flat["c"]}
    found = standings([flat, turned])
    assert vars(found["c"]) == {"mean_rank": 1, "cells": 2, "wins": 4, "ties": 0, "losses": 0, "first": 1}
    assert vars(found["a"]) == {"mean_rank": 2.5, "cells": 2, "wins": 1, "ties": 0, "losses": 3, "first": 0}
    assert found["b"].mean_rank == 2.5


def test_a_method_that_lacks_a_cell_is_ranked_where_it_is_and_first_nowhere():
    flat = {name: np.full((1, 4), value) for name, value in {"a": 0.5, "b": 0.6}.items()}
    found = standings([flat, {"a": flat["a"], "b": flat["b"], "c": np.full((1, 4), 0.9)}])
    assert (found["c"].mean_rank, found["c"].cells) == (1, 1)
    assert np.isnan(found["c"].first)
    assert found["b"].first == 1


def test_agreement_is_the_tau_of_the_means():
    """As scipy counts it, ties included; only of methods that both cells have."""
    rng = np.random.default_rng(0)
    one = {name: rng.normal(0, 1, (3, 8)) for name in "abcdef"}
    other = {name: one[name] + rng.normal(0, 1, (3, 8)) for name in "fdacb"} | {"g": rng.normal(0, 1, (3, 8))}
    other["d"] = other["f"]
    found = agreement(one, other)
    means = [[cell[name].mean() for name in "abcdf"] for cell in (one, other)]
    assert found.methods == 5
    assert found.tau == pytest.approx(stats.kendalltau(*means).statistic)
    assert -1 <= found.low <= found.tau <= found.high <= 1


def test_agreement_is_certain_where_orders_are_and_open_where_chance_decides():
    rng = np.random.default_rng(1)
    apart = {name: mean + rng.normal(0, 0.01, (3, 10)) for name, mean in zip("abcd", (0.1, 0.3, 0.5, 0.7), strict=True)}
    turned = {name: -values[:, :7] for name, values in apart.items()}  # of other patients
    assert vars(agreement(apart, apart)) == {"tau": 1, "low": 1, "high": 1, "methods": 4}
    assert vars(agreement(apart, turned)) == {"tau": -1, "low": -1, "high": -1, "methods": 4}
    noise = [{name: rng.normal(0, 0.1, (3, 10)) for name in "abcd"} for _ in range(2)]
    found = agreement(*noise)
    assert found.low < 0 < found.high
    same = dict.fromkeys("abc", np.zeros((2, 3)))
    assert np.isnan([agreement(same, apart).tau, agreement(same, apart).low]).all()


def test_being_first_is_shared_between_methods_that_chance_decides():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (2, 3, 200))
    values -= values.mean(axis=(1, 2), keepdims=True)
    found = standings([dict(zip("ab", values, strict=True))])
    assert found["a"].first == pytest.approx(0.5, abs=0.05)
    assert found["a"].first + found["b"].first == pytest.approx(1)


def test_twice_the_spread_makes_twice_the_detectable_difference_and_more_patients_a_smaller_one():
    spread = np.random.default_rng(0).normal(0, 0.1, (3, 20))
    assert detectable([2 * spread]) == pytest.approx(2 * detectable([spread]))
    assert detectable([np.tile(spread, 4)]) < 0.6 * detectable([spread])
    assert np.isnan(detectable([]))
    assert np.isnan(detectable([spread[:, :2]]))


# ------------------------------------------------------------------------------------------------- rates, by simulation

REPEATS = 2000
ERROR = 3 * (0.05 * 0.95 / REPEATS) ** 0.5  # three standard errors of a rate of 5 %


def misses(draw):
    """How often the interval of a sample of mean 0 leaves 0 out."""
    missed = 0
    for number in range(REPEATS):
        low, high = interval(draw(np.random.default_rng(number)))
        missed += not low <= 0 <= high
    return missed / REPEATS


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "patients", "of_seed"), [(1, 40, 0.0), (3, 20, 0.02), (3, 50, 0.01), (5, 50, 0.03)])
def test_the_interval_covers_at_its_rate_though_seeds_move_all_patients(seeds, patients, of_seed):
    """Patients vary by 0.1, pairs by 0.05, and a seed moves the mean of all patients."""

    def draw(rng):
        return rng.normal(0, 0.1, patients) + rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, 0.05, (seeds, patients))

    assert misses(draw) == pytest.approx(0.05, abs=ERROR)


@pytest.mark.slow
def test_seeds_that_outweigh_patients_make_the_interval_a_little_too_narrow():
    """With three seeds 8 % instead of 5 %; percentiles alone would leave the mean out in 17 %."""

    def draw(rng):
        return rng.normal(0, 0.1, 100) + rng.normal(0, 0.05, (3, 1)) + rng.normal(0, 0.05, (3, 100))

    assert misses(draw) == pytest.approx(0.08, abs=0.02)
    plain = np.mean([
        not np.prod(np.quantile(resampled(draw(np.random.default_rng(number))), [0.025, 0.975])) <= 0
        for number in range(300)
    ])  # fmt: skip
    assert plain > 0.12


@pytest.mark.slow
def test_a_difference_between_equals_holds_in_five_percent_though_each_method_has_its_seeds():
    """Two methods share patients; each has seeds of its own, as if its initialisation were luckier."""

    def method(rng):
        return rng.normal(0, 0.01, (3, 1)) + rng.normal(0, 0.04, (1, 40)) + rng.normal(0, 0.03, (3, 40))

    held = np.mean([difference(method(rng), method(rng)).holds for rng in map(np.random.default_rng, range(REPEATS))])
    assert held == pytest.approx(0.05, abs=ERROR)


@pytest.mark.slow
def test_the_signed_rank_test_keeps_its_level_where_seeds_move_both_methods_alike():
    def equals(rng):
        shared = rng.normal(0, 0.05, (3, 1)) + rng.normal(0, 0.1, (1, 30))
        return shared + rng.normal(0, 0.03, (3, 30)), shared + rng.normal(0, 0.03, (3, 30))

    rejected = np.mean([signed_rank(*equals(np.random.default_rng(n))).p <= 0.05 for n in range(REPEATS)])
    assert rejected == pytest.approx(0.05, abs=ERROR)


@pytest.mark.slow
def test_holm_keeps_the_level_over_a_table_of_equals():
    """Nine methods equal to the reference: some row is called significant in at most 5 % of tables."""
    wrong, tables = 0, 40
    for number in range(tables):
        rng = np.random.default_rng(number)
        reference = rng.normal(0, 0.1, (1, 25))
        tests = [signed_rank(reference + rng.normal(0, 0.03, (1, 25)), reference) for _ in range(9)]
        wrong += min(holm([t.p for t in tests], [t.least for t in tests])) <= 0.05
    assert wrong / tables <= 0.05 + 3 * (0.05 * 0.95 / tables) ** 0.5


@pytest.mark.slow
def test_the_detectable_difference_is_found_in_four_of_five_samples():
    spread = np.random.default_rng(0).normal(0, 0.1, (1, 25))
    spread *= 0.1 / spread.std(ddof=1)
    effect, rng = detectable([spread]), np.random.default_rng(1)
    found = np.mean([stats.ttest_1samp(rng.normal(effect, 0.1, 25), 0).pvalue < 0.05 for _ in range(REPEATS)])
    assert found == pytest.approx(0.8, abs=3 * (0.8 * 0.2 / REPEATS) ** 0.5)


def test_p_is_exact_where_differences_are_tied():
    """All 64 ways to sign six differences, counted; older SciPy counts as if there were no ties."""
    apart = np.array([[1.0, 1.0, -2.0, 3.0, 3.0, 2.0]])
    ranks = np.array([1.5, 1.5, 3.5, 5.5, 5.5, 3.5])
    sums = [float(ranks @ signs) for signs in product((-1, 1), repeat=6)]
    expected = np.mean(np.abs(sums) >= abs(float(ranks @ np.sign(apart[0]))))
    assert signed_rank(apart, np.zeros_like(apart)).p == pytest.approx(expected)
