"""Figure of the sites of a data set: each method's mean at each of them."""

import numpy as np

from benchmark.report.figures.style import (
    MEANS,
    FigureData,
    FigureSpec,
    described,
    grid,
    headed,
    legend_of,
    name_metric,
    plain,
    wrapped,
)
from benchmark.report.summary import MEAN


def sites(source: FigureData) -> FigureSpec | None:
    """The metric at each site, a panel per column with sites; a mark and its interval per method."""
    cells = source.summary.sites
    cells = cells[(cells.metric == source.metric) & (cells.region == MEAN) & cells["mean"].notna()] if len(cells) else cells
    if cells.empty:
        return None
    legend = {method: {**how, "linestyle": ""} for method, how in legend_of(source, cells.method).items()}
    columns = list(cells.groupby("column", sort=False))
    figure, panels = grid(len(columns), 2.6)
    for panel, (column, own) in zip(panels, columns, strict=True):
        counts = own.groupby("site").patients.max()  # sorted
        for (method, how), offset in zip(legend.items(), np.linspace(-0.3, 0.3, len(legend)), strict=True):
            one = own[own.method == method]
            x = counts.index.get_indexer(one.site) + offset
            panel.vlines(x, one.low, one.high, color=how["color"], linewidth=0.8, alpha=0.6)
            panel.plot(x, one["mean"], **how)
        panel.set_xticks(range(len(counts)), [plain(f"{wrapped(site, 12)}\nn = {n:.0f}") for site, n in counts.items()])
        headed(panel, str(column))
    name_metric(panels, [source.label(own) for _, own in columns])
    caption = f"{described(source)}, of the patients of each site alone. {MEANS}."
    runs = source.shown(cells.column, cells.method)
    return FigureSpec("sites", f"{source.label()} by site", caption, figure, source.origin(runs), legend)


PLACE = 2
FIGURES = (sites,)
