"""The report: one page about one or more runs, which says what they learned, how, and what it cannot show.

runs.py           reads run directories, finished, killed or damaged, and groups the seeds of one recipe
rollouts.py       reads the Parquet files of completions, and chooses the samples to browse
figures.py        describes a figure; plots.py draws it
curves.py         smooths curves over seeds, thins them, marks spikes, and says whether a curve rose or fell
learning.py, behaviour.py  make the figures of the page's sections, and the table
aha.py            finds steps at which a curve changes its level, with texts from both sides
sentences.py      writes the headline, the doubts that belong to it, and what was run
page.py           writes all of it into one HTML file, with template.html.j2, page.css and page.js
"""
