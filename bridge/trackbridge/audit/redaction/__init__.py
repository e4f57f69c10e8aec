"""Takes out of records what must not leave, and says what was taken out where."""
