"""The bar of work that goes on where an earlier attempt was cut off."""

import sys


def progress_bar(name: str, unit: str, total: int, done: int, shown: bool = True):
    """A `tqdm` bar that begins at `done`; a log file gets a line of it now and then.

    Args:
        unit: what is counted, such as "problems".
        shown: False on processes but the main one.
    """
    from tqdm import tqdm

    interval = 0.5 if sys.stderr.isatty() else 20
    return tqdm(total=total, initial=done, desc=name, unit=f" {unit}", disable=not shown, mininterval=interval)
