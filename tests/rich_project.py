"""Logs runs of every kind to a W&B server, with the real client and as users do.

Usage: python rich_project.py FOLDER    (the server is in the environment; FOLDER is for inputs)
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import wandb

PROJECT, OTHER = "rich", "data"
HOSTILE = 'quote " slash / back \\ dot . newline \n tab \t emoji 🎉'

LARGE = 2**53 + 1
"""No double can stand for it."""


def begun(run_id: str, *, console: bool = False, stats: bool = False, **init: Any) -> Any:
    settings = wandb.Settings(
        console="wrap" if console else "off",
        x_disable_stats=not stats,
        x_stats_sampling_interval=0.2,
    )
    given = {"project": PROJECT, "id": run_id, "name": run_id, "settings": settings, **init}
    return wandb.init(**given)


def log_everything() -> None:
    """Values of every kind, config, summary, labels."""
    config = {
        "lr": 0.001,
        "whole": 2.0,
        "tiny": 5e-324,
        "on": True,
        "nothing": None,
        "text": "größe\r\nsecond line",
        "number text": "1e3",
        "empty": {"text": "", "list": [], "dict": {}},
        "layers": [64, [16, {"act": "relu"}]],
        "optimizer": {"name": "adam", "betas": [0.9, 0.999], "nested": {"deep": {"er": 1}}},
        "dotted.key": "dot",
        "dotted": {"key": "nested"},
        HOSTILE: HOSTILE,
        "long": "x" * 3000,
    }
    with begun(
        "values",
        name="values, ünïcode 🎉",
        config=config,
        tags=["baseline", "tag with space", "größe"],
        notes='first line\nsecond "line"',
        group="group a",
        job_type="train",
    ) as run:
        run.define_metric("epoch", hidden=True)
        run.define_metric("loss", step_metric="epoch", summary="min")
        run.define_metric("val/*", step_metric="epoch")
        run.define_metric("goal", summary="max,mean,last")
        run.log({"loss": 1.5, "epoch": 0, "int": 1, "on": True, "text": "first", "goal": 1})
        run.log({"loss": math.nan, "acc": math.inf, "train/f1 score": -math.inf, "epoch": 1})
        run.log({"nested": {"a": {"b": 1, "c": [1, 2, None]}, "d": "x"}, "loss": -0.0})
        run.log({"a/b": 1.0, "a_b": 2.0, "größe": 4.0, "numpy": np.float32(0.1)})
        run.log({"mixed": "text", "val/loss": 2.0, "numpy int": np.int64(2**40)})
        run.log({"mixed": [1, {"a": "b"}], "val/loss": 1.0})
        run.log({"mixed": 1, "larger": 2**70, "whole": 1e15})
        run.log({"loss": 0.5}, step=20)
        run.log({"loss": 0.25, "list": [1, 2.5, "three", None]}, step=1_000)
        run.log({"loss": 1e-320, "far": 1.7976931348623157e308}, step=123_456_789, commit=True)
        run.summary["best"] = {"loss": 0.25, "at": {"step": 1_000}}
        run.summary["note"] = "by hand"
        run.summary.update({"loss": 0.125, "gone": None, "infinite": math.inf})
        run.config.update({"lr": 0.01, "added": [1, 2.5, "three"]}, allow_val_change=True)


def log_odd_values() -> None:
    """Values that a server's pages do not show as they were logged."""
    config = {"seed": LARGE, "layers": [{"bias": None}, {}], "nothing": {"at": {"all": {}}}}
    with begun("odd", config=config) as run:
        run.log({"a.b": 3.0, HOSTILE: 5.0, "a": {"b": 6, "c.d": 7}, "": 8})
        run.log({"large": LARGE, "larger": 2**70, "list": [LARGE, {"bias": None}]})
        run.log({"large": 3, "none": None, "NaN text": "NaN", "{}": {}, "[]": []})
        run.summary["seed"] = LARGE


def log_media(folder: Path) -> None:
    """Images, tables, histograms and pages; files of the run itself."""
    from PIL import Image

    for number in range(3):
        pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3) + number
        Image.fromarray(pixels).save(folder / f"image {number}.png")
    (folder / "nested").mkdir()
    (folder / "nested" / "weights ü.bin").write_bytes(bytes(range(256)) * 4)
    (folder / "nested" / "empty.txt").write_bytes(b"")
    with begun("media") as run:
        for number in range(2):
            image = wandb.Image(str(folder / f"image {number}.png"), caption=f"caption {number}")
            run.log({"image": image, "loss": 1.0 - number})
        run.log({"images": [wandb.Image(str(folder / f"image {n}.png")) for n in (1, 2)]})
        rows = [[1, "a", 0.5], [2, "größe\n", None], [3, "", -1.0]]
        run.log({"table": wandb.Table(columns=["id", "text", "score"], data=rows)})
        run.log({"histogram": wandb.Histogram([1, 2, 2, 3])})
        run.log({"page": wandb.Html("<p>größe</p>", inject=False)})
        points = wandb.Table(columns=["x", "y"], data=[[0, 1.0], [1, 0.5]])
        run.log({"chart": wandb.plot.line(points, "x", "y", title="a line")})
        run.save(str(folder / "nested" / "*"), base_path=str(folder))
        Path(run.dir, "written.json").write_text(json.dumps({"written": True}))


def artifact(name: str, kind: str, content: bytes, **facts: Any) -> Any:
    made = wandb.Artifact(name, type=kind, **facts)
    with made.new_file("data/content.bin", mode="wb") as out:
        out.write(content)
    return made


def log_artifacts(folder: Path) -> None:
    """Several versions of several collections, with references, aliases and labels."""
    (folder / "a.txt").write_bytes("größe\r\n".encode())
    with begun("artifacts") as run:
        for version in range(3):
            metadata = {"rows": version, "nested": {"größe": [1, None, 2.5]}}
            corpus = artifact(
                "corpus", "dataset", b"%d" % version, description="of\nmany", metadata=metadata
            )
            corpus.add_file(str(folder / "a.txt"), name="größe/a b.txt")
            corpus.add_reference("http://127.0.0.1:9/object.bin", "ref/object.bin", checksum=False)
            corpus.add_reference(f"file://{folder}/a.txt", name="ref/a.txt")
            aliases = [["base"], ["middle", "größe"], ["latest", "best"]][version]
            run.log_artifact(corpus, aliases=aliases, tags=[f"tag {version}"]).wait()
        run.log_artifact(artifact("weights", "model", b"w")).wait()
        run.log_artifact(wandb.Artifact("nothing", type="dataset")).wait()
    with begun("elsewhere", project=OTHER) as run:
        run.log_artifact(artifact("corpus", "dataset", b"another")).wait()


def use_artifacts() -> None:
    """What others have logged, in this project and in another; and a version of their own."""
    with begun("user") as run:
        run.use_artifact("corpus:v1").wait()
        run.use_artifact("weights:latest").wait()
        run.use_artifact(f"{OTHER}/corpus:v0").wait()
        run.log_artifact(artifact("corpus", "dataset", b"by another run"), aliases=["v-user"])
        run.log_artifact(artifact("weights", "model", b"w"), aliases=["again"]).wait()
        run.log({"used": 3})


def log_states() -> None:
    """Runs that ended in every way; and one that never logged anything."""
    with begun("empty"):
        pass
    run = begun("failed", config={"lr": 1.0})
    run.log({"loss": 1.0})
    run.finish(exit_code=3)
    for part in range(2):
        with begun("resumed", resume="allow", config={f"part {part}": part}) as run:
            for step in range(3):
                run.log({"loss": 1.0 / (step + 1 + 3 * part)})
    with begun("swept", settings=wandb.Settings(sweep_id="sweep001", console="off")) as run:
        run.log({"loss": 1.0})
    with begun("id with space ü.v1", name="odd id") as run:
        run.log({"loss": 1.0})


def log_console() -> None:
    """What is printed, what the machine did meanwhile, and alerts."""
    with begun("console", console=True, stats=True) as run:
        print("plain line")
        for done in range(0, 101, 25):
            print(f"\rprogress {done:3d}%", end="")
        print("\n\x1b[32mgreen\x1b[0m größe 🎉\n\ntwo", file=sys.stdout)
        print("to stderr", file=sys.stderr)
        print("no end", end="")
        run.alert("Low accuracy", "Accuracy 0.1 < 0.5\nlook", wandb.AlertLevel.WARN)
        run.log({"loss": 1.0})
        time.sleep(1.5)  # for some samples


def main(folder: Path) -> None:
    log_everything()
    log_odd_values()
    log_media(folder)
    log_artifacts(folder)
    use_artifacts()
    log_states()
    log_console()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
