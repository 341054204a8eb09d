"""How other libraries, and older files, call the weights of networks that torchvision has, too.

A naming turns a state dict into one under torchvision's names, or gives None when a name in it is
not of the kind it knows.
"""

import re

__all__ = ["Naming", "densenet_2017"]


class Naming:
    """Names by rules: the first regular expression that matches a whole name gives the new one.

    Parameters
    ----------
    mark : str
        Regular expression for a name that only this library's files have.
    rules : tuple of (str, str)
        Regular expressions and what they are replaced with. A name that none of them matches
        stays as it is.
    """

    def __init__(self, mark, *rules):
        self.mark = mark
        self.rules = rules

    def name(self, theirs):
        """torchvision's name."""
        for pattern, replacement in self.rules:
            found = re.fullmatch(pattern, theirs)
            if found:
                return found.expand(replacement)
        return theirs

    def __call__(self, state):
        """The same arrays under torchvision's names, or None without the mark."""
        if not any(re.search(self.mark, key) for key in state):
            return None
        return {self.name(key): array for key, array in state.items()}


# Files of torchvision's own, written before names of modules could not hold dots.
densenet_2017 = Naming(
    r"denselayer\d+\.(norm|conv)\.\d",
    (r"(.*denselayer\d+\.(?:norm|conv))\.(\d\..*)", r"\1\2"),
)
