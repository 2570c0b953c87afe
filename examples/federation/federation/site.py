"""The process of a site, which alone reads its data: `python -m federation.site FOLDER ADDRESS --place 0 --sites 2`."""

import argparse
import json
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Listener
from pathlib import Path

import numpy as np

from benchmark.datasets.annotations import parse
from benchmark.datasets.base import load_alone
from benchmark.datasets.simulate import Annotator
from benchmark.methods.federated import Federated, rounds_of, share
from benchmark.methods.sites import SITES, Site
from benchmark.plan import plugins
from benchmark.score.evaluate import evaluate
from benchmark.seal.contract import Budget, TestScan, WeakData, WeakScan
from benchmark.train.worker import seed_everything


def answer(site: Site, address: str, rounds: int) -> None:
    """Answer what `client.Remote` asks, until all rounds are done. Only bytes are exchanged, which can run no code."""
    with Listener(address, "AF_UNIX") as listener:
        while rounds:
            with listener.accept() as asking:
                mu, received = json.loads(asking.recv_bytes()), asking.recv_bytes()
                weights, number = site.weights(), 0
                if mu is not None:
                    weights, number = site.train(np.frombuffer(received, np.float32).copy(), mu)
                    rounds -= 1
                asking.send_bytes(weights.tobytes())
                asking.send_bytes(str(number).encode())


def main() -> None:
    """Train at a site, and score its test images by the network that it ends with."""
    parser = argparse.ArgumentParser(prog="python -m federation.site", description=main.__doc__)
    parser.add_argument("folder", help="images/ and masks/ of the site, as a folder: data set")
    parser.add_argument("address", help="path of a socket, for the site's ClientApp; in a folder of your own")
    parser.add_argument("--place", type=int, required=True, help="number of the site, from 0")
    parser.add_argument("--sites", type=int, required=True, help="number of sites")
    parser.add_argument("--annotation", default="scribble")
    parser.add_argument("--base", default="pce")
    parser.add_argument("--strategy", default="fedavg")
    parser.add_argument("--statistics", default="mean", help="of batch norm: mean or own")
    parser.add_argument("--local-steps", type=int, default=10)
    parser.add_argument("--steps", type=int, default=30000, help="of all sites together")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0, help="the same at all sites")
    given = parser.parse_args()

    dataset = plugins.open_data_set(f"folder:{given.folder}", Path())
    split = dataset.find_split(dataset.splits()[0])
    annotate, load = Annotator(dataset, split.train, parse(given.annotation), given.seed), partial(load_alone, dataset)
    scans = [WeakScan(scan.image, annotate(scan), scan.spacing) for scan in map(load, split.train)]
    names = ("base", "strategy", "statistics", "local_steps")
    options = plugins.configure(Federated, {name: getattr(given, name) for name in names})
    whole = Budget(steps=given.steps, batch=given.batch, size=given.size)
    budget = replace(whole, steps=share(given.steps, given.sites, given.place))
    rounds = rounds_of(share(given.steps, given.sites, 0), given.local_steps)
    seed_everything(given.seed)
    data = WeakData(scans, len(dataset.classes), dataset.channels)
    site = SITES[given.strategy](options, data, budget, log, given.place, given.sites)
    site.begin()
    print(f"{len(scans)} training scans, {budget.steps} steps, {rounds} rounds", flush=True)
    answer(site, given.address, rounds)
    for name in split.test:
        scan = load(name)
        labels = site.method.predict(TestScan(scan.image, scan.spacing))
        scores = evaluate(labels, scan.mask, dataset.regions, scan.spacing)
        print(name, *(f"{region}: Dice {values['dice']:.3f}" for region, values in scores.items()))


def log(step: int, /, **values: float) -> None:
    """Print the values of a step."""
    print(step, *(f"{name} {value:.4f}" for name, value in values.items()), flush=True)


if __name__ == "__main__":
    main()
