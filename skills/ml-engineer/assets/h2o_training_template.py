# /// script
# requires-python = ">=3.11"
# dependencies = ["h2o==3.46.0.11", "pandas"]
# ///
"""Train a model by H2O AutoML over algorithms that cenote scores, and leave behind everything that serving needs.

Into OUTPUT go: model.zip (MOJO), golden_input.csv and golden_expected.csv (rows with H2O's own scores), model_card.md, metrics.json.
Nothing is pickled. AutoML searches GBM, DRF (with XRT) and GLM alone, for those are the MOJOs that cenote reads: no XGBoost, no deep
learning, no stacked ensembles. Afterwards, in an environment with cenote:

    python scripts/sign_model.py OUTPUT/model.zip --sign release.private.pem --name flight-delay --model-version 1
    REGISTRY_DSN=... python assets/register_model.py OUTPUT --name flight-delay --view view.json --public-key release.public.pem
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import socket
import tempfile
from pathlib import Path

import h2o
from h2o.automl import H2OAutoML

# AutoML's families whose MOJOs cenote reads. Stacked ensembles, deep learning and XGBoost are left out.
ALGORITHMS = ["GBM", "DRF", "GLM"]
GOLDEN_ROWS = 200


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="CSV or Parquet: one row an example, features as the view delivers them")
    parser.add_argument("--target", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--features", help="comma-separated; default: all but the target, --time-column and --drop")
    parser.add_argument(
        "--drop", default="", help="comma-separated columns that must not be used (keys, anything known only later)"
    )
    parser.add_argument("--time-column", help="split by it: the last part of the time is the test set; else at random")
    parser.add_argument("--classification", action="store_true", help="treat the target as a class")
    parser.add_argument("--max-models", type=int, default=10)
    parser.add_argument("--max-runtime", type=int, default=600, help="seconds")
    parser.add_argument("--test-share", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=-1)
    parser.add_argument("--memory", default="4G")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    # A port of its own: on the default one h2o.init would join whatever cluster is there, and train on it.
    h2o.init(port=free_port(), nthreads=args.threads, max_mem_size=args.memory, strict_version_check=True)
    h2o.no_progress()
    frame = h2o.import_file(args.train)
    if args.target not in frame.columns:
        raise SystemExit(f"{args.target!r} is not a column; there are: {', '.join(frame.columns)}")
    dropped = {args.target, args.time_column, *filter(None, args.drop.split(","))}
    features = args.features.split(",") if args.features else [c for c in frame.columns if c not in dropped]
    for name in features:
        if frame[name].types[name] == "string":
            frame[name] = frame[name].asfactor()
    if args.classification:
        frame[args.target] = frame[args.target].asfactor()
    frame = frame[frame[args.target].isna() == 0, :]
    train, test = split(frame, args)

    search = H2OAutoML(
        max_models=args.max_models,
        max_runtime_secs=args.max_runtime,
        seed=args.seed,
        include_algos=ALGORITHMS,
        sort_metric="AUTO",
    )
    search.train(x=features, y=args.target, training_frame=train, leaderboard_frame=test)
    if search.leader is None:
        raise SystemExit("no model was trained: more time or rows are needed")
    publish(search, test, features, args)


def free_port() -> int:
    """A port that is free now, and the next one too: H2O takes both."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def split(frame: h2o.H2OFrame, args: argparse.Namespace) -> tuple[h2o.H2OFrame, h2o.H2OFrame]:
    """By time where there is a time: a random split lets a model see the future of its test rows."""
    if args.time_column:
        ordered = frame.sort(args.time_column)
        cut = int(ordered.nrow * (1 - args.test_share))
        return ordered[:cut, :], ordered[cut:, :]
    train, test = frame.split_frame([1 - args.test_share], seed=args.seed)
    return train, test


def publish(search: H2OAutoML, test: h2o.H2OFrame, features: list[str], args: argparse.Namespace) -> None:
    model = search.leader
    args.output.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=args.output.parent, prefix=".training-"))
    try:
        mojo = work / "model.zip"
        model.download_mojo(str(mojo))
        rows = test[: min(GOLDEN_ROWS, test.nrow), :]
        expected = model.predict(rows)
        rows[features].as_data_frame(use_multi_thread=False).to_csv(work / "golden_input.csv", index=False)
        expected.as_data_frame(use_multi_thread=False).to_csv(work / "golden_expected.csv", index=False)
        performance = model.model_performance(test)
        names = ("auc", "logloss", "rmse", "mae", "r2", "mean_per_class_error")
        metrics = {}
        for name in names:
            try:
                value = getattr(performance, name)()
                metrics[name] = float(value if not isinstance(value, list) else value[0][1])
            except (AttributeError, TypeError, KeyError, IndexError, ValueError):
                continue
        record = {"algorithm": model.algo, "model_id": model.model_id, "h2o_version": h2o.__version__, "sha256": hashlib.sha256(mojo.read_bytes()).hexdigest(),
                  "searched": ALGORITHMS, "target": args.target, "features": features, "test_rows": test.nrow, "metrics": metrics, "seed": args.seed}  # fmt: skip
        (work / "metrics.json").write_text(json.dumps(record, indent=2) + "\n")
        (work / "model_card.md").write_text(card(record, search, args))
        if args.output.exists():
            raise SystemExit(f"{args.output} exists: a published model is never overwritten")
        work.chmod(0o755)
        work.rename(args.output)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps(record["metrics"]))


def card(record: dict, search: H2OAutoML, args: argparse.Namespace) -> str:
    board = search.leaderboard.as_data_frame(use_multi_thread=False).head(5).to_string(index=False)
    metrics = "\n".join(f"| {k} | {v:.6g} |" for k, v in record["metrics"].items())
    how = f"the last {args.test_share:.0%} by {args.time_column}" if args.time_column else f"{args.test_share:.0%} at random"
    return (
        f"# {record['model_id']}\n\nPredicts `{record['target']}` from {len(record['features'])} features by {record['algorithm']} "
        f"(H2O {record['h2o_version']}, seed {record['seed']}).\n\n- **Data:** `{Path(args.train).name}`; test: {how}, {record['test_rows']} rows\n"
        f"- **sha256:** `{record['sha256']}`\n- **Intended use:** ...\n- **Not for:** ...\n- **Known weaknesses:** ...\n\n"
        f"| metric on the test set | value |\n|---|---|\n{metrics}\n\nFeatures: {', '.join(record['features'])}\n\n```\n{board}\n```\n"
    )


if __name__ == "__main__":
    main()
