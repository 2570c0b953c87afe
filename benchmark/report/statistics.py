"""From cases to cells: averages in the protocol's order, and intervals by a crossed bootstrap of patients and seeds."""

import numpy as np
import pandas as pd

RESAMPLES = 4000
LEVEL = 0.95
DISTANCES = ("hd95", "assd")


def patient_values(cases: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Means over a scan's regions, then over a patient's scans; columns: column, row, seed, patient, value.

    A distance is the one on the whole stack where that is defined, else the one per slice.
    """
    values = cases[metric]
    if metric in DISTANCES:
        values = values.fillna(cases[f"{metric}@slice"])
    scan = ["column", "row", "seed", "patient", "scan"]
    per_scan = cases.assign(value=values).groupby(scan, observed=True)["value"].mean()
    return per_scan.groupby(scan[:-1], observed=True).mean().reset_index()


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of values (seeds, patients), NaN where there is none.

    Patients and seeds are drawn independently, one draw of seeds for all patients (nested draws cover too little).
    """
    seeds, patients = values.shape
    if patients < 2:
        return np.nan, np.nan
    rng = np.random.default_rng(seed)
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES).astype(float)
    drawn_patients = rng.multinomial(patients, np.full(patients, 1 / patients), RESAMPLES).astype(float)
    there = ~np.isnan(values)
    total = ((drawn_seeds @ np.where(there, values, 0)) * drawn_patients).sum(1)
    count = ((drawn_seeds @ there) * drawn_patients).sum(1)
    means = total[count > 0] / count[count > 0]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def summarise(cases: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """One line per column, row and metric: mean, interval, spread over seeds, and what it rests on.

    A cell with a failed run has no mean: never an average over the survivors.
    """
    planned = runs.groupby("column", observed=True).apply(lambda group: len(group[["split", "seed"]].drop_duplicates()))
    values = {metric: patient_values(cases, metric) for metric in ("dice", *DISTANCES)} if len(cases) else {}
    lines = []
    for (column, row), group in runs.groupby(["column", "row"], observed=True, sort=False):
        counts = {
            "runs": int((group.state == "done").sum()),
            "planned": int(planned[column]),
            "failed": int((group.state == "failed").sum()),
            "stale": int(group.stale.sum()),
            "own_budget": group.own_budget.iloc[0],
        }
        own = cases[(cases.column == column) & (cases.row == row)] if len(cases) else cases
        for metric in ("dice", *DISTANCES):
            line = {"column": column, "method": row, "metric": metric, **counts}
            if counts["runs"] and not counts["failed"]:
                line |= _cell(values[metric].query("column == @column and row == @row"), own, metric)
            lines.append(line)
    return pd.DataFrame(lines).reindex(columns=COLUMNS)


COLUMNS = [
    *("column", "method", "metric", "unit", "mean", "low", "high", "sd_seeds", "patients", "seeds", "missed", "ghosts"),
    *("runs", "planned", "failed", "stale", "own_budget"),
]


def _cell(values: pd.DataFrame, cases: pd.DataFrame, metric: str) -> dict[str, object]:
    units = sorted(cases.unit.unique())
    if metric != "dice" and len(units) > 1:
        return {"unit": " and ".join(units)}  # distances in different units have no mean
    table = values.pivot_table(index="seed", columns="patient", values="value", observed=True)
    per_seed = table.mean(axis=1)
    low, high = interval(table.to_numpy())
    sliced = metric in DISTANCES and cases[metric].isna().all() and cases[f"{metric}@slice"].notna().any()
    return {
        "unit": "" if metric == "dice" else units[0] + (" per slice" if sliced else ""),
        "mean": float(np.nanmean(table.to_numpy())),
        "low": low,
        "high": high,
        "sd_seeds": float(per_seed.std()) if len(per_seed) > 1 else np.nan,
        "patients": table.shape[1],
        "seeds": table.shape[0],
        "missed": int(cases.n_missed.sum()),
        "ghosts": int(cases.n_ghost.sum()),
    }
