"""Archives for audits: sealed, signed, checked by whoever gets them."""
