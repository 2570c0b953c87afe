"""A part of a plan for each of several runners that share a results folder and know nothing of each other."""

import re
from collections.abc import Sequence

from benchmark import InputError
from benchmark.jobs import Job


def shard(jobs: Sequence[Job], which: str) -> list[Job]:
    """The jobs of shard `I/N`, in their order; raises InputError where that is no shard.

    Jobs are dealt out like cards, method after method: every shard gets as many of each method (and so as much work) as the
    others, give or take one; where N divides the number of sealed folders, most are needed by one shard alone.
    """
    number, parts = parse(which)
    dealt = {id(job) for job in sorted(jobs, key=lambda job: job.method)[number - 1 :: parts]}  # sorting keeps their order
    return [job for job in jobs if id(job) in dealt]


def parse(which: str) -> tuple[int, int]:
    """I and N of `I/N`; raises InputError where these are none."""
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", which)
    number, parts = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= parts:
        raise InputError(f"--shard is {which!r}; it must be I/N with I from 1 to N, such as 2/8")
    return number, parts
