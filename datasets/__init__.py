"""What is learnt from. Every class with a `name` in a file here that is not in `SUPPORT` is a data set of that name."""

SUPPORT = ("base", "files", "pictures", "weak")  # files that hold no data sets
