"""One page about one or more runs: what was learned, how, and where it is not to be trusted.

runs.py           run directories, whole, cut off or damaged, as data; which are seeds of one recipe
rollouts.py       their Parquet files, as far as the page needs them, and the samples to browse
figures.py        what a figure is; plots.py draws it
curves.py         curves over seeds: smoothing, bands, thinning, spikes; and when a change is called one
learning.py, behaviour.py  the figures of the page's sections, and the table
aha.py            where a curve changes its level, with texts beside it
sentences.py      the headline, what it has to be read with, and what was run
page.py           all of it in one HTML file, with template.html.j2, page.css and page.js
"""
