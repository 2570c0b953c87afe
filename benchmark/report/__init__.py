"""Tables, figures and a page of a results folder; nothing else is read."""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark import InputError
from benchmark.inputs import nearest
from benchmark.plan.plugins import SUPERVISED
from benchmark.report import ablations, costs, figures, names, page, published, runs, statistics, tables
from benchmark.report.explain import explained
from benchmark.report.figures.cases import gallery
from benchmark.report.figures.montage import montage
from benchmark.report.figures.style import KINDS, FigureData
from benchmark.report.runs import Rows
from benchmark.report.summary import DEFAULTS as COMPARED
from benchmark.report.summary import HEADLINE, MEAN, OVER, TOO_LITTLE, Options, Summary, patients, summarise
from benchmark.report.tables import Table
from benchmark.score.metrics import BUILT_IN
from benchmark.store import RULES, ResultsFolder, open_results, within

SHOWN = (  # of a column's budget
    *("steps", "batch", "size", "resize", "augmentation", "network", "optimiser", "lr", "warmup", "schedule", "tune"),
    "kernels",  # other than torch
)
FORMATS = ("md", "tex", "csv", "pdf", "png", "svg", "html")


@dataclass(frozen=True)
class ReportOptions:
    """Options of a report; by default it shows everything that may be shown."""

    compared: Options = COMPARED  # reference and margins
    selection: str = "last"  # which snapshot of each run
    only: Sequence[str] = ()  # methods, data sets, annotations, columns
    metrics: Sequence[str] = HEADLINE  # of the tables; figures show the first
    formats: Sequence[str] = FORMATS
    embed_images: bool = False  # also images that may not be redistributed
    figures: Sequence[str] = ()  # files of more of them, or names of installed ones

    def __post_init__(self) -> None:
        """Raise InputError for unknown metrics, formats or rules of selection."""
        for flag, given, known in (
            ("selection", [self.selection], RULES),
            ("format", self.formats, FORMATS),
        ):
            if unknown := [name for name in given if name not in known]:
                raise InputError(f"--{flag} is {unknown[0]!r}{nearest(unknown[0], known)}; it must be {', '.join(known)}")
        figures.makers_of(self.figures)


DEFAULTS = ReportOptions()


def margins(text: str) -> tuple[float, float]:
    """Return the margins `SHARE,MM`; raises InputError for any other text."""
    try:
        share, distance = map(float, text.split(","))
    except ValueError:
        share = distance = -1.0
    if not (0 <= share < 1 and 0 <= distance < float("inf")):
        raise InputError(f"--margin is {text!r}; it must be two numbers, of shares and of distances, such as 0.02,2")
    return share, distance


def write(results: Path, reports: Path, options: ReportOptions = DEFAULTS) -> Path:
    """Write `reports/<name>/` completely, instead of an older one; return the folder. Tuned runs get a folder inside it.

    Of a folder that holds results folders, such as `results/reference`, each gets a report in `reports/<its name>/`.
    """
    several = within(results)
    if not several:
        return _write_one(open_results(results), reports, options)
    together = reports / results.resolve().name
    for name, folder in several.items():
        try:
            _write_one(folder, together, options, name)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    return together


def _write_one(results: ResultsFolder, reports: Path, options: ReportOptions, name: str = "") -> Path:
    """Write the report on one results folder, to a folder of that name, else of its plan's name."""
    read = runs.read_folder(results, options.selection)
    if unknown := [name for name in options.metrics if name not in read.metrics]:
        raise InputError(
            f"--metric is {unknown[0]!r}{nearest(unknown[0], read.metrics)}; it must be {', '.join(read.metrics)}, "
            "or one that the runs were scored with: "
            "python -m benchmark score --metrics FILE"
        )
    if options.only:
        read = read.only(options.only)
    name = name or read.name
    folder, staged = reports / name, reports / f".{name}.new"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    equal, tuned = read.track("equal"), read.track("tuned")
    if len(tuned.runs) and len(equal.runs):
        _write(tuned, results, staged / "tuned", options)
    _write(equal if len(equal.runs) else tuned, results, staged, options)
    shutil.rmtree(folder, ignore_errors=True)
    staged.rename(folder)
    return folder


def explain(results: Path, pair: tuple[str, str], options: ReportOptions = DEFAULTS) -> str:
    """Return, as text, how the verdicts on two rows come about, step by step, in each column and metric."""
    parts, known = [], dict[str, None]()
    for folder in within(results).values() or [open_results(results)]:
        read = runs.read_folder(folder, options.selection)
        read = read.only(options.only) if options.only else read
        known |= dict.fromkeys(read.runs.row)
        for track in (own for own in map(read.track, runs.TRACKS) if len(own.runs)):
            comparing = summarise(track, Options(margins=options.compared.margins), ()).comparing
            keys = [(column, MEAN, metric) for column in track.about for metric in options.metrics]
            parts += [text for key in keys if comparing and (text := explained(comparing, key, pair))]
    if unknown := [row for row in pair if row not in known]:
        raise InputError(f"no run is of {unknown[0]!r}{nearest(unknown[0], known)}; there are {', '.join(known)}")
    return "\n\n".join(parts) or f"no column has all runs of both {pair[0]} and {pair[1]}"


def show(results: Path, folders: Collection[str]) -> tuple[dict[str, pd.DataFrame], str]:
    """Return Dice of the runs in these folders, a table per data set with the best row first, and a note on all of them.

    Columns are the annotations. Full masks are the last row, with the method that stands for full supervision.
    """
    read = runs.read(results).of(folders)
    cells = summarise(read, metrics=("dice",)).cells
    cells = cells[(cells.region == MEAN) & (cells.metric == "dice")]
    found = {}
    for dataset, own in cells.groupby("dataset", sort=False):
        on_full = own.annotation == "full"
        shown = own if on_full.all() else own[~on_full]
        means = shown.groupby("method")["mean"].mean()
        table = tables.main_table(shown.sort_values("method", key=lambda names: -names.map(means), kind="stable"), ["dice"])
        table = table.droplevel(1, axis=1)[list(dict.fromkeys(shown.column))]
        if not on_full.all() and (top := own[on_full & own["mean"].notna()]).size:
            top = top.assign(supervised=top.role == SUPERVISED).sort_values(["supervised", "mean"], ascending=False)
            best = next(top.itertuples())
            table.loc["full masks"] = [f"{tables.cell(best)} {best.method}", *[""] * (table.shape[1] - 1)]
        table.columns = table.columns.str.removeprefix(f"{dataset} ")
        found[str(dataset)] = table.map(lambda text: text.replace("**", "*"))
    over = "patients, given these runs" if (cells.seeds < statistics.FEW_SEEDS).any() else "patients and seeds"
    return found, (
        f"Dice with {statistics.LEVEL:.0%} intervals over {over}; *...* better than all others, {tables.OPEN} not told "
        f"apart from the best, {tables.ALIKE} alike"
        + "".join(f"; not trained here: {', '.join(rows)} (of {name})" for name, rows in _stored(read).items())
    )


def _write(read: Rows, results: ResultsFolder, folder: Path, options: ReportOptions) -> None:
    folder.mkdir(exist_ok=True)
    summary = summarise(read, options.compared, options.metrics)
    numbers = {
        "table": summary.cells,
        "patients": patients(read.cases, read.metrics),
        **{name: getattr(summary, name) for name in ("tests", "ranks", "agreement", "columns", "leaks", "sites")},
        "ablations": ablations.ablations(read, summary, options.metrics),
        "costs": costs.costs(read),
        "published": published.compare(summary.cells, published.read()),
    }
    for name, frame in (numbers | {"runs": read.runs}).items():
        if len(frame):
            frame = frame.drop(columns=["role", "notes"], errors="ignore")  # which run.json has
            if name == "runs":
                frame = frame.drop(columns=["extra", *(["facts"] if not frame.facts.any() else [])])
            # 12 digits: the last ones of a sum differ between processors
            frame.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n", float_format="%.12g")
    made = list(_tables(read, summary, numbers, options.metrics))
    read, summary = read.titled(), summary.titled(read.titles)
    numbers = {name: names.titled(frame, read.titles) for name, frame in numbers.items()}
    with_titles = list(_tables(read, summary, numbers, options.metrics))
    for table in with_titles:
        (folder / f"{table.name}.tex").write_text(tables.latex(table))
    for table in made:
        below = "".join(f"\n- {note}" for note in table.notes)
        (folder / f"{table.name}.md").write_text(f"# {table.title}\n\n{tables.markdown(table.cells)}{below}\n")
    if set(options.formats) - {"md", "tex", "csv"}:
        _draw(FigureData(read, summary, results, options.metrics[0]), with_titles, folder, options)
    for path in folder.iterdir():
        if path.is_file() and path.suffix[1:] not in options.formats:
            path.unlink()


def _draw(source: FigureData, made: list[Table], folder: Path, options: ReportOptions) -> None:
    """Write the figures, and the page with their SVG files."""
    pictures = gallery(source.read, source.results, embed=options.embed_images)
    paged = "html" in options.formats
    kinds = [kind for kind in KINDS if kind in options.formats or (kind == "svg" and paged)]
    drawn = [
        *figures.draw(source, folder, kinds, figures.makers_of(options.figures)),
        *montage(pictures.examples(), source.read.roles, folder, kinds),
    ]
    if paged:
        content = page.Content(drawn, pictures.cases(), pictures.left_out, source.results)
        (folder / "index.html").write_text(page.render(source.read, made, folder, content))


def _tables(read: Rows, summary: Summary, numbers: Mapping[str, pd.DataFrame], metrics: Sequence[str]) -> Iterator[Table]:
    """Yield the tables of these runs, the main table first."""
    budgets = _own_budgets(summary.cells)
    main = tables.main_table(summary.cells, metrics, known=read.metrics)
    yield Table("table", read.title or read.name, main, notes(read, summary))
    for number, column in enumerate(dict.fromkeys(summary.cells.column)):
        if summary.cells[summary.cells.column == column].region.nunique() > 2:  # more than one region and their mean
            name = f"regions{number}" if number else "regions"
            of_regions = tables.region_table(summary.cells, column, metrics, read.metrics)
            yield Table(name, f"{column}: regions", of_regions, [AS_ABOVE, *budgets])
    for number, (column, own) in enumerate(summary.sites.groupby("column", sort=False)):
        of_sites = tables.main_table(own.assign(column=own.site), metrics, known=read.metrics)
        yield Table(f"sites{number or ''}", f"{column}: sites", of_sites, [SITE_NOTE, AS_ABOVE, *budgets])
    if len(summary.tests):
        yield Table("tests", "Differences to the reference", tables.test_table(summary), _test_notes(summary))
    if len(summary.ranks) > 1:
        yield Table("ranks", "Ranks", tables.rank_table(summary), _rank_notes(summary))
    if len(summary.agreement):
        alike = tables.agreement_table(summary)
        yield Table("agreement", "Whether columns of a data set order the methods alike", alike, AGREEMENT_NOTES)
    if len(summary.leaks):
        yield Table("leaks", "What choosing a snapshot on the test set is worth", tables.leak_table(summary), LEAK_NOTES)
    if len(frame := numbers["ablations"]):
        parts = tables.ablation_table(frame, read.metrics)
        yield Table("ablations", "Parts of a method", parts, [*ablations.NOTES, *budgets])
    if len(frame := numbers["costs"]):
        yield Table("costs", "Costs", tables.cost_table(frame), [*costs.notes(read, frame), *budgets])
    if len(frame := numbers["published"]):
        yield Table("published", "Published numbers and those of these runs", tables.published_table(frame), PUBLISHED_NOTES)


def notes(read: Rows, summary: Summary) -> list[str]:
    """List the notes below the main table."""
    cells = summary.cells
    lines = [read.title] if read.title else []
    lines += [
        f"Mean over patients and seeds with a {statistics.LEVEL:.0%} interval. With fewer than {statistics.FEW_SEEDS} "
        "seeds it is over patients, given these runs, and the mean of each seed is in parentheses; with more it is "
        "over patients and seeds, and ± is the spread of the seeds' means. Failed to learn: runs whose Dice is not "
        "above that of the location prior, or that predict a region in no scan.",
        "HD95 (max): the larger of the 95th percentiles of the surface distances from prediction to truth and back. A "
        "region that was not predicted counts as missed, with Dice and NSD 0 and the scan's diagonal as distance. "
        "Median: over patients and seeds. HD95 of found: of each row over the cases that it found, with their number, "
        "so not to be compared between rows. False regions: how often a region that is not in the scan was predicted.",
        f"{_marks(summary)} Model selection: {RULES[read.selection]}.",
    ]
    known = cells[cells.patients.notna()]
    for column, about in read.about.items():
        if len(of_column := known[known.column == column]):
            lines.append(_about(column, about, of_column, summary))
    lines += [f"Not trained here: {', '.join(rows)} (of {name})." for name, rows in _stored(read).items()]
    lines += _options_by_column(read.runs)
    lines += _stated(read.runs)
    lines += _exceptions(cells, summary)
    return lines


def _stored(read: Rows) -> dict[str, list[str]]:
    """The rows of stored runs, by the name of their set."""
    known = read.runs[read.runs.stored != ""]
    return {str(name): list(dict.fromkeys(own.row)) for name, own in known.groupby("stored", sort=False)}


def _marks(summary: Summary) -> str:
    """Explain bold, and the marks of rows that may be best; by which margins."""
    share, distance = summary.comparing.options.margins if summary.comparing else Options().margins
    return (
        "Bold: better than every other row without gaps, by intervals of the differences that hold for all pairs of a "
        "column at once, over patients and seeds; over patients, given these runs, for rows with runs that failed to "
        f"learn, and where rows and seeds are few. Without bold, {tables.OPEN} is the best mean and the rows that are "
        f"not told apart from it, not even in these runs, which says nothing about how close they are. {tables.ALIKE}: "
        f"alike, the interval lies within {share:g} (distances: {distance:g} mm or px)."
    )


def _options_by_column(runs: pd.DataFrame) -> list[str]:
    """List the options of a row that differ between columns."""
    lines = []
    for row, own in runs.drop_duplicates(["row", "column"]).groupby("row", sort=False):
        options = {column: json.loads(text) for column, text in zip(own.column, own.options, strict=True)}
        names = dict.fromkeys(name for each in options.values() for name in each)
        telling = [name for name in names if len({str(each.get(name)) for each in options.values()}) > 1]
        if telling:
            listed = [
                f"{column}: " + ", ".join(f"{name}={ablations.shown(each.get(name))}" for name in telling)
                for column, each in options.items()
            ]
            lines.append(f"{row} has options by column: {'; '.join(listed)}.")
    return lines


def _stated(runs: pd.DataFrame) -> list[str]:
    """List the facts that a method has a note for, by row and the columns where they don't hold in all runs."""
    lines = []
    for row, own in runs[(runs.notes != "") & (runs.facts != "")].groupby("row", sort=False):
        notes = {name: text for stated in dict.fromkeys(own.notes) for name, text in json.loads(stated).items()}
        for fact, text in notes.items():
            counted = []
            for column, of_column in own.groupby("column", sort=False):
                held = [facts[fact] for facts in map(json.loads, of_column.facts) if isinstance(facts.get(fact), bool)]
                if not all(held):
                    counted.append(f"{sum(held)} of {len(held)} run{'s' * (len(held) > 1)} of {column}")
            if counted:
                lines.append(f"`{row}`: {text} in {', '.join(counted)}.")
    return lines


def _about(column: str, about: dict[str, Any], cells: pd.DataFrame, summary: Summary) -> str:
    """Describe a column: data, annotation, budget, patients and labels."""
    count = int(cells.patients.max())
    patients_known = f"patient{'s' * (count > 1)}"
    unit = patients_known if about["patients_known"] else "images (patients unknown; intervals may be too narrow)"
    seeds = int(cells.seeds.max())
    few = "" if seeds >= 3 else f" ({'one seed is' if seeds == 1 else 'two seeds are'} too few for a paper)"
    text = f"{column}: n = {count} {unit}, {seeds} seed{'s' * (seeds > 1)}{few}; intervals over {_covered(cells)}."
    budget: dict[str, Any] = about["budget"]
    shown = [f"{name} {budget[name]}" for name in SHOWN if budget.get(name) and budget[name] != "torch"]
    text += f" Budget: {', '.join(shown)}." if shown else ""
    depths: dict[str, float] = about["labelled_depth_px"]
    if shares := about["labelled_share"]:
        text += f" Labelled, at median depth: {', '.join(_labelled(k, v, depths.get(k)) for k, v in shares.items())}."
    of_column = summary.columns[summary.columns.column == column].iloc[0]
    if of_column.uninformative:
        titles = ", ".join(BUILT_IN[metric].title for metric in of_column.uninformative.split(", "))
        text += f" Uninformative in {titles}: no method beats the location prior by more than its interval"
        text += "; left out of ranks." if of_column.informative == "no" else "."
    if of_column.informative == "unknown":
        text += " Without a row `prior` nobody can say whether the column is informative."
    if of_column.informative == TOO_LITTLE:
        enough = count >= statistics.FEW_PATIENTS
        why = (
            "one seed"
            if seeds == 1
            else "one row, or no variance"
            if enough
            else f"under {statistics.FEW_PATIENTS} patients"
        )
        text += f" Too little for a verdict ({why}): nothing is bold, marked or ranked."
    if not pd.isna(of_column.detectable):
        text += f" These intervals tell a difference in Dice of {of_column.detectable:.3f} from 0 with 80 % power."
    return text


def _covered(cells: pd.DataFrame) -> str:
    """Say of what the intervals of a column cover other ones, and where some cover less."""
    over = cells[cells.low.notna()]
    if not (over.over == OVER[True]).any():
        return f"{OVER[False]}, given these runs"
    given = dict.fromkeys(over[over.over == OVER[False]].method)
    return OVER[True] + (f" (of {', '.join(given)} over {OVER[False]}, given these runs)" if given else "")


def _exceptions(cells: pd.DataFrame, summary: Summary) -> list[str]:
    """List exceptions: own budgets, changed code, external rows, and columns where the other HD95 tells something else."""
    lines = _own_budgets(cells)
    if cells.stale.any():
        lines.append("Stale: the code of the method or of its labels was changed since (run with --rerun stale).")
    if cells.external.any():
        lines.append("External: predictions made elsewhere, under another budget; compared, but never marked best.")
    known = cells[cells["mean"].notna()].groupby("metric", observed=True).column.agg(set)
    for column in sorted(known.get("hd95", set()) - known.get("hd95_max", set())):
        lines.append(f"{column}: these runs were scored before HD95 (max) was stored; `--metric hd95` shows the pooled one.")
    top = cells[(cells.region == MEAN) & cells.place.isin(["best", "open", "alike"])]
    groups = {key: tuple(own.method) for key, own in top.groupby(["column", "metric"], observed=True)}
    for column in dict.fromkeys(cells.column):
        pooled, larger = (groups.get((column, metric)) for metric in ("hd95", "hd95_max"))
        if pooled and larger and pooled != larger:
            lines.append(f"{column}: by HD95 (pooled), as medpy computes it, the top group were {', '.join(pooled)}.")
    if summary.ranks.empty and len(summary.columns) and (summary.columns.informative == "no").all():
        lines.append("No column is informative, so there are no ranks.")
    return lines


def _own_budgets(cells: pd.DataFrame) -> list[str]:
    """Explain the daggers: rows with their own budget."""
    reasons = {method: reason for method, reason in zip(cells.method, cells.own_budget, strict=True) if reason}
    return [f"{tables.DAGGER} {method} is not trained like the others: {reason}." for method, reason in reasons.items()]


def _test_notes(summary: Summary) -> list[str]:
    hopeless = summary.tests[summary.tests.p_holm.isna() & summary.tests.p.notna()]
    lines = [
        f"Method minus reference, paired by patient and seed, with {statistics.LEVEL:.0%} intervals that hold for all "
        "pairs of a column and metric at once. Verdict: alike where the interval lies within the margin, else better "
        f"or worse where it excludes 0, else not told apart; none below {statistics.FEW_PATIENTS} patients, with one "
        "seed or without variance. In these runs: over patients only, another seed may differ; this is said where "
        "seeds are not covered, and where only so two rows are told apart. In parentheses: the difference of each "
        "seed, from five seeds on the least, the median and the largest. P(better): share of pairs of patient and seed "
        "in which the method is better, ties half. Beside it: Wilcoxon signed-rank of per-patient values averaged over "
        "seeds, Holm-corrected over the rows of a column and metric; median difference; rank-biserial correlation from "
        "-1 to 1; patients with a higher, equal or lower value. The test takes the seeds as they came.",
    ]
    for column, own in hopeless.groupby("column", observed=True):
        least, count = own.least_p.min(), int(own.tests.iloc[0])
        corrected = f"{min(1, least * count):.3g} corrected for {count} row{'s' * (count > 1)}"
        lines.append(f"{column}: no test; the smallest attainable p is {least:.3g}, {corrected}.")
    return lines


def _rank_notes(summary: Summary) -> list[str]:
    left_out = summary.columns[summary.columns.informative == "no"].column
    lines = [
        "Ranks of Dice over the columns that are informative, of rows whose runs are all there and were trained alike; "
        "verdicts against every other row in every column; how often a row is first when patients (from five seeds on, "
        "seeds, too) are drawn anew, among rows that have every column. Not told apart is not a tie."
    ]
    return lines + ([f"Left out as uninformative: {', '.join(left_out)}."] if len(left_out) else [])


AGREEMENT_NOTES = [
    "Kendall's tau-b of mean Dice over the methods that both columns have, without `prior`: 1 for the same order, -1 for "
    f"its reverse. In brackets, {statistics.LEVEL:.0%} of resamples of patients, from five seeds on also of seeds: "
    "where methods are close, orders are chance, and the interval is wide."
]
SITE_NOTE = "Of the patients of each site alone; methods are compared within a site."
AS_ABOVE = "Intervals, bold and marks as in the main table, which has the notes to its data."
LEAK_NOTES = [
    "Dice at the last step, and at the snapshot that each rule would have chosen: weakval by the marks of held-out "
    "training patients, val by their dense masks, test by the test set itself. The leak delta is what a protocol that peeks "
    "would have gained, with a 95% interval (over patients, from five seeds on also over seeds, the choice held fixed); "
    "weakval − last is what honest selection costs or brings."
]
PUBLISHED_NOTES = [
    "Printed in papers, with the source of each in published.csv; never mixed with those of runs. The last column says "
    "whether a number may be compared with that of the runs, and why not."
]


def _labelled(name: str, share: float | None, depth: float | None) -> str:
    """Describe the labelled share of a class, and the depth of its annotations."""
    return f"{name} " + ("unknown" if share is None else f"{share:.2%}") + ("" if depth is None else f" at {depth:g} px")
