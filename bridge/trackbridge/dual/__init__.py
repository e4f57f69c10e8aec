"""Dual logging: a training run writes one local journal, and a process beside it delivers that.

The hot path is `run.Run.log`, over `journal.Journal`; it imports nothing heavy. What reads journals
back is an adapter like any other, `trackbridge_adapters.journal`.
"""
