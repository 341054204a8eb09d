"""
Pictures out of random numbers
==============================

Networks can learn what edges, shapes, textures and shades are from pictures that nobody took. The
generator draws five kinds of them and mixes of two. Picture number i depends on the seed and on i
alone, so that nothing has to be kept: any batch can be made again, in any order.
"""

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

from skdeep.datasets import PictureGenerator, make_pictures, make_textures

KINDS = ("dead_leaves", "noise", "fractals", "contours", "strokes", "glyphs")
COLUMNS = 12


def sheet(pictures, columns=COLUMNS, gap=2):
    """Pictures side by side, in rows, as one."""
    n, size = pictures.shape[:2]
    framed = np.full((n, size + gap, size + gap, 3), 255, np.uint8)
    framed[:, :size, :size] = pictures
    framed = framed.reshape(n // columns, columns, size + gap, size + gap, 3)
    return framed.swapaxes(1, 2).reshape(n // columns * (size + gap), -1, 3)


# %%
# One kind per row, and mixes below. Leaves come in all sizes, with many small ones, as things do in
# photographs; noise is rough, smooth, streaky or ridged; fractals, contours and strokes lie on a
# ground of noise.
rows = {kind: make_pictures(COLUMNS, kinds=kind, mix=0, random_state=1) for kind in KINDS}
rows["mixes of two"] = make_pictures(COLUMNS, mix=1, random_state=1)

fig, axes = plt.subplots(len(rows), figsize=(10, 5.6), layout="constrained")
for ax, (name, pictures) in zip(axes, rows.items()):
    ax.imshow(sheet(pictures))
    ax.set_ylabel(name, rotation=0, ha="right", va="center")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
plt.show()

# %%
# The generator is fast enough to feed a training that never sees a picture twice.
generator = PictureGenerator(64, random_state=0)
generator.batch(0, 8)
begin = time.perf_counter()
batch = generator.batch(1_000_000, 512)
print(f"{len(batch) / (time.perf_counter() - begin):.0f} pictures of 64 x 64 pixels a second")
again = generator.batch(1_000_100, 1)
print(f"number 1 000 100 made alone is the same: {(again[0] == batch[100]).all()}")

# %%
# At 192 pixels there is more to see.
fig, ax = plt.subplots(figsize=(10, 5), layout="constrained")
ax.imshow(sheet(make_pictures(18, 192, random_state=5), columns=6))
ax.set_axis_off()
plt.show()

# %%
# Textures with labels are of other families, so that features which learnt from the pictures above
# can be measured on something new: a class per column, with colours that say nothing about it.
X, y = make_textures(15, 4, random_state=0)
fig, ax = plt.subplots(figsize=(10, 3), layout="constrained")
ax.imshow(sheet(X, columns=15))
ax.set_axis_off()
plt.show()
print(f"{len(X)} textures of {len(set(y))} classes")
