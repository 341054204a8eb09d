"""A line that fills up while something long is running."""

import sys
from contextlib import contextmanager


@contextmanager
def counting(total, unit, shown=True):
    """A function to call with how many more are done; fills a bar if ``shown``."""
    if not shown:
        yield lambda n: None
        return
    bar = progress_bar(total, unit)
    try:
        yield bar.update
    finally:
        bar.close()


def progress_bar(total, unit, file=None):
    """tqdm's bar where that is installed, else a plain one.

    Parameters
    ----------
    total : int
    unit : str
        What is counted, in the singular.
    file : object with ``write``, default=None
        None: standard error.

    Returns
    -------
    object with ``update(n)``, ``set_postfix(values, refresh)`` and ``close()``
    """
    file = sys.stderr if file is None else file
    try:
        from tqdm import tqdm
    except ImportError:
        return PlainBar(total, unit, file)
    return tqdm(total=total, unit=unit, file=file)


class PlainBar:
    """What is shown without tqdm."""

    WIDTH = 30

    def __init__(self, total, unit, file):
        self.total, self.unit, self.file = max(total, 1), unit, file
        self.done, self.text = 0, ""

    def set_postfix(self, values, refresh=True):
        """Numbers shown after the bar, by name."""
        self.text = ", ".join(f"{k}={v}" for k, v in values.items())

    def update(self, n):
        """Count n more."""
        self.done += n
        full = self.WIDTH * self.done // self.total
        bar = "#" * full + "." * (self.WIDTH - full)
        self.file.write(f"\r[{bar}] {self.done}/{self.total} {self.unit}s {self.text}")

    def close(self):
        """End the line."""
        self.file.write("\n")
