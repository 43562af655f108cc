"""Scores a CSV with pandas and prints the riskiest rows.

    python pandas_frame.py MODEL.zip ROWS.csv
"""

from __future__ import annotations

import argparse

import pandas as pd

import cenote


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a MOJO of two classes")
    parser.add_argument("rows", help="a CSV with the columns that the model reads")
    arguments = parser.parse_args()

    model = cenote.load(arguments.model)
    print(model)

    rows = pd.read_csv(arguments.rows)
    predictions = model.predict(rows)  # a DataFrame with the index of `rows`
    probability = model.output_names[-1]
    riskiest = predictions.sort_values(probability, ascending=False).head(5)
    print(rows.join(riskiest, how="right").to_string())


if __name__ == "__main__":
    main()
