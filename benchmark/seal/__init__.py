"""What crosses to the learner: the contract of methods, sealed folders, annotations."""
