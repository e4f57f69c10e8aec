"""A W&B server for tests: the real client logs to it, syncs to it and reads it back.

Field names are those of the client's own documents (wandb 0.31: wandb/sdk/artifacts/_generated,
wandb/apis/public, and what wandb-core sends). No real server was within reach: where behaviour is
inferred, a docstring says so.
"""

from wandb_server.server import Server, started

__all__ = ["Server", "started"]
