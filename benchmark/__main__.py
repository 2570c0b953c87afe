"""The command line: `python -m benchmark`. Heavy imports stay inside the commands that need them."""

import dataclasses
import errno
import re
import signal
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import typer.core

from benchmark import InputError, __version__

if TYPE_CHECKING:
    from benchmark import api

vars(typer.core)["HAS_RICH"] = False  # up to 0.20, typer writes \[default: ...] where rich is installed
app = typer.Typer(
    name="benchmark",
    help="Compare weakly-supervised segmentation methods fairly, fast and reproducibly.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Show, check, simulate and export data sets.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")

Words = list[str] | None  # of a flag that holds several: separated by commas, or the flag repeated

DataFolder = Annotated[Path, typer.Option("--data", envvar="BENCHMARK_DATA", help="Folder with one folder per data set.")]
Results = Annotated[Path, typer.Option("--results", help="Folder of the runs.")]
Out = Annotated[Path, typer.Option("--out", help="New folder.")]
Reports = Annotated[Path, typer.Option("--reports", help="Folder of the reports.")]


DataSet = Annotated[str, typer.Argument(metavar="NAME", help="A data set, NAME:PATH for folder and nnunet, or a .py file.")]


@app.command("list")
def list_() -> None:
    """Show methods, groups, data sets, annotations and presets."""
    from benchmark.plan.plugins import PRESETS
    from benchmark.terminal import show_list

    show_list(PRESETS.glob("*.toml"))


@app.command()
def run(
    preset: Annotated[str, typer.Option(help="A preset, or TOML file; without methods and data sets: demo.")] = "",
    methods: Annotated[Words, typer.Option(metavar="A,B,...", help="Methods, groups, variants or .py files.")] = None,
    datasets: Annotated[
        Words, typer.Option(metavar="A,B,...", help="Data sets, or .py files; default: those that are found.")
    ] = None,
    annotations: Annotated[Words, typer.Option(metavar="A,B,...", help="full, scribble, point, block, ...")] = None,
    splits: Annotated[
        Words,
        typer.Option(
            metavar="A,B,...", help="Splits or families: strat5 is strat5/0 to /4; NAME@val scores held-out scans."
        ),
    ] = None,
    seeds: Annotated[Words, typer.Option(metavar="0,1,...", help="One run of every method per seed.")] = None,
    budget: Annotated[
        Words, typer.Option(metavar="NAME=VALUE,...", help="published, short or laptop; then steps, batch, size, lr, ...")
    ] = None,
    set_: Annotated[
        Words,
        typer.Option("--set", metavar="METHOD.NAME=VALUE", help="Set an option; repeat it for more. A list is [1, 2]."),
    ] = None,
    metrics: Annotated[
        Words, typer.Option(metavar="A,B,...", help="Also score the runs with these metrics of yours: .py files or names.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Runs at once per device; 0: one per core, one per GPU.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    executor: Annotated[str, typer.Option(help="local, or ray: on the machines of a Ray cluster.")] = "local",
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address of a Ray cluster, or RAY_ADDRESS; empty: one on this machine.")
    ] = "",
    shard: Annotated[str, typer.Option(metavar="I/N", help="Run only the I-th of N parts; write no report.")] = "",
    data: DataFolder = Path("data"),
    results: Results = Path("results"),
    reports: Reports = Path("reports"),
    timeout: Annotated[float, typer.Option(min=0, help="Seconds after which a run is ended as failed; 0: no limit.")] = 0,
    tune: Annotated[int, typer.Option(min=0, metavar="K", help="Tuned track: K random trials of every method.")] = 0,
    rerun: Annotated[str, typer.Option(metavar="stale|all", help="Repeat the stale runs, or all.")] = "",
    against: Annotated[
        str, typer.Option(metavar="NAME", help="Compare with stored runs: reference, a part of it, or a results folder.")
    ] = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only what failed, and where the report is.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print a line for each run that ends.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the jobs and what they will cost, and stop.")
    ] = False,
) -> None:
    """Train, predict and score; repeat the command to resume."""
    from benchmark import api, terminal
    from benchmark.plan.jobs import AGAIN, make_plan, parse_shard, select_shard, state
    from benchmark.plan.presets import Request
    from benchmark.report import check_place, show, write
    from benchmark.score.metrics import named
    from benchmark.store import open_results

    if rerun not in ("", "stale", "all"):
        raise InputError(f"--rerun is {rerun!r}; it must be stale or all")
    request = Request(
        preset=preset,
        methods=_split(methods, "--methods"),
        datasets=_split(datasets, "--datasets"),
        annotations=_split(annotations, "--annotations"),
        splits=_split(splits, "--splits"),
        seeds=_numbers(seeds),
        budget=[*_split(budget, "--budget"), *([f"tune={tune}"] if tune else [])],
        options=set_ or [],
        metrics=_split(metrics, "--metrics"),
        against=against,
        data=data,
    )
    if shard:
        parse_shard(shard)
    make_executor = _executor(executor, address, device)
    request = dataclasses.replace(request, on_cpu=lambda: api.may_use_cpu(device, executor))
    with nullcontext() if quiet else terminal.status("reading and checking the data"):
        plan = make_plan(request)
    if not shard:
        check_place(reports / plan.name)
    jobs = select_shard(plan.jobs, shard) if shard else plan.jobs
    planned = [(job, state(open_results(results), job)) for job in jobs]
    todo = [job for job, state in planned if state in ("planned", "failed", *AGAIN[rerun])]
    here = executor == "local"
    where = device if here else "auto"
    if not quiet:
        for note in plan.notes:
            print(note)
        terminal.show_warnings(plan.warnings)
    if dry_run:
        for plugin in plan.metrics:
            named(plugin)  # raises for one that scores nothing
        terminal.show_plan(dataclasses.replace(plan, jobs=jobs), planned)
        with terminal.status("estimating costs"):
            costs = api.estimate(plan, todo, results, where, workers, local=here)
        terminal.show_costs(costs)
        return
    if not quiet:
        terminal.show_not_claimed(plan)
        if jobs:
            costs = api.estimate(plan, todo, results, where, workers, local=here, measure=False)
            terminal.show_brief(plan, planned, costs, results)
    with terminal.Watcher(quiet=quiet, verbose=verbose, rerun=rerun) as watcher:
        states = api.execute(
            plan, results, make_executor,
            jobs=jobs, hide=[data], workers=workers, timeout_s=timeout, rerun=rerun, screen=watcher,
        )  # fmt: skip
    if shard:
        _end_shard(shard, states, results, reports)
        return
    if not quiet:
        terminal.show_tables(*show(results, [str(job.folder) for job in plan.jobs]))
    print(f"report: {write(results, reports)}")
    if states["failed"]:
        print(f"{states['failed']} runs failed; the report lists them, and the same command repeats them")
        raise typer.Exit(1)


@app.command()
def report(
    results: Results = Path("results"),
    reports: Reports = Path("reports"),
    reference: Annotated[
        str, typer.Option(metavar="METHOD", help="Row that the others are compared with; default: pce_dice, or pce.")
    ] = "",
    selection: Annotated[str, typer.Option(metavar="RULE", help="last; for snapshots also weakval, val, test.")] = "last",
    only: Annotated[Words, typer.Option(metavar="A,B,...", help="Only these methods, data sets or annotations.")] = None,
    metric: Annotated[
        Words, typer.Option(metavar="A,B,...", help="dice, hd95_max, nsd, ...; figures show the first.")
    ] = None,
    margin: Annotated[str, typer.Option(metavar="SHARE,MM", help="Differences up to these count as alike.")] = "0.02,2",
    format_: Annotated[Words, typer.Option("--format", metavar="A,B,...", help="md, tex, csv, pdf, png, svg, html.")] = None,
    figures: Annotated[
        Words, typer.Option(metavar="A,B,...", help="More figures: .py files, or installed, by name.")
    ] = None,
    explain: Annotated[
        tuple[str, str],
        typer.Option(
            metavar="METHOD METHOD", show_default=False, help="Only print how the verdicts on two rows come about."
        ),
    ] = ("", ""),
    embed_images: Annotated[
        bool, typer.Option("--embed-images", help="Also show pixels of data sets that may not be redistributed.")
    ] = False,
    site: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write reports there, and a page that leads to all.")
    ] = None,
) -> None:
    """Write tables, figures and a page of a results folder."""
    from benchmark.report import FORMATS, ReportOptions, margins, write
    from benchmark.report import explain as explain_pair
    from benchmark.report.summary import HEADLINE, Options

    options = ReportOptions(
        compared=Options(reference, margins(margin)),
        selection=selection,
        only=_split(only),
        metrics=_split(metric) or HEADLINE,
        formats=_split(format_) or FORMATS,
        embed_images=embed_images,
        figures=_split(figures),
        site=site is not None,
    )
    if any(explain):
        print(explain_pair(results, explain, options))
        return
    print(f"report: {write(results, site or reports, options)}")


@app.command()
def score(
    more: Annotated[Words, typer.Argument(metavar="FOLDER", help="Further folders, as in --predictions.")] = None,
    predictions: Annotated[
        list[str] | None, typer.Option(metavar="FOLDER", help="Label maps made elsewhere, one per test scan; or 'teams/*'.")
    ] = None,
    datasets: Annotated[
        Words, typer.Option(metavar="NAME", help="Data set of the predictions; or folder:PATH,... of the stored runs.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the predictions, or family; default: the data set's first.")] = "",
    name: Annotated[str, typer.Option(help="Row of the predictions in tables; default: the folder's name.")] = "",
    annotations: Annotated[str, typer.Option(help="Annotation that their model was trained on: scribble, full, ...")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training of their model.")] = 0,
    metrics: Annotated[
        Words, typer.Option(metavar="A,B,...", help="Also score stored runs with your own metrics: .py files or names.")
    ] = None,
    verify: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Compare this share of the stored scores (0.05) with medpy's.")
    ] = None,
    results: Results = Path("results"),
    data: DataFolder = Path("data"),
) -> None:
    """Score predictions made elsewhere, or stored runs again.

    With --predictions: label maps of another program. Without: all stored runs, with the metrics of this version.
    """
    folders, named = [*(predictions or []), *(more or [])], _split(datasets)
    if verify is not None:
        if folders or metrics:
            raise InputError("--verify compares stored scores; give it without --predictions and --metrics")
        _verify(results, data, verify, named)
        return
    if not folders:
        if split or name or annotations or seed:
            raise InputError("--split, --name, --annotations and --seed describe predictions; add --predictions FOLDER")
        from benchmark.score.stored import rescore

        print(f"{rescore(results, data, named, _split(metrics))} runs scored")
        return
    if metrics:
        raise InputError(
            "--metrics scores stored runs; first store the predictions, then: python -m benchmark score "
            f"--metrics {','.join(_split(metrics))}"
        )
    if len(named) != 1:
        raise InputError(
            f"--datasets is {','.join(named)!r}; with --predictions it must be one data set, such as acdc or folder:PATH"
        )
    from benchmark import terminal
    from benchmark.score import external

    with terminal.status("reading and scoring the label maps"):
        lines, warnings = external.score(
            external.Predictions(folders, named[0], split, name, annotations, seed), results, data
        )
    terminal.show_warnings(warnings)
    print("\n".join(lines))


@app.command()
def pack(
    out: Out,
    results: Results = Path("results"),
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Keep of each log every N-th loss, and the last.")] = 1,
) -> None:
    """Pack results folders into a few compressed tables.

    Label maps are left out.
    """
    from benchmark.packing import pack

    print(f"{pack(results, out, every)} runs packed in {out}")


@app.command()
def unpack(out: Out, results: Results = Path("results")) -> None:
    """Make results folders of a packed folder."""
    from benchmark.packing import unpack

    print(f"{unpack(results, out)} runs unpacked in {out}")


@app.command()
def new(
    path: Annotated[Path, typer.Argument(metavar="PATH.py", help="The new file; the plug-in gets its name.")],
    kind: Annotated[str, typer.Option(help="method, dataset or metric.")] = "method",
) -> None:
    """Write a commented method, data set or metric to start from.

    It passes `check` unchanged.
    """
    from benchmark.plan.new import write
    from benchmark.score.metrics import TAKEN

    write(path, kind, TAKEN if kind == "metric" else ())
    print(f"wrote {path}; after changing it: python -m benchmark check {path}")


@app.command()
def check(
    plugin: Annotated[
        str, typer.Argument(metavar="NAME", help="A method, group, data set or metric, or a .py file; or folder:PATH.")
    ],
    data: DataFolder = Path("data"),
) -> None:
    """Check that a method, data set or metric keeps the contract."""
    from benchmark.check import report_on

    raise typer.Exit(report_on(plugin, data))


@data_app.command("splits")
def data_splits(name: DataSet, data: DataFolder = Path("data")) -> None:
    """Show the splits of a data set."""
    from benchmark import terminal
    from benchmark.datasets.base import check_split
    from benchmark.plan import plugins

    dataset = plugins.open_data_set(name, data)
    terminal.show_splits(dataset, {split: check_split(dataset, split) for split in dataset.splits()})


@data_app.command("check")
def data_check(
    name: DataSet,
    data: DataFolder = Path("data"),
    pictures: Annotated[bool, typer.Option("--pictures", help="Also write a contact sheet.")] = False,
    reports: Reports = Path("reports"),
) -> None:
    """Read every scan; print what the data set holds, what is implausible, and every error; status 1 if there is one."""
    from benchmark.check.survey import check

    raise typer.Exit(check(name, data, reports if pictures else None))


@data_app.command("simulate")
def data_simulate(
    name: DataSet,
    out: Annotated[Path, typer.Option(help="Folder for the label maps.")],
    annotation: Annotated[str, typer.Option(help="scribble, point@0.5+noise=0.1, ...")] = "scribble",
    data: DataFolder = Path("data"),
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated marks.")] = 0,
    pictures: Annotated[bool, typer.Option("--pictures", help="Also write a contact sheet.")] = False,
) -> None:
    """Simulate an annotation of every scan and write it as label maps (PNG or NIfTI; 255 is unlabelled) with a manifest."""
    from benchmark.check.survey import sample_sheet
    from benchmark.plan.plugins import open_data_set
    from benchmark.seal.export import simulate

    dataset = open_data_set(name, data)
    print(f"{simulate(dataset, annotation, out, seed=seed)} label maps in {out}")
    if pictures:
        sample_sheet(dataset, annotation, seed).save(out / "pictures.png")


@data_app.command("export")
def data_export(
    name: DataSet,
    out: Annotated[Path, typer.Option(help="Folder for nnU-Net's raw data set, DatasetNNN_Name.")],
    annotations: Annotated[str, typer.Option(help="full, scribble, point, ...")] = "scribble",
    split: Annotated[str, typer.Option(help="A split; default: the data set's first.")] = "",
    layout: Annotated[str, typer.Option(help="nnunet.")] = "nnunet",
    data: DataFolder = Path("data"),
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated marks.")] = 0,
) -> None:
    """Write the images and weak labels of a split for another program."""
    if layout != "nnunet":
        raise InputError(f"--layout is {layout!r}; it must be nnunet")
    from benchmark.plan.plugins import open_data_set
    from benchmark.seal.export import export

    print(f"exported to {export(open_data_set(name, data), annotations, split, out, seed=seed)}")


@data_app.command("spacing")
def data_spacing(
    name: DataSet,
    nifti: Annotated[Path, typer.Option(help="Folder with the challenge's patientPPP/ folders.")],
    data: DataFolder = Path("data"),
) -> None:
    """Write spacing.csv for WSL4MIS's volumes of acdc, from the headers of the challenge's NIfTI files."""
    if name != "acdc":
        raise InputError(f"NAME is {name!r}; it must be acdc, whose HDF5 files lack the spacing")
    from benchmark.datasets.acdc import write_spacing

    print(f"wrote {write_spacing(nifti, data / name)}")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run a command; what the user got wrong ends in one sentence and status 2."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            where = f" for {error.filename}" if error.filename else ""
            print(f"error: there is no room{where} ({error.strerror}); runs that are stored are whole", file=sys.stderr)
            sys.exit(2)
        if error.filename is None:
            raise
        print(f"error: {error.filename} can't be used: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _executor(name: str, address: str, device: str) -> "api.MakeExecutor":
    """Check the flags, and return what makes the executor."""
    from benchmark import api

    if name not in ("local", "ray"):
        raise InputError(f"--executor is {name!r}; it must be local or ray")
    if name == "local" and address:
        raise InputError("--address names a Ray cluster; it needs --executor ray")
    return api.local_executor(device) if name == "local" else api.ray_executor(device, address)


def _end_shard(shard: str, states: Counter[str], results: Path, reports: Path) -> None:
    """Print the states of a shard's runs, and the command for after the last shard; exit with status 1 if a run failed."""
    print(f"shard {shard}: " + (", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no runs"))
    print(f"after the last shard: python -m benchmark report --results {results} --reports {reports}")
    if states["failed"]:
        raise typer.Exit(1)


def _verify(results: Path, data: Path, share: float, named: list[str]) -> None:
    """Print the largest difference from medpy's scores, per metric; exit with status 1 if rounding doesn't explain it."""
    from benchmark.score.verify import LARGEST, verify

    found = verify(results, data, share, named)
    for metric, each in found.items():
        print(f"{metric}: {each.cases} case{'s' * (each.cases != 1)}, largest difference {each.largest:.1e}")
    metric, worst = max(found.items(), key=lambda each: each[1].largest)
    if worst.largest > LARGEST:
        print(f"{metric} of {worst.where} differs from medpy's; score all runs again: python -m benchmark score")
        raise typer.Exit(1)


def _split(given: Words, flag: str = "") -> list[str]:
    """Return the words of a flag, which commas outside parentheses separate, as names of columns have some within.

    Raises InputError if one that must hold something is given and holds nothing.
    """
    found = [part.strip() for text in given or () for part in re.split(r",(?![^(]*\))", text) if part.strip()]
    if flag and given and not found:
        raise InputError(f"{flag} is empty; name something, or leave it out")
    return found


def _numbers(given: Words) -> list[int]:
    try:
        return [int(part) for part in _split(given, "--seeds")]
    except ValueError:
        raise InputError(f"--seeds is {','.join(given or ())!r}; it must be whole numbers such as 0,1,2") from None


if __name__ == "__main__":
    main()
