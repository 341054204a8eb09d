"""From a picture to what a network takes, on one core: decode, resize, crop, normalise.

The shorter side becomes 256 pixels, bilinear and antialiased, of which 224 x 224 are kept and
normalised as float32. JPEG files (quality 90, of a photograph that comes with scikit-learn) lie in
memory; for arrays nothing is decoded. Pillow's result is normalised with NumPy; skdeep's levels are
the same, bit for bit. OpenCV's INTER_AREA averages over boxes, which is another filter: its figures
say what that costs, not that it could take the place. torchvision is its path over uint8 tensors,
whose levels may differ from Pillow's by one.
"""

import io
import sys
import time

import common

NAME = "preprocessing"
SIZES = [(500, 375), (1920, 1080)]
SHORT, CROP = 256, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BLOCK = 0.25  # seconds of one measurement, about


def photograph(size):
    """A photograph of a given width and height, and its JPEG file."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    image = Image.fromarray(load_sample_image("china.jpg"))
    image = image.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return image, file.getvalue()


def milliseconds(action):
    """Shortest time of one call, among as many as fit a short while."""
    best, stop = float("inf"), time.perf_counter() + BLOCK
    while time.perf_counter() < stop:
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return 1e3 * best


def resized_size(width, height):
    """Width and height with the shorter side as wanted."""
    scale = SHORT / min(width, height)
    return int(width * scale), int(height * scale)


def middle(have):
    """First row or column of the crop."""
    return int(round((have - CROP) / 2.0))


def normaliser():
    """A function that normalises a crop, whole rows at a time: NumPy is slow along short axes."""
    import numpy as np

    factor = np.tile(1 / (255 * np.array(STD)), CROP).astype(np.float32)
    shift = np.tile(-np.array(MEAN) / np.array(STD), CROP).astype(np.float32)

    def normalise(x):
        y = np.multiply(x.reshape(CROP, -1), factor)
        y += shift
        return y.reshape(CROP, CROP, 3)

    return normalise


def pillow_path(data, array):
    """Decode with Pillow unless there is an array; resize and crop with it, normalise by NumPy."""
    import numpy as np
    from PIL import Image

    normalise = normaliser()

    def run():
        image = Image.open(io.BytesIO(data)) if array is None else Image.fromarray(array)
        image = image.resize(resized_size(*image.size), Image.Resampling.BILINEAR)
        left, top = middle(image.width), middle(image.height)
        image = image.crop((left, top, left + CROP, top + CROP))
        return normalise(np.asarray(image))

    return run


def skdeep_path(data, array):
    """skdeep, as the streaming loader does it."""
    import numpy as np

    from skdeep.features import Pictures, Preprocessing

    preprocessing, out = Preprocessing(SHORT, CROP), np.empty((CROP, CROP, 3), np.float32)
    pictures = Pictures([data if array is None else array])

    def run():
        preprocessing.write(pictures.load(0), out)
        return out

    return run


def opencv_path(data, array):
    """OpenCV, with averages over boxes."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    normalise = normaliser()
    encoded = np.frombuffer(data, np.uint8)

    def run():
        x = array
        if x is None:
            x = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
        x = cv2.resize(x, resized_size(x.shape[1], x.shape[0]), interpolation=cv2.INTER_AREA)
        top, left = middle(x.shape[0]), middle(x.shape[1])
        return normalise(np.ascontiguousarray(x[top : top + CROP, left : left + CROP]))

    return run


def torchvision_path(data, array):
    """Pillow decodes; torchvision resizes, crops and normalises tensors."""
    import numpy as np
    import torch
    from PIL import Image
    from torchvision.transforms import functional

    torch.set_num_threads(1)

    def run():
        x = np.array(Image.open(io.BytesIO(data))) if array is None else array
        x = torch.from_numpy(x).permute(2, 0, 1)
        x = functional.resize(x, SHORT, antialias=True)
        x = functional.center_crop(x, CROP)
        return functional.normalize(x.float().div_(255), MEAN, STD, inplace=True)

    return run


def available():
    """Contenders by name; peers that cannot be imported are left out."""
    from importlib import import_module

    paths = {common.SKDEEP: skdeep_path, "Pillow and NumPy": pillow_path}
    others = {
        "cv2": ("OpenCV INTER_AREA", opencv_path),
        "torchvision": ("torchvision", torchvision_path),
    }
    for module, (name, path) in others.items():
        try:
            import_module(module)
        except (ImportError, RuntimeError) as error:  # a torchvision for another torch
            print(f"  {module} is left out: {error}", file=sys.stderr)
        else:
            paths[name] = path
    return paths


def measure(context):
    """A file and an array of each size."""
    import numpy as np

    rows, paths = [], available()
    for size in SIZES[:1] if context.quick else SIZES:
        image, data = photograph(size)
        for kind, array in (("JPEG file", None), ("array", np.array(image))):
            runs = {name: path(data, array) for name, path in paths.items()}
            same = runs[common.SKDEEP](), runs["Pillow and NumPy"]()
            np.testing.assert_allclose(*same, atol=1e-6)
            contenders = {name: lambda run=run: milliseconds(run) for name, run in runs.items()}
            measured = common.alternate(context.wanted(contenders), context.repetitions)
            title = f"{kind}, {size[0]} x {size[1]}"
            rows += common.compare(title, "ms", measured, targets={"Pillow and NumPy": 1.0})
    return rows


if __name__ == "__main__":
    common.main(NAME, __doc__, measure)
