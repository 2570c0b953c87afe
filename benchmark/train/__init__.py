"""Workers: a sweep of runs, each in a process that cannot see masks."""
