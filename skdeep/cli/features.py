"""Features of all pictures in a folder, into one file."""

import os
import sys
import time
from pathlib import Path

import numpy as np

from .preparation import preprocessing_for

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def pictures_in(folder):
    """Files that look like pictures, in all folders below, in order."""
    folder = Path(folder)
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def extract(folder, output, model, weights, layers, precision, given):
    """Write features, file names and names of folders to an ``.npz`` file.

    Parameters
    ----------
    folder, output : path
    model, weights : str
    layers : list of str
    precision : str or None
    given : dict
        Fields of Preprocessing that the command line gives.

    Returns
    -------
    int
        Exit status: 0; 1 when there is nothing to read, nothing could be read, or the features
        cannot be written.
    """
    from ..features import ImageFeatures

    if not os.path.isdir(folder):
        print(f"python -m skdeep: there is no folder {folder!r}.", file=sys.stderr)
        return 1
    files = pictures_in(folder)
    if not files:
        print(f"There are no pictures in {folder} ({', '.join(SUFFIXES)}).", file=sys.stderr)
        return 1
    output = Path(output)
    if output.is_dir() or not output.parent.is_dir():
        wrong = "is a folder" if output.is_dir() else "is in a folder that is not there"
        print(f"python -m skdeep: {str(output)!r} {wrong}; name a file.", file=sys.stderr)
        return 1
    transformer = ImageFeatures(
        model, layers, weights=weights, precision=precision, on_error="nan", verbose=1
    )
    try:
        transformer.preprocessing = preprocessing_for(model, weights, given)
        transformer.fit()
        begin = time.perf_counter()
        features = transformer.transform(files)
        took = time.perf_counter() - begin
        names = [p.relative_to(folder).as_posix() for p in files]
        write_npz(
            output,
            features=features,
            files=np.array(names),
            labels=np.array([n.rpartition("/")[0] for n in names]),
            feature_names=transformer.get_feature_names_out().astype(str),
        )
    except (OSError, ValueError, ImportError) as error:
        print(f"python -m skdeep: {error}", file=sys.stderr)
        return 1
    print(f"Pictures went through {transformer.preprocessing}.")
    bad = int(np.isnan(features).all(axis=1).sum())
    print(
        f"{len(files)} pictures, {features.shape[1]} features each, in {took:.1f} s "
        f"({len(files) / took:.0f} a second); written to {output}."
        + (f" {bad} could not be read and are NaN." if bad else "")
    )
    return 1 if bad == len(files) else 0


def write_npz(path, **arrays):
    """Write arrays so that the file is there whole, or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            np.savez(file, **arrays)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
