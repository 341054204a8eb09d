"""Writes the .pth files beside it: python make.py, with PyTorch installed."""

import sys
from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from torch_files import recorded  # noqa: E402

state = OrderedDict((name, torch.tensor(array)) for name, array in recorded().items())
state["transposed"] = torch.tensor(recorded()["transposed"].T.copy()).T
state["channels_last"] = state["channels_last"].contiguous(memory_format=torch.channels_last)
state["part"] = state["conv.weight"].view(-1)[7:11]
state["bfloat16"] = state["bfloat16"].bfloat16()
state["parameter"] = torch.nn.Parameter(state["parameter"])
state._metadata = {"": {"version": 1}}  # as state_dict() has it
torch.save(state, HERE / "zip.pth")
checkpoint = {
    "state_dict": {f"module.{name}": value for name, value in state.items()},
    "epoch": 3,
    "arch": "tiny",
}
torch.save(checkpoint, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
torch.save(torch.nn.Linear(2, 2), HERE / "module.pth")
torch.jit.save(torch.jit.script(torch.nn.ReLU()), HERE / "script.pth")
