"""One page about one or more runs: what was learned, how, and where it is not to be trusted.

runs.py           run directories, whole, cut off or damaged, as data
groups.py         which of them are seeds of one recipe, and what to call them
rollouts.py       their Parquet files, as far as the page needs them
curves.py         curves over seeds: smoothing, bands, thinning, spikes
change_points.py  where a curve changes its level
gains.py          when a change is called one
figures.py        what a figure is; plotly_charts.py and mini_r1/report/plots.py draw it
learning.py, conduct.py  the figures of the page's sections
aha.py, samples.py       changes with texts beside them, and the samples to browse
page.py           all of it in one HTML file, with template.html.j2, page.css and page.js
"""
