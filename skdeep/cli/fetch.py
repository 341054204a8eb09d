"""Getting weights ahead of time."""

import sys


def fetch_weights(name=None, weights=None, home=None):
    """Get the weights of a network, or list those there are.

    Parameters
    ----------
    name : str or None
        Of a network; None: list.
    weights : str or None
        A tag; None: the default.
    home : str or None
        Where to keep them; None: ``SKDEEP_HOME``, else ``~/skdeep_data``.

    Returns
    -------
    int
        Exit status: 0, or 1 when they cannot be had.
    """
    from ..features import fetch, find_network, find_weights

    if name is None:
        return _list()
    try:
        find_network(name)  # says which there are
        record = find_weights(name, weights or "default")
        path = fetch(record, home=home, progress=True)
    except (OSError, ValueError) as error:
        print(f"python -m skdeep fetch: {error}", file=sys.stderr)
        return 1
    print(path)
    print(f"{record.source}; licence: {record.licence}", file=sys.stderr)
    return 0


def _list():
    from ..features import list_weights

    print(f"{'network':20s}{'tag':10s}{'MB':>7s}  {'score':22s}source; licence")
    for r in list_weights():
        score = next((f"{name} {value:g}" for name, value in r.metrics.items()), "")
        size = f"{r.size / 1e6:.0f}" if r.url or r.path else "none"
        print(f"{r.network:20s}{r.tag:10s}{size:>7s}  {score:22s}{r.source}; {r.licence}")
    return 0
