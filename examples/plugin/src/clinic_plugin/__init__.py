"""A method, a data set and a metric for weakseg-bench."""
