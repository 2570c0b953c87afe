"""Tables, figures and a page of a results folder; nothing else is read."""

import errno
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from benchmark import InputError
from benchmark.inputs import nearest
from benchmark.plan.plugins import SUPERVISED
from benchmark.report import ablations, costs, figures, names, page, published, runs, statistics, tables
from benchmark.report.explain import explained
from benchmark.report.figures.cases import gallery
from benchmark.report.figures.montage import montage
from benchmark.report.figures.style import KINDS, FigureData
from benchmark.report.front import Front, opening
from benchmark.report.latex import paragraphs
from benchmark.report.runs import Rows
from benchmark.report.summary import DEFAULTS as COMPARED
from benchmark.report.summary import HEADLINE, MEAN, OVER, OWN_CASES, TOO_LITTLE, Options, Summary, patients, summarise
from benchmark.report.tables import Table
from benchmark.score.metrics import BUILT_IN
from benchmark.store import RULES, ResultsFolder, open_results, within

SHOWN = (  # of a column's budget
    *("steps", "batch", "size", "resize", "augmentation", "network", "optimiser", "lr", "warmup", "schedule", "tune"),
    "kernels",  # other than torch
)
NO_SEED = "no seed with every fold"
NOTES = "More on these numbers: [notes](notes.md)"
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
    site: bool = False  # a page above all reports, to which theirs lead back

    def __post_init__(self) -> None:
        """Raise InputError for unknown metrics, formats or rules of selection, and for a site without pages."""
        for flag, given, known in (
            ("selection", [self.selection], RULES),
            ("format", self.formats, FORMATS),
        ):
            if unknown := [name for name in given if name not in known]:
                raise InputError(f"--{flag} is {unknown[0]!r}{nearest(unknown[0], known)}; it must be {', '.join(known)}")
        if self.site and "html" not in self.formats:
            raise InputError("--site writes pages, so --format must contain html")
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

    Of a folder that holds results folders, such as `results/reference`, each gets a report in `reports/<its name>/`, but for
    those with no run of what is asked for. A site has a report of each directly in `reports`, and a page that leads to all.
    """
    several, whole = within(results), results.resolve().name
    together = reports / whole if several and not options.site else reports
    site = together / "index.html"
    if options.site and site.exists() and page.MADE not in site.read_text(errors="replace"):
        raise InputError(f"{site} is not a page of this suite; give --site another folder")
    fronts, nothing = dict[str, Front](), dict[str, InputError]()
    for name, folder in (several or {"": open_results(results)}).items():
        try:
            report, found = _write_one(folder, together, options, name, several)
        except runs.NotThere as error:
            nothing[name] = error
        except InputError as error:
            raise InputError(f"{name}: {error}" if name else str(error)) from error
        else:
            fronts |= {quote(f"{report}/{path}"): front for path, front in found.items()}
    if not fronts:
        raise next(iter(nothing.values()))
    if nothing:
        print(f"no report on {', '.join(nothing)}: no run there is of what is asked for", file=sys.stderr)
    if options.site:
        site.write_text(page.site(f"Reports on {whole}", fronts))
    return together if several or options.site else together / report


def _write_one(
    results: ResultsFolder, reports: Path, options: ReportOptions, name: str = "", names: Collection[str] = ()
) -> tuple[str, dict[str, Front]]:
    """Write the report on one results folder, named so or as its plan, and return its name and the fronts of its pages.

    names: of all reports that share a site.
    """
    read = _read(results, options)
    name = name or read.name
    check_place(reports / name)
    reports.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=reports) as temporary:  # another process may write it, too
        staged = Path(temporary) / "new"
        staged.mkdir()
        equal, tuned = read.track("equal"), read.track("tuned")
        links = _links("../", names, name) if options.site else {}
        fronts = {"index.html": _write(equal if len(equal.runs) else tuned, results, staged, options, links)}
        if len(tuned.runs) and len(equal.runs):
            links = _links("../../", names) if options.site else {}
            fronts["tuned/index.html"] = _write(tuned, results, staged / "tuned", options, links)
        _put_in_place(staged, reports / name)
    return name, fronts


def check_place(folder: Path) -> None:
    """Raise InputError where a report would replace something else than an older report."""
    for outer in (folder, *folder.parents):
        if outer.exists() and not outer.is_dir():
            raise InputError(f"{outer} is a file; a report needs a folder")
    for place in (folder, folder / "tuned"):
        for path in sorted(place.glob("*")):
            if not (path.suffix[1:] in FORMATS and path.is_file()) and path != folder / "tuned":
                raise InputError(f"{folder} is no report, as it holds {path.name}; give another folder for reports")


def _put_in_place(staged: Path, folder: Path) -> None:
    """Move a staged folder to its place, and one that is there to beside it, also while another process does the same."""
    while True:
        with suppress(FileNotFoundError):
            folder.rename(tempfile.mkdtemp(dir=staged.parent))
        try:
            staged.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return


def _links(up: str, names: Collection[str], here: str = "") -> dict[str, str]:
    """The addresses of a site's pages, seen from one of them; that one has none."""
    return {"All reports": f"{up}index.html"} | {
        each: f"{up}{quote(each)}/index.html" if each != here else "" for each in names
    }


def _read(results: ResultsFolder, options: ReportOptions) -> Rows:
    """Read the runs that are asked for; raises InputError for a metric that they lack, NotThere without such runs."""
    read = runs.read_folder(results, options.selection)
    if unknown := [name for name in options.metrics if name not in read.metrics]:
        raise InputError(
            f"--metric is {unknown[0]!r}{nearest(unknown[0], read.metrics)}; it must be {', '.join(read.metrics)}, "
            "or one that the runs were scored with: python -m benchmark score --metrics FILE"
        )
    read = read.only(options.only) if options.only else read
    read.check_reference(options.compared.reference)
    return read


def explain(results: Path, pair: tuple[str, str], options: ReportOptions = DEFAULTS) -> str:
    """Return, as text, how the verdicts on two rows come about, step by step, in each column and metric."""
    parts, known, nothing = [], dict[str, None](), list[InputError]()
    for folder in within(results).values() or [open_results(results)]:
        try:
            read = _read(folder, options)
        except runs.NotThere as error:
            nothing.append(error)
            continue
        known |= dict.fromkeys(read.runs.row)
        for track in (own for own in map(read.track, runs.TRACKS) if len(own.runs)):
            comparing = summarise(track, Options(margins=options.compared.margins), ()).comparing
            keys = [(column, MEAN, metric) for column in track.about for metric in options.metrics]
            parts += [text for key in keys if comparing and (text := explained(comparing, key, pair))]
    if nothing and not known:
        raise nothing[0]
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


def _write(read: Rows, results: ResultsFolder, folder: Path, options: ReportOptions, links: Mapping[str, str]) -> Front:
    """Write the report on one track; return what its page begins with."""
    folder.mkdir(exist_ok=True)
    summary = summarise(read, options.compared, options.metrics)
    numbers = {
        "table": summary.cells,
        "patients": patients(read.cases, read.metrics),
        **{name: getattr(summary, name) for name in ("tests", "ranks", "agreement", "columns", "leaks", "sites")},
        "ablations": ablations.ablations(read, summary, options.metrics),
        "costs": costs.costs(read),
        "published": published.compare(summary.cells, published.read(), read.selection),
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
        below = f"\n{table.short}\n" if table.short else ""
        (folder / f"{table.name}.md").write_text(f"# {table.title}\n\n{tables.markdown(table.cells)}{below}\n{NOTES}\n")
    said = [f"## {titles}\n\n" + "".join(f"- {note}\n" for note in own) for titles, own in _together(made)]
    (folder / "notes.md").write_text("\n".join(["# Notes to the tables\n", *said]))
    (folder / "notes.tex").write_text("".join(paragraphs(titles, own) for titles, own in _together(with_titles)))
    source = FigureData(read, summary, results, options.metrics[0])
    if set(options.formats) - {"md", "tex", "csv"}:
        _draw(source, with_titles, folder, options, links)
    for path in folder.iterdir():
        if path.is_file() and path.suffix[1:] not in options.formats:
            path.unlink()
    return opening(source) if options.site else {}


def _together(made: Iterable[Table]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the titles of the tables that have the same notes, and these notes."""
    titles: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for table in made:
        titles[tuple(table.notes)].append(table.title)
    return (("; ".join(own), notes) for notes, own in titles.items())


def _draw(source: FigureData, made: list[Table], folder: Path, options: ReportOptions, links: Mapping[str, str]) -> None:
    """Write the figures, and the page with their SVG files."""
    pictures = gallery(source.read, source.results, embed=options.embed_images)
    paged = "html" in options.formats
    kinds = [kind for kind in KINDS if kind in options.formats or (kind == "svg" and paged)]
    drawn = [
        *figures.draw(source, folder, kinds, figures.makers_of(options.figures)),
        *montage(pictures.examples(), source.read.roles, folder, kinds),
    ]
    if paged:
        content = page.Content(drawn, pictures.cases(), pictures.left_out, options.metrics, links)
        (folder / "index.html").write_text(page.render(source, made, folder, content))


def _tables(read: Rows, summary: Summary, numbers: Mapping[str, pd.DataFrame], metrics: Sequence[str]) -> Iterator[Table]:
    """Yield the tables of these runs, the main table first."""
    daggers = " ".join(_own_budgets(summary.cells))
    main, short = tables.main_table(summary.cells, metrics, known=read.metrics), _short(summary, metrics)
    yield Table("table", read.title or read.name, main, notes(read, summary), short)
    regions = summary.cells.groupby("column", sort=False).region.nunique()
    for number, column in enumerate(regions.index[regions > 2]):  # more than one region and their mean
        of_regions = tables.region_table(summary.cells, column, metrics, read.metrics)
        yield Table(f"regions{number or ''}", f"{column}: regions", of_regions, [AS_ABOVE], short)
    for number, (column, own) in enumerate(summary.sites.groupby("column", sort=False)):
        of_sites = tables.main_table(own.assign(column=own.site), metrics, known=read.metrics)
        yield Table(f"sites{number or ''}", f"{column}: sites", of_sites, [SITE_NOTE, AS_ABOVE], short)
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
        yield Table("ablations", "Parts of a method", parts, ablations.NOTES, daggers)
    if len(frame := numbers["costs"]):
        yield Table("costs", "Costs", tables.cost_table(frame), costs.notes(read, frame), daggers)
    if len(frame := numbers["published"]):
        yield Table("published", "Published numbers and those of these runs", tables.published_table(frame), PUBLISHED_NOTES)


def _short(summary: Summary, metrics: Sequence[str]) -> str:
    """What a reader needs on the page of the table: what its numbers are, and the marks that are in it."""
    cells = summary.cells[summary.cells.metric.isin(metrics)]
    over = [{OVER[False]: f"{OVER[False]}, given these runs"}.get(each, each) for each in cells.over.dropna().unique()]
    marks = {
        "Bold: better than all other complete rows.": (cells.place == "best").any(),
        f"{tables.OPEN}: not told apart from the best.": (cells.place == "open").any(),
        f"{tables.ALIKE}: alike.": (cells.place == "alike").any(),
        "n/a: not planned, or not possible.": len(cells.drop_duplicates(["column", "method"]))
        < cells.column.nunique() * cells.method.nunique(),
    }
    mean = f"Mean [{statistics.LEVEL:.0%} interval over {' or over '.join(sorted(over))}]" if over else "Mean"
    each = " (of each seed)" if cells.seeds.between(2, statistics.FEW_SEEDS - 1).any() else ""
    return " ".join([f"{mean}{each}.", *(text for text, there in marks.items() if there), *_own_budgets(cells)])


def notes(read: Rows, summary: Summary) -> list[str]:
    """List what a reader must know of the main table, in short sentences."""
    cells = summary.cells
    known = cells[cells.patients.notna() & ~cells.metric.isin(OWN_CASES)]
    lines = [f"Each number is the mean over patients and seeds, with a {statistics.LEVEL:.0%} interval."]
    if (known.seeds < statistics.FEW_SEEDS).any():
        lines.append(
            f"With fewer than {statistics.FEW_SEEDS} seeds, the interval is over patients, given these runs. The mean of "
            "each seed is in parentheses."
        )
    if (known.seeds >= statistics.FEW_SEEDS).any():
        lines.append(
            f"With {statistics.FEW_SEEDS} seeds or more, the interval is over patients and seeds. ± is the standard "
            "deviation of the means of the seeds."
        )
    lines += [*MEANINGS, *_marks(summary), f"Model selection: {RULES[read.selection]}."]
    shown = {column: about for column, about in read.about.items() if (known.column == column).any()}
    budgets = set(map(_budget, shown.values()))
    if len(shown) > 1 and len(budgets) == 1:
        lines += [f"Budget: {budget}." for budget in budgets if budget]
    for column, about in shown.items():
        budget = _budget(about) if len(shown) == 1 or len(budgets) > 1 else ""
        lines.append(_about(column, read, budget, known[known.column == column], summary))
    lines += [f"Not trained here: {', '.join(rows)} (of {name})." for name, rows in _stored(read).items()]
    lines += _options_by_column(read.runs)
    lines += _stated(read.runs)
    lines += _devices(read.runs)
    lines += _unbalanced(read.runs)
    lines += _exceptions(cells, summary)
    return lines


MEANINGS = [
    "not run: planned, but not there. n/a: not planned, or the method does not learn from such marks.",
    "A run failed to learn if its Dice is not above that of the location prior, or if it predicts a region in no scan.",
    "HD95 (max) is the larger of two distances: the 95th percentile of the distances from the surface of the prediction to "
    "that of the truth, and that of the way back. The median of a distance is over patients and seeds.",
    "A region that was not predicted is missed. Its Dice and NSD are 0; its distance is the diagonal of the scan.",
    "HD95 of found is over the cases in which the row found the region; their number is in parentheses. Rows found "
    "different cases, so don't compare them.",
    "False regions is how often a region was predicted that is not in the scan.",
]


def _stored(read: Rows) -> dict[str, list[str]]:
    """The rows of stored runs, by the name of their set."""
    known = read.runs[read.runs.stored != ""]
    return {str(name): list(dict.fromkeys(own.row)) for name, own in known.groupby("stored", sort=False)}


def _marks(summary: Summary) -> list[str]:
    """Explain bold, and the marks of rows that may be best; by which margins."""
    share, distance = summary.comparing.options.margins if summary.comparing else Options().margins
    return [
        "Bold: better than every other row whose runs are all there. The intervals of the differences decide; they hold for "
        "all pairs of a column at once.",
        "These intervals are over patients and seeds; for rows with runs that failed to learn, over patients, given these "
        "runs. No row is bold or alike where rows and seeds are too few to cover other seeds; five rows with two seeds are "
        "enough, three with three, two with five.",
        f"{tables.OPEN}: no row is bold; the best mean, and the rows that are not told apart from it, not even in these "
        "runs. That does not mean that they are close.",
        f"{tables.ALIKE}: alike; the interval of the difference lies within {share:g} (distances: {distance:g} mm or px).",
    ]


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
                lines.append(f"{row}: {text} in {', '.join(counted)}.")
    return lines


def _budget(about: dict[str, Any]) -> str:
    """The values of a column's budget that a reader wants to know."""
    budget: dict[str, Any] = about["budget"]
    return ", ".join(f"{name} {budget[name]}" for name in SHOWN if budget.get(name) and budget[name] != "torch")


def _about(column: str, read: Rows, budget: str, cells: pd.DataFrame, summary: Summary) -> str:
    """Describe a column: data, annotation, patients, labels, and its budget if one is given."""
    about = read.about[column]
    count = int(cells.patients.max())
    patients_known = f"patient{'s' * (count > 1)}"
    unit = patients_known if about["patients_known"] else "images (patients unknown; intervals may be too narrow)"
    seeds = int(cells.seeds.max())
    few = "" if seeds >= 3 else f" ({'two seeds are' if seeds == 2 else 'one seed is'} too few for a paper)"
    counted = f"{seeds} seed{'s' * (seeds > 1)}{few}" if seeds else NO_SEED
    text = f"{column}: n = {count} {unit}, {counted}; intervals over {_covered(cells)}."
    text += f" Budget: {budget}." if budget else ""
    depths: dict[str, float] = about["labelled_depth_px"]
    shares: dict[str, float | None] = about["labelled_share"]
    if shares and all(share == 1 for share in shares.values()):
        text += " All pixels are labelled."
    elif shares:
        text += f" Labelled, at median depth: {', '.join(_labelled(k, v, depths.get(k)) for k, v in shares.items())}."
    of_column = summary.columns[summary.columns.column == column].iloc[0]
    if of_column.uninformative:
        titles = ", ".join(BUILT_IN[metric].title for metric in of_column.uninformative.split(", "))
        text += f" Uninformative in {titles}: no method beats the location prior by more than its interval"
        text += "; left out of ranks." if of_column.informative == "no" else "."
    if of_column.informative == "unknown":
        text += " Without the location prior nobody can say whether the column is informative"
        known = column in set(read.controls.get("column", ()))  # left out of the tables, and still compared with
        text += "." if known else ", and a run is called failed to learn only if it predicts a region in no scan."
    if of_column.informative == TOO_LITTLE:
        enough = count >= statistics.FEW_PATIENTS
        complete = cells[(cells.runs == cells.planned) & (cells.failed == 0)].method.nunique()
        why = (
            ("one seed" if seeds else NO_SEED)
            if seeds < 2
            else "fewer than two rows have all runs"
            if complete < 2
            else "no variance"
            if enough
            else f"under {statistics.FEW_PATIENTS} patients"
        )
        text += f" Too little for a verdict ({why}): nothing is bold, marked or ranked."
    if not pd.isna(of_column.detectable):
        text += f" These intervals tell a difference in Dice of {of_column.detectable:.3f} from 0 with about 80 % power."
    return text


def _covered(cells: pd.DataFrame) -> str:
    """Say of what the intervals of a column cover other ones, and where some cover less."""
    over = cells[cells.low.notna()]
    if not (over.over == OVER[True]).any():
        return f"{OVER[False]}, given these runs"
    given = dict.fromkeys(over[over.over == OVER[False]].method)
    return OVER[True] + (f" (of {', '.join(given)} over {OVER[False]}, given these runs)" if given else "")


def _devices(runs: pd.DataFrame) -> Iterator[str]:
    """Name the seeds of a column whose runs were made on several kinds of device: their pairs differ by rounding, too."""
    for column, own in runs[runs.device.notna()].groupby("column", observed=True, sort=False):
        kinds = own.groupby("seed").device.nunique()
        if seeds := ", ".join(map(str, sorted(kinds.index[kinds > 1]))):
            yield (
                f"{column}: runs of seed {seeds} were made on several kinds of device. These round differently, which can "
                "change the score of a run as much as another seed."
            )


def _unbalanced(runs: pd.DataFrame) -> Iterator[str]:
    """Name the rows of a column whose folds have different seeds."""
    done = runs[runs.state == "done"].drop_duplicates(["column", "row", "split", "seed"])
    for column, own in done.groupby("column", observed=True, sort=False):
        by_row = own.groupby("row", observed=True, sort=False)
        rows = by_row.size().index[by_row.size() < by_row.split.nunique() * by_row.seed.nunique()]
        if len(rows):
            yield (
                f"{column}: folds have different seeds ({', '.join(rows)}). Each patient counts once; what is said of seeds "
                "is of those that have every fold."
            )


def _exceptions(cells: pd.DataFrame, summary: Summary) -> list[str]:
    """List exceptions: own budgets, changed code, external rows, and columns where the other HD95 tells something else."""
    lines = _own_budgets(cells)
    if cells.stale.any():
        lines.append("Stale: the code of the method or of its labels was changed since (run with --rerun stale).")
    if cells.external.any():
        lines.append("External: predictions made elsewhere, under another budget; compared, but never marked best.")
    part = cells[(cells.failed == 0) & (cells.tested > 0) & (cells.tested < cells.testable)]
    lines += [
        f"{line.column}: {line.method} has {line.tested} of {line.testable} patients, so its mean is of other patients than "
        "other means. Its differences are of the patients that both rows have."
        for line in part.drop_duplicates(["column", "method"]).itertuples()
    ]
    known = cells[cells["mean"].notna()].groupby("metric", observed=True).column.agg(set)
    for column in sorted(known.get("hd95", set()) - known.get("hd95_max", set())):
        lines.append(f"{column}: these runs were scored before HD95 (max) was stored; --metric hd95 shows the pooled one.")
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
    """Explain the daggers: rows with their own budget, and the columns where a reason does not hold in all."""
    lines, every = [], cells.drop_duplicates(["column", "method"])
    for (row, reason), own in every[every.own_budget != ""].groupby(["method", "own_budget"], sort=False):
        where = "" if len(own) == (every.method == row).sum() else f" in {', '.join(own.column)}"
        lines.append(f"{tables.DAGGER} {row} is not trained like the others{where}: {reason}.")
    return lines


def _test_notes(summary: Summary) -> list[str]:
    hopeless = summary.tests[summary.tests.p_holm.isna() & summary.tests.p.notna()]
    lines = [
        "Each number is the method minus the reference, paired by patient and seed. Its "
        f"{statistics.LEVEL:.0%} interval holds for all pairs of a column and metric at once.",
        "Verdict: alike if the interval lies within the margin; else better or worse if it excludes 0; else not told apart. "
        f"There is none below {statistics.FEW_PATIENTS} patients, with one seed, or without variance.",
        "In these runs: over patients only. Another seed may differ.",
        f"In parentheses: the difference of each seed; with {statistics.FEW_SEEDS} seeds or more the least, the median and "
        "the largest.",
        "P(better): the share of pairs of patient and seed in which the method is better. Ties count half.",
        "p: Wilcoxon's signed-rank test of the values of patients, averaged over seeds. Holm's correction is over the rows "
        "of a column and metric. The test takes the seeds as they came.",
        "Then: the median difference, the rank-biserial correlation from -1 to 1, and how many patients have a higher, an "
        "equal or a lower value.",
    ]
    for column, own in hopeless.groupby("column", observed=True):
        of = ", ".join(dict.fromkeys(own.method))
        lines.append(
            f"{column}: no test of {of}; the smallest attainable p is {own.least_p.max():.3g}, before the correction."
        )
    return lines


def _rank_notes(summary: Summary) -> list[str]:
    left_out = summary.columns[summary.columns.informative == "no"].column
    lines = [
        "Ranks are of Dice, over the informative columns. Only rows count that were trained here and whose runs are all "
        f"there, also those with another budget ({tables.DAGGER}).",
        "Verdicts are against every other row in every column. Not told apart is not a tie.",
        f"First in resamples: how often a row is first when patients are drawn anew (with {statistics.FEW_SEEDS} seeds or "
        "more, seeds too), among rows that have every column.",
    ]
    return lines + ([f"Left out as uninformative: {', '.join(left_out)}."] if len(left_out) else [])


AGREEMENT_NOTES = [
    "Kendall's tau-b of mean Dice over the methods that both columns have, without location priors. 1: the same order; -1: "
    "its reverse.",
    f"Brackets: {statistics.LEVEL:.0%} of resamples of patients, with {statistics.FEW_SEEDS} or more seeds also of seeds. "
    "The interval is wide where methods are close, as their order is then chance.",
]
SITE_NOTE = "Of the patients of each site alone; methods are compared within a site."
AS_ABOVE = "Intervals, bold and marks are as in the main table, which has the notes to its data."
LEAK_NOTES = [
    "Dice at the last step, and at the snapshot that each rule chose. weakval: by the marks of held-out training patients. "
    "val: by their dense masks. test: by the test set itself.",
    "The leak delta, test minus last, is what choosing on the test set would have gained. weakval minus last is what a fair "
    f"choice costs or brings. Each has a {statistics.LEVEL:.0%} interval for the choice that was made.",
    "A row with failed runs has no number. Runs are those that kept snapshots, of all that are planned.",
]
PUBLISHED_NOTES = [
    "These numbers were printed in papers; published.csv has the source of each. They are never mixed with those of runs.",
    "The last column says whether a number may be compared with that of the runs, and why not.",
]


def _labelled(name: str, share: float | None, depth: float | None) -> str:
    """Describe the labelled share of a class, and the depth of its annotations."""
    return f"{name} " + ("unknown" if share is None else f"{share:.2%}") + ("" if depth is None else f" at {depth:g} px")
