"""Mirrors the wandb library: what its runs send to W&B goes into journals too (decision 0032).

patching.py      hooks the library's few methods through which everything passes
mirrored.py      one run: what its records say, told to its journal
rows.py          log calls as the rows that W&B makes of them
definitions.py   define_metric: what it adds to rows
summary.py       the last values, and what the program sets
contents.py      files and artifacts
"""
