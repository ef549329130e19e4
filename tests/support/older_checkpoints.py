"""The layouts in which versions of PaddleNLP have saved a model's configuration."""

from __future__ import annotations

import json
from pathlib import Path

LAYOUTS = ("config.json", "model_config.json", "model_config.json, nested")


def write_layout(folder: Path, layout: str) -> None:
    """Rewrite the `config.json` that PaddleNLP 2.8.1 wrote into `folder` in another layout.

    Before 2.5 the arguments of the inner model were in the `init_args` of the outer one.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if layout == "config.json":
        return
    (folder / "config.json").unlink()
    if layout.endswith("nested"):
        dropped = {"architectures", "model_type", "paddlenlp_version", "dtype"}
        inner = {key: value for key, value in config.items() if key not in dropped}
        inner["init_class"] = "UNIMOModel"
        config = {"init_args": [inner], "init_class": "UNIMOLMHeadModel"}
    (folder / "model_config.json").write_text(json.dumps(config), encoding="utf-8")
