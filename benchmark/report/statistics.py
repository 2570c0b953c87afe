"""Statistics: intervals of means, verdicts on all pairs of methods, tests, ranks, and detectable differences.

Values are arrays (seeds, patients), NaN where a value is missing. A mean is over patients, each averaged over seeds first,
so that no fold counts more for having more seeds; what is said of seeds is of those that have every patient. The variance
of the seeds is pooled over the rows of a column that learned. The interval of a mean is over patients, given these runs,
below FEW_SEEDS seeds, else over patients and seeds; that of a difference is over both if the pooled variance has
FEW_FREEDOM degrees of freedom. Verdicts hold for all pairs of a column at once.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy import optimize, special, stats

RESAMPLES = 4000
LEVEL = 0.95
ALPHA = 1 - LEVEL
FEW_SEEDS = 5  # below, the interval of a mean says nothing of other seeds
FEW_FREEDOM = FEW_SEEDS - 1  # of the pooled variance of seeds; below, that of a difference says nothing of other seeds
CHANCE = 0.0001  # of a variance between seeds so far above the median of the rows: such a row has only one of its own
FEW_PATIENTS = 6  # below, there is no verdict
FEW = 13  # patients: up to here all signs of their differences are enumerated
POWER = 0.8
SEED = 0  # of the resamples, so that a report can be repeated
UNBOUNDED = (-np.inf, np.inf)

Cell = Mapping[str, np.ndarray]  # of each row the values (seeds, patients), aligned


@dataclass(frozen=True)
class Seeds:
    """How much the mean over patients varies between seeds, pooled over the rows of a cell that learned."""

    rows: frozenset[str] = frozenset()  # that intervals may be over seeds of
    of_mean: float = 0.0  # variance of a row's mean with one seed
    of_mean_freedom: float = np.inf
    of_row: float = 0.0  # the part that the rows do not share
    of_row_freedom: float = np.inf

    @property
    def few(self) -> bool:
        """Whether rows and seeds are too few for differences that cover other seeds."""
        return not self.rows or self.of_row_freedom < FEW_FREEDOM


GIVEN_RUNS = Seeds()  # nothing is said of other seeds


def pooled(cell: Cell, learned: Collection[str], controls: Collection[str] = ()) -> Seeds:
    """Return the variance between seeds of the rows in `learned` that have two seeds or more.

    Of means (rows, seeds), the mean squares of seeds and of the interaction; the mean of one seed has their weighted sum as
    variance, with Satterthwaite's degrees of freedom (Biometrics 1946). Rows with other seeds than the first don't count.
    Nor do rows that vary so much more than the median row as one in 1 / CHANCE does of rows that vary alike: one of them
    would hide all differences of the others.
    controls: rows that train nothing. They would make the variance too small. The intervals of all are over seeds.
    """
    means = {row: seed_means(cell[row]) for row in cell if row in learned or row in controls}
    means = {row: own for row, own in means.items() if (~np.isnan(own)).sum() > 1}
    first = next((~np.isnan(own) for own in means.values()), None)
    means = {row: own[first] for row, own in means.items() if (~np.isnan(own) == first).all()}
    covered = frozenset(means)
    table = [own for row, own in means.items() if row not in controls]
    if not table:
        return GIVEN_RUNS
    variances, freedom = np.var(table, axis=1, ddof=1), len(table[0]) - 1
    most = np.median(variances) * special.chdtri(freedom, CHANCE) / special.chdtri(freedom, 0.5)
    return _mean_squares(np.stack(table)[(variances <= most) | (most == 0)], covered)


def _mean_squares(table: np.ndarray, covered: frozenset[str]) -> Seeds:
    """Return the variance between seeds of means (rows, seeds) in the two-way layout."""
    rows, seeds = table.shape
    table = table - table.mean(1, keepdims=True)
    by_seed = rows * (table.mean(0) ** 2).sum() / (seeds - 1)
    freedom = (rows - 1) * (seeds - 1)
    by_both = ((table - table.mean(0)) ** 2).sum() / freedom if freedom else 0.0
    parts = np.array([by_both * (rows - 1), by_seed]) / rows
    total = parts.sum()
    squares = (parts[0] ** 2 / freedom if freedom else 0) + parts[1] ** 2 / (seeds - 1)
    return Seeds(covered, total, total**2 / squares if squares else np.inf, by_both, freedom)


def mean(values: np.ndarray) -> float:
    """Mean over patients of their means over seeds; NaN without a value."""
    counts = np.unique((~np.isnan(values)).sum(0))
    if counts[counts > 0].size == 1:  # of as many seeds each: the same, in digits that are rounded once
        return float(np.nanmean(values))
    return float(_nanmean(_nanmean(values, 0), 0))


def seed_means(values: np.ndarray) -> np.ndarray:
    """Means over patients (..., seeds); NaN for a seed that lacks a patient, as where its folds are not all there."""
    known = ~np.isnan(values)
    whole = (known == known.any(-2, keepdims=True)).all(-1)
    return np.where(whole, _nanmean(values, -1), np.nan)


def interval(
    values: np.ndarray, bounds: tuple[float, float] = UNBOUNDED, seeds: Seeds = GIVEN_RUNS, row: str = ""
) -> tuple[float, float]:
    """95 % t interval of the mean of values (seeds, patients); NaN with fewer than two patients, or without variance.

    Over patients, given these runs; also over seeds if the row is one of `seeds` and has FEW_SEEDS. On the logit scale
    between two bounds and on the log scale above or below one, so that it stays inside.
    """
    of_patient = _per_patient(values)
    count = len(of_patient)
    if count < 2:
        return np.nan, np.nan
    patients, freedom = of_patient.var(ddof=1) / count, count - 1.0
    variance = patients
    means = seed_means(values)
    means = means[~np.isnan(means)]
    if row in seeds.rows and len(means) >= FEW_SEEDS:
        own, of_seeds = means.var(ddof=1), seeds.of_mean_freedom
        if own > seeds.of_mean * special.fdtri(len(means) - 1, of_seeds, LEVEL):  # then it is no variance of the pool
            of_seeds = len(means) - 1.0
        variance += max(seeds.of_mean, own) / len(means)
        if variance:
            share = patients / variance
            freedom = 1 / (share**2 / freedom + (1 - share) ** 2 / of_seeds)
    half = float(special.stdtrit(freedom, 1 - ALPHA / 2) * np.sqrt(variance))
    return _inside(mean(values), half, bounds) if half > ROUNDING else (np.nan, np.nan)


ROUNDING = 1e-12  # a standard error below this is one of rounding
NEAR = 1e-9  # of a bound: nearer is at it


def _inside(mean: float, half: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of mean ± half on the logit scale between two bounds, on the log scale from one."""
    low, high = bounds
    if not low < mean < high or any(math.isclose(mean, end, rel_tol=NEAR) for end in bounds):
        return np.nan, np.nan  # a mean at its bound has no variance but that of rounding
    if np.isinf(low) and np.isinf(high):
        return mean - half, mean + half
    if np.isinf(low):
        low, high = _inside(-mean, half, (-high, np.inf))
        return -high, -low
    if np.isinf(high):
        factor = np.exp(half / (mean - low))
        return low + (mean - low) / factor, low + (mean - low) * factor
    share = (mean - low) / (high - low)
    shift = half / ((high - low) * share * (1 - share))  # the slope of the logit
    ends = special.expit(special.logit(share) + np.array([-shift, shift]))
    return float(low + (high - low) * ends[0]), float(low + (high - low) * ends[1])


# --------------------------------------------------------------------------------------------------- pairs of methods


@dataclass(frozen=True)
class Difference:
    """One method's values minus another's, paired by patient and seed."""

    mean: float
    low: float = np.nan  # simultaneous over all pairs of the cell; NaN below FEW_PATIENTS or without variance
    high: float = np.nan
    error: float = np.nan  # standard error of the mean
    of_seeds: float = 0.0  # the part of the seeds in its square
    critical: float = np.nan  # how many of them the interval extends to each side
    patients: int = 0
    per_seed: tuple[float, ...] = ()
    superiority: float = np.nan  # share of pairs of patient and seed in which it is higher; ties count half
    over_seeds: bool = False  # else over patients, given these runs

    @property
    def spread(self) -> float:
        """Standard deviation of the patients' differences, averaged over seeds."""
        return float(np.sqrt(max(0.0, self.error**2 - self.of_seeds) * self.patients))

    @property
    def judged(self) -> bool:
        """Whether there is enough for a verdict: an interval, and two seeds."""
        return not np.isnan(self.low) and len(self.per_seed) > 1

    @property
    def holds(self) -> bool:
        """Whether there is enough for a verdict, and the interval excludes 0."""
        return self.judged and (self.low > 0 or self.high < 0)

    def better(self, direction: int) -> float:
        """Return the share of pairs of patient and seed in which it is better; direction: 1 if more is better, or -1."""
        return self.superiority if direction > 0 else 1 - self.superiority

    def within(self, margin: float) -> bool:
        """Whether there is enough for a verdict, and the interval lies between -margin and margin."""
        return self.judged and -margin <= self.low and self.high <= margin

    def __neg__(self) -> "Difference":
        """The other's minus this one's."""
        per_seed = tuple(-each for each in self.per_seed)
        return replace(
            self, mean=-self.mean, low=-self.high, high=-self.low, per_seed=per_seed, superiority=1 - self.superiority
        )


Pairs = dict[tuple[str, str], Difference]


def compare(cell: Cell, seeds: Seeds = GIVEN_RUNS, span: float = np.inf) -> Pairs:
    """Differences of all pairs of rows, in both directions, with intervals that hold for all at once with 95 %.

    The critical value is the 95 % quantile of the largest |t| over pairs when the signs of the patients' deviations from
    their mean are drawn anew, the same for all pairs (Westfall and Young, 1993, for max-|t|; Liu, Ann. Stat. 1988, for
    signs), and the part of the seeds from a normal distribution with the pooled variance; it is never below that of the t
    interval of one pair. span: the largest possible difference, to which the ends tend without reaching it.
    """
    first, second = np.triu_indices(len(cell), 1)
    if not first.size:
        return {}
    names, values = list(cell), np.stack([*cell.values()])
    differences = values[first] - values[second]  # (pairs, seeds, patients)
    of_patient, per_seed = _nanmean(differences, 1), seed_means(differences)
    known, means = (~np.isnan(of_patient)).sum(1), _nanmean(of_patient, 1)
    deviations = np.nan_to_num(of_patient - means[:, None])
    covered = frozenset() if seeds.few else seeds.rows
    over_seeds = np.array([{names[i], names[j]} <= covered for i, j in zip(first, second, strict=True)])
    by_seed = np.where(over_seeds, _part_of_seeds(per_seed, seeds), 0)
    error = np.sqrt((deviations**2).sum(1) / np.maximum(1, known * (known - 1)) + by_seed)
    usable = (known >= FEW_PATIENTS) & (error > ROUNDING)
    critical = np.full(len(first), np.nan)
    if usable.any():
        largest = _largest(deviations[usable], known[usable], by_seed[usable], (first[usable], second[usable]), seeds)
        alone = special.stdtrit(known[usable].min() - 1, 1 - ALPHA / 2)  # few signs make too small a quantile
        critical[usable] = max(np.quantile(largest, LEVEL), alone)
    half = critical * error
    half[(known >= FEW_PATIENTS) & (error <= ROUNDING) & (np.abs(means) <= ROUNDING)] = 0  # two rows with the same values
    superiority = _nanmean((np.sign(differences).reshape(len(first), -1) + 1) / 2, 1)
    found: Pairs = {}
    for k, (i, j) in enumerate(zip(first, second, strict=True)):
        diff = Difference(
            float(means[k]), _towards(means[k], half[k], -span), _towards(means[k], half[k], span), float(error[k]),
            float(by_seed[k]), float(critical[k]), int(known[k]), tuple(per_seed[k][~np.isnan(per_seed[k])].tolist()),
            float(superiority[k]), bool(over_seeds[k]),
        )  # fmt: skip
        found[names[i], names[j]], found[names[j], names[i]] = diff, -diff
    return found


def _part_of_seeds(per_seed: np.ndarray, seeds: Seeds) -> np.ndarray:
    """Return the part of the seeds in the variance of differences (pairs, seeds): as pooled, or a pair's own if larger."""
    count = np.maximum(1, (~np.isnan(per_seed)).sum(1))
    squares = np.nan_to_num((per_seed - _nanmean(per_seed, 1)[:, None]) ** 2).sum(1)
    return np.asarray(np.maximum(2 * seeds.of_row, squares / np.maximum(1, count - 1)) / count)


def difference(first: np.ndarray, second: np.ndarray, span: float = np.inf) -> Difference:
    """The first minus the second, arrays (seeds, patients), as the only pair; without variance its ends are its mean."""
    values = first - second
    centre = mean(values)
    low, high = interval(values, (-span, span), pooled({"": values}, [""]))
    if np.isnan(low) and len(_per_patient(values)) > 1:
        low = high = centre
    return Difference(centre, low, high)


def _largest(
    deviations: np.ndarray, known: np.ndarray, by_seed: np.ndarray, pairs: tuple[np.ndarray, np.ndarray], seeds: Seeds
) -> np.ndarray:
    """The largest |t| over pairs of each resample; deviations (pairs, patients) are 0 where a patient is missing."""
    signs, normal, chi2 = _chances(deviations.shape[1], int(pairs[1].max()) + 1, seeds.of_row_freedom)
    squares = (deviations**2).sum(1)
    moved = signs @ deviations.T / known
    left = np.maximum(squares - known * moved**2, 1e-6 * squares) / (known * (known - 1))
    if by_seed.any():
        moved = moved + (normal[:, pairs[0]] - normal[:, pairs[1]]) * np.sqrt(by_seed / 2)
        left = left + by_seed * chi2[:, None]
    return np.asarray((np.abs(moved) / np.sqrt(left)).max(1))


@cache
def _chances(patients: int, rows: int, freedom: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw signs (resamples, patients), normal numbers (resamples, rows), and chi-squared over its degrees of freedom."""
    rng = np.random.default_rng(SEED)
    signs = rng.choice([-1.0, 1.0], (RESAMPLES, patients))
    chi2 = rng.chisquare(freedom, RESAMPLES) / freedom if 0 < freedom < np.inf else np.ones(RESAMPLES)
    return signs, rng.normal(size=(RESAMPLES, rows)), chi2


def _towards(mean: float, half: float, bound: float) -> float:
    """Move a mean by half towards its bound; less where the bound is near, so that it is never reached."""
    gap = abs(bound - mean)
    step = half if np.isinf(gap) else gap * np.tanh(half / gap) if gap else 0.0
    return float(mean + np.copysign(step, bound))


def verdict(diff: Difference, better: int, margin: float) -> str:
    """Return alike, better, worse or not told apart; other if no direction is better, empty where too little is known.

    margin: differences up to this one don't matter.
    """
    if not diff.judged:
        return ""
    if diff.within(margin):
        return ALIKE
    return OPEN if not diff.holds else "better" if better * diff.mean > 0 else "worse" if better else "other"


ALIKE, OPEN = "alike", "not told apart"


def resampled(values: np.ndarray) -> np.ndarray:
    """Means (resamples,) of values (seeds, patients), the same draws for the same shape.

    Patients are drawn anew, and from FEW_SEEDS with every patient on seeds, independently of them (Owen, Ann. Appl. Stat.
    2007).
    """
    seeds, patients = _draws(*values.shape)
    known = ~np.isnan(values)
    if known.all():
        return np.asarray(np.einsum("ij,ij->i", seeds, patients @ values.T) / values.size)
    if (~np.isnan(seed_means(values))).sum() < FEW_SEEDS:
        seeds = np.ones_like(seeds)
    drawn = seeds @ known  # how often each patient has a value
    of_patient = np.divide(seeds @ np.where(known, values, 0), drawn, out=np.zeros_like(drawn), where=drawn > 0)
    count = (patients * (drawn > 0)).sum(1)
    return np.divide((patients * of_patient).sum(1), count, out=np.full(RESAMPLES, np.nan), where=count > 0)


@cache
def _draws(seeds: int, patients: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw how often each seed and each patient occurs, (resamples, seeds) and (resamples, patients)."""
    rng = np.random.default_rng(SEED)
    of_patients = rng.multinomial(patients, np.full(patients, 1 / patients), RESAMPLES).astype(float)  # of any seeds
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES).astype(float)
    return of_seeds if seeds >= FEW_SEEDS else np.ones((RESAMPLES, seeds)), of_patients


# ------------------------------------------------------------------------------------------------------------- tests


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
    differences[abs(differences) <= ROUNDING] = 0
    nonzero = differences[differences != 0]
    counts = int((differences > 0).sum()), int((differences == 0).sum()), int((differences < 0).sum())
    if not len(nonzero):
        return Signed(1.0 if len(differences) else np.nan, _median(differences), 0.0, *counts, least=1.0)
    ranks = stats.rankdata(abs(nonzero))
    effect = float((ranks * np.sign(nonzero)).sum() / ranks.sum())
    tied = len(np.unique(abs(nonzero))) < len(nonzero)
    if tied and len(nonzero) <= FEW:  # exact, which `wilcoxon` is not with ties
        p = stats.permutation_test(
            (nonzero,),
            lambda signed, axis: np.where(signed > 0, ranks, 0).sum(axis),
            permutation_type="samples", n_resamples=np.inf, vectorized=True,
        ).pvalue  # fmt: skip
    else:
        p = stats.wilcoxon(nonzero).pvalue
    return Signed(float(p), _median(differences), effect, *counts, least=2.0 ** (1 - len(nonzero)))


def holm(p: Sequence[float], least: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, 1979); NaN, as no test, where even the least attainable could not hold.

    That is asked of each alone, with the others as they are.
    """

    def corrected(values: np.ndarray) -> np.ndarray:
        order = np.argsort(values)  # NaN last
        factors = np.maximum(1, np.count_nonzero(~np.isnan(values)) - np.arange(len(values)))
        found = np.empty(len(values))
        found[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
        return found

    given = np.asarray(p, float)
    reachable = [corrected(np.where(np.arange(len(given)) == i, each, given))[i] for i, each in enumerate(least)]
    return [float(value) for value in np.where(np.array(reachable) > ALPHA, np.nan, corrected(given))]


def detectable(differences: Sequence[Difference], seeds: Seeds = GIVEN_RUNS, span: float = np.inf) -> float:
    """The difference that the intervals of these pairs tell from 0 in about 80 % of cases, on average over the pairs.

    NaN where that is larger than `span`, the largest possible difference, or than can be computed.
    A pair's true variance between seeds is taken to be the pooled one, whatever its interval has. The errors are estimates,
    so t is not central (Satterthwaite's degrees of freedom), and they are more often too small than too large.
    """
    known = [each for each in differences if each.judged and each.error > ROUNDING]
    if not known:
        return np.nan
    fields = ("error", "of_seeds", "critical", "patients", "over_seeds")
    error, of_seeds, critical, patients, over = (np.array([getattr(each, name) for each in known]) for name in fields)
    part = np.where(over, 2 * seeds.of_row / np.array([len(each.per_seed) for each in known]), 0)
    true = np.sqrt(np.maximum(error**2 - of_seeds, 0) + part)
    uncertain = (1 - part / true**2) ** 2 / (patients - 1)
    uncertain[over] += (part / true**2)[over] ** 2 / seeds.of_row_freedom
    needed, most = critical * error / true, 30.0  # t of larger numbers is not computed

    def missed(size: float) -> float:
        found = special.nctdtr(1 / uncertain, np.minimum(size / true, most), np.minimum(needed, most - 5))
        return float(found.mean()) - (1 - POWER)

    largest = most * float(true.max())
    if np.median(needed) > most - 5 or missed(largest) > 0:
        return np.nan
    size = optimize.brentq(missed, 0, largest) / np.median(np.sqrt(special.chdtri(1 / uncertain, 0.5) * uncertain))
    return float(size) if size <= span else np.nan


def groups(means: Mapping[str, float], outcomes: Mapping[tuple[str, str], str], better: int) -> dict[str, str]:
    """Return the place of rows: `best` if better than all others; else `open` or `alike` for those that may be best.

    means and outcomes, the verdicts on pairs, are of one cell. The row with the best mean is `alike` if it is alike to some
    and better than the others, else `open`. Where any verdict on it is missing, no row has a place.
    """
    known = {row: better * mean for row, mean in means.items() if not np.isnan(mean)}
    if len(known) < 2:
        return {}
    first = max(known, key=lambda row: known[row])
    others = {row: outcomes.get((first, row), "") for row in known if row != first}
    if not all(others.values()):
        return {}
    places = {row: {OPEN: "open", ALIKE: "alike"}[outcome] for row, outcome in others.items() if outcome in (OPEN, ALIKE)}
    told = set(others.values())
    return {first: "best" if told == {"better"} else "alike" if told <= {"better", ALIKE} else "open"} | places


@dataclass(frozen=True)
class Standing:
    """Ranks and verdicts of a method over several cells."""

    mean_rank: float
    cells: int
    better: int  # than another method in a cell
    alike: int
    open: int  # not told apart
    worse: int
    first: float  # share of resamples with the best mean rank, among methods with all cells


def standings(cells: Sequence[Cell], outcomes: Sequence[Mapping[tuple[str, str], str]]) -> dict[str, Standing]:
    """Of each method, over cells of values (seeds, patients) where more is better, with the verdicts on their pairs."""
    names = list(dict.fromkeys(name for cell in cells for name in cell))
    ranks: dict[str, list[float]] = {name: [] for name in names}
    found: dict[str, list[str]] = {name: [] for name in names}
    for cell, verdicts in zip(cells, outcomes, strict=True):
        for name, rank in zip(cell, stats.rankdata([-mean(own) for own in cell.values()]), strict=True):
            ranks[name].append(float(rank))
            found[name] += [verdicts.get((name, other), "") for other in cell if other != name]
    first = _first(cells, [name for name in names if len(ranks[name]) == len(cells)])
    return {name: _standing(own, found[name], first.get(name, np.nan)) for name, own in ranks.items()}


def _standing(ranks: Sequence[float], verdicts: Sequence[str], first: float) -> Standing:
    better, alike, undecided, worse = (verdicts.count(each) for each in ("better", ALIKE, OPEN, "worse"))
    return Standing(float(np.mean(ranks)), len(ranks), better, alike, undecided, worse, first)


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
    low: float  # percentiles of resamples
    high: float
    methods: int


def agreement(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> Agreement:
    """Of cells of values (seeds, patients); where shapes are the same, so are the patients and seeds that are drawn."""
    names = [name for name in one if name in other]
    above, below = np.triu_indices(len(names), 1)
    signs = []
    for cell in (one, other):
        means = np.stack([np.append(mean(cell[name]), resampled(cell[name])) for name in names])
        signs.append(np.sign(means[above] - means[below]))
    untied = np.sqrt((signs[0] ** 2).sum(0) * (signs[1] ** 2).sum(0))
    tau = np.divide((signs[0] * signs[1]).sum(0), untied, out=np.full(1 + RESAMPLES, np.nan), where=untied > 0)
    drawn = tau[1:][~np.isnan(tau[1:])]
    low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2]) if len(drawn) else (np.nan, np.nan)
    return Agreement(float(tau[0]), float(low), float(high), len(names))


def _per_patient(values: np.ndarray) -> np.ndarray:
    """Means over seeds (patients,), without patients without a value."""
    means = _nanmean(values, 0)
    return means[~np.isnan(means)]


def _nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return `np.nanmean`, NaN without a warning where nothing is known."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0).sum(axis)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else np.nan
