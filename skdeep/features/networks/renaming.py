"""Tables that turn the names of one library's state dicts into those of another's."""

import re

import numpy as np

__all__ = ["Renaming"]

SPLIT = re.compile(r"#([012])")  # in a new name: a third of the array of the name without it


class Renaming:
    """A translation of state dicts: called with one, it gives another, or None if it isn't its.

    Parameters
    ----------
    mark : str
        Pattern that a key matches in the state dicts that this is for, and in no other's.
    *rules : (str, str) or (str, str, callable)
        A pattern, what stands in its place, and what is to be done with the array. They are tried
        in order, each on what the ones before it left, so that prefixes can go first. Arrays of
        the new names "a#0", "a#1" and "a#2" become one array of the name "a", one above the other:
        separate queries, keys and values.
    dropped : str, default="$^"
        Pattern of keys that no prediction needs.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.features.networks.renaming import Renaming
    >>> naming = Renaming("^theirs", ("^theirs", "ours"), dropped="_counter$")
    >>> naming({"theirs.weight": np.zeros(2), "theirs_counter": np.zeros(1)})
    {'ours.weight': array([0., 0.])}
    """

    def __init__(self, mark, *rules, dropped="$^"):
        self.mark = re.compile(mark)
        self.rules = [(re.compile(old), new, *change) for old, new, *change in rules]
        self.dropped = re.compile(dropped)

    def __call__(self, state):
        if not any(self.mark.search(key) for key in state):
            return None
        renamed, parts = {}, {}
        for key, array in state.items():
            if self.dropped.search(key):
                continue
            for old, new, *change in self.rules:
                key, count = old.subn(new, key)
                if count and change:
                    array = change[0](np.asarray(array))
            part = SPLIT.search(key)
            if part:
                whole = SPLIT.sub("", key)
                parts.setdefault(whole, {})[part[1]] = array
            else:
                renamed[key] = array
        for key, thirds in parts.items():
            if len(thirds) == 3:
                renamed[key] = np.concatenate([np.asarray(thirds[k]) for k in "012"])
        return renamed
