"""Statistics: intervals of means and of paired differences, tests, ranks, and detectable differences.

Values are arrays (seeds, patients), NaN where a value is missing. The interval is a crossed bootstrap: patients and seeds
are drawn independently, one draw of seeds for all patients (Owen, Ann. Appl. Stat. 2007); seeds nested in patients cover too
little. A few seeds make percentiles too narrow, so they are stretched to the t interval of the two-way random-effects
model with Satterthwaite's degrees of freedom, where that is wider.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import special, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

RESAMPLES = 4000
LEVEL = 0.95
ALPHA = 1 - LEVEL
FEW = 13  # patients: up to here all signs of their differences are enumerated
POWER = 0.8
SEED = 0  # of the resamples, so that a report can be repeated


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of values (seeds, patients); NaN with fewer than two patients.

    With one seed it covers the choice of patients only.
    """
    known = ~np.isnan(values)
    values = values[known.any(1)][:, known.any(0)]
    if values.shape[1] < 2:
        return np.nan, np.nan
    mean = np.nanmean(values)
    means = resampled(values)
    low, high = np.quantile(means[~np.isnan(means)], [ALPHA / 2, 1 - ALPHA / 2])
    if high == low:
        return float(low), float(high)
    stretch = max(1.0, 2 * half_width(values) / (high - low))
    return float(mean - stretch * (mean - low)), float(mean + stretch * (high - mean))


def resampled(values: np.ndarray) -> np.ndarray:
    """Means (resamples,) of values (seeds, patients) under the crossed bootstrap; the same draws for the same shape."""
    seeds, patients = _draws(*values.shape)
    known = ~np.isnan(values)
    if known.all():
        return np.asarray(np.einsum("ij,ij->i", seeds, patients @ values.T) / values.size)
    total = (seeds * (patients @ np.where(known, values, 0).T)).sum(1)
    count = (seeds * (patients @ known.T)).sum(1)
    return np.divide(total, count, out=np.full(RESAMPLES, np.nan), where=count > 0)


def half_width(values: np.ndarray) -> float:
    """Half of the t interval of the mean of values (seeds, patients) in the two-way random-effects model.

    The mean squares of patients, seeds and rest make the variance of the mean, (MP + MS - ME) / n, never below the share
    of either factor; degrees of freedom as of MP + MS (Satterthwaite, Biometrics 1946). NaN with one patient.
    """
    measured = ~np.isnan(values)
    n, of_patient, of_seed = measured.sum(), measured.sum(0), measured.sum(1)
    filled = np.where(measured, values, 0)
    grand = filled.sum() / n
    used, known = of_seed > 0, of_patient > 0
    patient = np.divide(filled.sum(0), of_patient, out=np.zeros(len(known)), where=known) - grand
    seed = np.divide(filled.sum(1), of_seed, out=np.zeros(len(used)), where=used) - grand
    patients, seeds = known.sum() - 1, used.sum() - 1
    if patients < 1:
        return np.nan
    by_patient = (of_patient * patient**2).sum() / patients
    if seeds < 1:
        return float(special.stdtrit(patients, 1 - ALPHA / 2) * np.sqrt(by_patient / n))
    by_seed = (of_seed * seed**2).sum() / seeds
    rest = np.where(measured, values - grand - patient - seed[:, None], 0)
    by_rest = (rest**2).sum() / max(1, n - patients - seeds - 1)
    variance = max(by_patient + by_seed - by_rest, by_patient, by_seed) / n
    if variance == 0:
        return 0.0
    share = by_patient / (by_patient + by_seed)  # so that small squares do not underflow
    freedom = 1 / (share**2 / patients + (1 - share) ** 2 / seeds)
    return float(special.stdtrit(freedom, 1 - ALPHA / 2) * np.sqrt(variance))


@cache
def _draws(seeds: int, patients: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw how often each seed and each patient occurs, (resamples, seeds) and (resamples, patients)."""
    rng = np.random.default_rng(SEED)
    return (
        rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES).astype(float),
        rng.multinomial(patients, np.full(patients, 1 / patients), RESAMPLES).astype(float),
    )


@dataclass(frozen=True)
class Difference:
    """One method's values minus another's, paired by patient and seed."""

    mean: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """The first minus the second, arrays (seeds, patients), over the pairs that both have."""
    differences = first - second
    return Difference(_mean(differences), *interval(differences))


@dataclass(frozen=True)
class Signed:
    """A paired Wilcoxon signed-rank test of per-patient values, averaged over seeds."""

    p: float  # NaN where no p below the level can be attained
    median: float  # of the differences
    rank_biserial: float  # from -1 to 1: the rank sum of gains minus that of losses, over all ranks
    wins: int
    ties: int
    losses: int
    least: float  # the smallest attainable p


def signed_rank(first: np.ndarray, second: np.ndarray) -> Signed:
    """Of the first minus the second, arrays (seeds, patients); patients without a difference are ties and leave the test."""
    differences = _per_patient(first - second)
    nonzero = differences[differences != 0]
    counts = int((differences > 0).sum()), int((differences == 0).sum()), int((differences < 0).sum())
    if not len(nonzero):
        return Signed(1.0 if len(differences) else np.nan, _median(differences), 0.0, *counts, least=1.0)
    ranks = stats.rankdata(abs(nonzero))
    effect = float((ranks * np.sign(nonzero)).sum() / ranks.sum())
    tied = len(np.unique(abs(nonzero))) < len(nonzero)
    every = stats.PermutationMethod(n_resamples=np.inf)  # exact with ties, too, which older SciPy is not by default
    p = float(stats.wilcoxon(nonzero, method=every if tied and len(nonzero) <= FEW else "auto").pvalue)
    return Signed(p, _median(differences), effect, *counts, least=2.0 ** (1 - len(nonzero)))


def holm(p: Sequence[float], least: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, 1979); NaN, as no test, where even the least attainable could not hold."""
    known = [i for i, value in enumerate(p) if not np.isnan(value)]
    corrected = np.full(len(p), np.nan)
    if known:
        corrected[known] = multipletests([p[i] for i in known], ALPHA, "holm")[1]
    hopeless = np.asarray(least) * len(known) > ALPHA
    return [float(value) for value in np.where(hopeless, np.nan, corrected)]


def detectable(differences: Sequence[np.ndarray]) -> float:
    """The difference that a paired t test finds in 80 % of cases, with as many patients and as spread as these.

    differences: of several pairs of methods, each (seeds, patients); the median spread counts. NaN below three patients.
    """
    spread = [np.std(each, ddof=1) for each in map(_per_patient, differences) if len(each) > 2]
    if not spread:
        return np.nan
    patients = max(len(_per_patient(each)) for each in differences)
    effect = TTestPower().solve_power(nobs=patients, alpha=ALPHA, power=POWER, alternative="two-sided")
    return float(np.median(spread) * effect)


def groups(values: Mapping[str, np.ndarray], better: int) -> dict[str, str]:
    """Return the place of each method in a cell: `best` if it is better than all others, else `tied` for all possible best.

    better: 1 where more is better, -1 where less is. One method alone has no place.
    """
    means = {name: better * _mean(each) for name, each in values.items() if not np.isnan(each).all()}
    if len(means) < 2:
        return {}
    first = max(means, key=lambda name: means[name])
    others = {name: difference(values[first], values[name]) for name in means if name != first}
    tied = [name for name, diff in others.items() if not diff.holds]
    return dict.fromkeys([first, *tied], "tied") if tied else {first: "best"}


@dataclass(frozen=True)
class Standing:
    """Ranks and wins of a method over several cells."""

    mean_rank: float
    cells: int
    wins: int  # against another method in a cell, if the interval of the difference excludes 0
    ties: int
    losses: int
    first: float  # share of resamples with the best mean rank, among methods with all cells


def standings(cells: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Standing]:
    """Of each method, over cells of values (seeds, patients) where more is better; each cell is resampled by itself."""
    names = list(dict.fromkeys(name for cell in cells for name in cell))
    ranks: dict[str, list[float]] = {name: [] for name in names}
    counts = {name: np.zeros(3, int) for name in names}  # wins, ties, losses
    for cell in cells:
        present = list(cell)
        for name, rank in zip(present, stats.rankdata([-_mean(cell[name]) for name in present]), strict=True):
            ranks[name].append(float(rank))
        for i, one in enumerate(present):
            for other in present[i + 1 :]:
                diff = difference(cell[one], cell[other])
                outcome = 0 if diff.low > 0 else 2 if diff.high < 0 else 1
                counts[one][outcome] += 1
                counts[other][2 - outcome] += 1
    first = _first(cells, [name for name in names if len(ranks[name]) == len(cells)])
    return {name: _standing(ranks[name], counts[name], first.get(name, np.nan)) for name in names}


def _standing(ranks: Sequence[float], counts: np.ndarray, first: float) -> Standing:
    wins, ties, losses = map(int, counts)
    return Standing(float(np.mean(ranks)), len(ranks), wins, ties, losses, first)


def _first(cells: Sequence[Mapping[str, np.ndarray]], names: Sequence[str]) -> dict[str, float]:
    """Share of resamples in which each of these has the best mean rank; ties share."""
    if not names:
        return {}
    total = np.zeros((len(names), RESAMPLES))
    for number, cell in enumerate(cells):
        shuffled = np.random.default_rng(number).permutation(RESAMPLES)  # cells are independent of each other
        means = np.stack([resampled(cell[name]) for name in names])[:, shuffled]
        total += stats.rankdata(-np.where(np.isnan(means), -np.inf, means), axis=0)
    leads = total == total.min(0)
    return dict(zip(names, (leads / leads.sum(0)).mean(1).tolist(), strict=True))


@dataclass(frozen=True)
class Agreement:
    """Agreement of two cells on the order of their methods: Kendall's tau-b, 1 for the same order, -1 for the reverse."""

    tau: float
    low: float  # percentiles of resamples of patients and seeds; too narrow with a few seeds
    high: float
    methods: int


def agreement(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> Agreement:
    """Of cells of values (seeds, patients); where shapes are the same, so are the patients and seeds that are drawn."""
    names = [name for name in one if name in other]
    above, below = np.triu_indices(len(names), 1)
    signs = []
    for cell in (one, other):
        means = np.stack([np.append(_mean(cell[name]), resampled(cell[name])) for name in names])
        signs.append(np.sign(means[above] - means[below]))
    untied = np.sqrt((signs[0] ** 2).sum(0) * (signs[1] ** 2).sum(0))
    tau = np.divide((signs[0] * signs[1]).sum(0), untied, out=np.full(1 + RESAMPLES, np.nan), where=untied > 0)
    drawn = tau[1:][~np.isnan(tau[1:])]
    low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2]) if len(drawn) else (np.nan, np.nan)
    return Agreement(float(tau[0]), float(low), float(high), len(names))


def _per_patient(values: np.ndarray) -> np.ndarray:
    """Means over seeds (patients,), without patients without a value."""
    known = values[:, ~np.isnan(values).all(0)]
    return np.asarray(np.nanmean(known, axis=0)) if known.size else np.empty(0)


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else np.nan


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else np.nan
