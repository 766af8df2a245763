"""Runs pyreft itself, for test_pyreft.py: in a process of its own, since it needs stand-ins for what pyreft and pyvene
import and do not use here (plots, data sets, logging services).

  pyreft_peer.py WHEELS write MODEL FOLDER   saves a folder for each case, with random numbers, and its logits
  pyreft_peer.py WHEELS run MODEL FOLDER     the logits of folders that are there

WHEELS: a folder with pyreft-0.1.0 and pyvene-0.1.8, which Python imports from as they are. FOLDER: with inputs.npz
(input_ids); gets CASE/ and CASE.npy.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

LAYERS, RANK = (0, 2), 3
# The class, its own arguments, and the tokens of 7 at which each intervention acts: with labels for the last one f2+l2
# are 0, 1 and 4, 5.
CASES: dict[str, tuple[str, dict[str, Any], list[list[int]]]] = {
    "loreft": ("LoreftIntervention", {}, [[0, 1], [4, 5]]),
    "noreft": ("NoreftIntervention", {"add_bias": True}, [list(range(7))]),
    "direft": ("DireftIntervention", {}, [list(range(7))]),
    "nodireft": ("NodireftIntervention", {"add_bias": False}, [list(range(7))]),
}


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules that are not installed, any name of which is an empty class."""

    NAMES = (
        "accelerate",
        "datasets",
        "evaluate",
        "ipywidgets",
        "matplotlib",
        "nnsight",
        "plotnine",
        "seaborn",
        "wandb",
    )

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return importlib.machinery.ModuleSpec(name, self) if name.partition(".")[0] in self.NAMES else None

    def create_module(self, spec: Any) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__path__ = []

        def anything(name: str) -> type:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

        module.__getattr__ = anything  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def main() -> None:
    wheels, action, path, folder = Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
    # Behind what is installed.
    sys.meta_path.append(StandIns())
    sys.path += [str(next(wheels.glob(f"{name}-*.whl"))) for name in ("pyvene", "pyreft")]
    import pyreft

    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    ids = torch.from_numpy(np.load(folder / "inputs.npz")["input_ids"]).long()
    torch.manual_seed(0)
    for case in CASES if action == "write" else [each.name for each in folder.iterdir() if each.is_dir()]:
        kind, own, tokens = CASES[case]
        count = len(LAYERS) * len(tokens)
        if action == "run" and kind == "LoreftIntervention":
            # Its own reader takes the folder; what it makes is bf16, which a model in f32 cannot run.
            pyreft.ReftModel.load(str(folder / case), model)
        arguments = {"embed_dim": model.config.hidden_size, "low_rank_dimension": RANK, "dtype": torch.float32}
        made = [getattr(pyreft, kind)(**arguments, **own) for _ in range(count)]
        representations = [
            {"layer": layer, "component": "block_output", "low_rank_dimension": RANK, "intervention": each}
            for layer, each in zip(LAYERS * len(tokens), made, strict=True)
        ]
        reft = pyreft.get_reft_model(model, pyreft.ReftConfig(representations=representations))
        if action == "write":
            reft.save(str(folder / case))
        else:
            names = json.loads((folder / case / "config.json").read_text())["sorted_keys"]
            assert names == list(reft.interventions)
            for name, each in reft.interventions.items():
                each.load_state_dict(torch.load(folder / case / f"intkey_{name}.bin", weights_only=True))
        places = [[each] * len(ids) for each in tokens for _ in LAYERS]
        with torch.no_grad():
            _, output = reft({"input_ids": ids}, unit_locations={"sources->base": (None, places)})
        np.save(folder / f"{case}.npy", output.logits.numpy())


if __name__ == "__main__":
    main()
