"""Writes features to PostgreSQL, binds a model to them, and scores keys.

    python keys_from_store.py MODEL.zip ROWS.csv KEY_COLUMN postgres://app@localhost/features
"""

from __future__ import annotations

import argparse
from datetime import datetime, timezone

import pandas as pd

import cenote


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a MOJO")
    parser.add_argument("rows", help="a CSV with a column of whole numbers as keys and those that the model reads")
    parser.add_argument("key", help="the name of the key column")
    parser.add_argument("dsn", help="a connection string of PostgreSQL")
    arguments = parser.parse_args()

    model = cenote.load(arguments.model)
    view = cenote.View({
        "name": "example_features",
        "keys": [{"name": arguments.key, "type": "i64"}],
        "features": [{"name": name, "type": "f64" if kind == "numeric" else "text"}
                     for name, kind in model.feature_types.items()],
        "ttl_seconds": 24 * 3600,
    })
    rows = pd.read_csv(arguments.rows)[[arguments.key, *view.features]]
    with cenote.FeatureStore.connect(arguments.dsn) as store:
        store.apply(view)
        print(store.upsert(view, rows.assign(event_ts=datetime.now(timezone.utc))))

        plan = store.plan(model, view)  # proves that every input of the model is there, and of its type
        first = plan.score(int(rows[arguments.key].iloc[0]))
        print(first.status, first.event_ts, first.prediction)

        keys = [*rows[arguments.key].head(3), -1]
        scores = plan.score_many(keys)
        print(pd.DataFrame({arguments.key: keys, "status": scores.status, **scores.to_dict()}).to_string())


if __name__ == "__main__":
    main()
