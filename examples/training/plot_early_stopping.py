"""
Early stopping on your own validation data
==========================================

Demand is forecast from the calendar and the weather. A random part of the past makes a poor
validation set for that: the last weeks make a better one. They go through the pipeline as
``X_val``, are scaled like ``X``, and end the training when they stop improving.
"""

# %%
# Two years of days: season, weekday, temperature, and a demand that reacts to them.
import matplotlib.pyplot as plt
import numpy as np
import sklearn
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skdeep import NeuralNetRegressor
from skdeep.layers import Dense
from skdeep.training import Adam, Callback, EarlyStopping

rng = np.random.default_rng(0)
day = np.arange(730)
season = 2 * np.pi * day / 365.25
temperature = 11 - 9 * np.cos(season) + rng.normal(0, 3, len(day))
weekend = day % 7 >= 5
demand = (
    1.2 * np.maximum(15 - temperature, 0)
    + 0.8 * np.maximum(temperature - 22, 0)
    - 4 * weekend * (temperature < 15)
    + rng.normal(0, 1.5, len(day))
) / 10  # fmt: skip
noise = rng.normal(size=(len(day), 6))  # what else was recorded, and does not matter
X = np.column_stack([np.sin(season), np.cos(season), temperature, weekend, noise])
past, recent, future = slice(0, 500), slice(500, 600), slice(600, 730)


# %%
# A callback sees every epoch's record, and may add to it: it is the entry in ``history_``.
class Gap(Callback):
    """Record how far validation lags behind training."""

    def on_epoch_end(self, net, *, record, **kwargs):
        """Add one number to the record; returning None goes on."""
        record["gap"] = record["valid_loss"] - record["train_loss"]


# %%
# Metadata routing carries the validation data to the network; ``transform_input`` has the steps
# before it transform ``X_val`` as well.
with sklearn.config_context(enable_metadata_routing=True):
    net = NeuralNetRegressor(
        [Dense(64, activation="relu"), Dense(64, activation="relu")],
        optimizer=Adam(learning_rate=1e-3),
        batch_size=32,
        max_epochs=200,
        callbacks=[Gap(), EarlyStopping("valid_loss", patience=25)],
        random_state=0,
        n_threads=1,
    ).set_fit_request(X_val=True, y_val=True)
    pipe = Pipeline([("scale", StandardScaler()), ("net", net)], transform_input=["X_val"])
    pipe.fit(X[past], demand[past], X_val=X[recent], y_val=demand[recent])
    endless = sklearn.clone(pipe).set_params(net__callbacks=[Gap()])
    endless.fit(X[past], demand[past], X_val=X[recent], y_val=demand[recent])

stopping = pipe["net"].callbacks_[1]
print(f"stopped after epoch {pipe['net'].n_iter_}, best epoch {stopping.best_epoch_}")
print(f"validation lags by {pipe['net'].history_[-1]['gap']:.3f} in the end")
print(f"R2 on later days, stopped early: {pipe.score(X[future], demand[future]):.3f}")
print(f"R2 on later days, 200 epochs:    {endless.score(X[future], demand[future]):.3f}")

# %%
history = endless["net"].history_
epochs = [r["epoch"] for r in history]
fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
for key in ("train_loss", "valid_loss"):
    ax.plot(epochs, [r[key] for r in history], label=key)
ax.axvline(stopping.best_epoch_, color="k", ls="--", label="weights kept by early stopping")
ax.set(xlabel="epoch", ylabel="squared error", yscale="log", ylim=(3e-3, None))
ax.legend()
plt.show()
