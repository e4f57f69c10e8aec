"""The W&B service, in the cloud or self-hosted."""
