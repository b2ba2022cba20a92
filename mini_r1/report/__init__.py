"""One page about one or more runs: what they learned, how, and where the page is not to be trusted.

runs.py           run directories as data, whole, killed or damaged; which of them are seeds of one recipe
rollouts.py       the Parquet files of completions, and the samples to browse
figures.py        what a figure is; plots.py draws it
curves.py         curves over seeds: smoothing, bands, thinning, spikes; and when a change is called one
learning.py, behaviour.py  the figures of the page's sections, and the table
aha.py            steps at which a curve changes its level, with texts from both sides
sentences.py      the headline, the doubts that belong to it, and what was run
page.py           all of it in one HTML file, with template.html.j2, page.css and page.js
"""
