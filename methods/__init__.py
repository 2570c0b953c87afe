"""What is compared. Every file here that is not in `SUPPORT` is a method of the file's name."""

SUPPORT = ("augment", "base", "networks", "sizes")  # files that are no methods

GROUPS = {
    "baselines": ["pce", "pce_dice", "entropy", "total_variation", "gated_crf", "mean_teacher", "prior"],
}
