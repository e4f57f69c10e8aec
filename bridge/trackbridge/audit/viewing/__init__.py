"""Pages that show an archive in a browser: what they show, how it is written, where it lies."""
