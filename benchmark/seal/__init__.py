"""The input of a learner: the contract of methods, sealed folders, annotations."""
