"""The data sets. Every class with a `name`, in a file here that is not in `SUPPORT`, is a data set of that name."""

# files without data sets
SUPPORT = (
    "annotations", "base", "files", "forms", "nifti", "picture_files", "pictures", "plausibility", "simulate", "summaries",
    "transfer",
)  # fmt: skip
