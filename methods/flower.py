"""Flower in one process: its strategies and messages, and sites that answer at once. No server, no network, no telemetry.

`client_app` and `serve` are also what runs on several machines: examples/federation.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # read by Flower when it is imported; it reports its use otherwise

from flwr.app import Array, ArrayRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, FedProx
from flwr.supercore.task_identity import TaskIdentity


class Trains(Protocol):
    """What a `ClientApp` needs of a site."""

    def weights(self) -> np.ndarray:
        """The weights (n,) that it exchanges."""

    def train(self, received: np.ndarray, mu: float) -> tuple[np.ndarray, int]:
        """Take over weights (n,), train, and return the new weights (n,) and their share in the mean."""


def client_app(site_of: Callable[[Context], Trains]) -> ClientApp:
    """Return the app of a site; `site_of` finds the site of a node. Weights travel as one array, and nothing but numbers."""

    def query(message: Message, context: Context) -> Message:
        return Message(RecordDict({"arrays": record(site_of(context).weights())}), reply_to=message)

    def train(message: Message, context: Context) -> Message:
        received = message.content["arrays"]["weights"].numpy()
        mu = float(message.content["config"].get("proximal-mu", 0.0))
        weights, share = site_of(context).train(received, mu)
        return Message(RecordDict({"arrays": record(weights), "metrics": MetricRecord({"share": share})}), reply_to=message)

    app = ClientApp()
    app.query()(query)
    app.train()(train)
    return app


def serve(grid: Any, sites: int, rounds: int, mu: float) -> None:
    """Take the weights of the first site, and run rounds of all: by Flower's FedAvg, or its FedProx with `mu` above 0."""
    while len(nodes := sorted(grid.get_node_ids())) < sites:
        time.sleep(1)
    (first,) = grid.send_and_receive([Message(RecordDict(), dst_node_id=nodes[0], message_type=MessageType.QUERY)])
    given: dict[str, Any] = {"fraction_evaluate": 0.0, "weighted_by_key": "share"}  # Flower scores nothing
    given |= {"min_train_nodes": sites, "min_available_nodes": sites}
    strategy = FedProx(**given, proximal_mu=mu) if mu else FedAvg(**given)
    strategy.start(grid, first.content["arrays"], num_rounds=rounds)


def record(weights: np.ndarray) -> ArrayRecord:
    """Weights (n,) as a message holds them."""
    return ArrayRecord({"weights": Array(weights)})


class Grid:
    """The sites of this process as nodes of Flower; what its strategies use of a `flwr.serverapp.Grid`."""

    def __init__(self, sites: Mapping[int, Trains]) -> None:
        self.app = client_app(lambda context: sites[int(context.node_config["partition-id"])])
        self.nodes = {
            place: Context(1, place, {"partition-id": number}, RecordDict(), {}) for place, number in enumerate(sites, 1)
        }
        self.bytes_sent = 0  # of all records, to the sites and back

    def get_node_ids(self) -> Iterable[int]:
        """Every site is there in every round."""
        return list(self.nodes)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Let each site answer, in their order: Flower draws the nodes of a round in any order."""
        replies = []
        for message in sorted(messages, key=lambda each: each.metadata.dst_node_id):
            replies.append(self.app(message, self.nodes[message.metadata.dst_node_id]))
            records = [*message.content.values(), *replies[-1].content.values()]
            self.bytes_sent += sum(each.count_bytes() for each in records)
        return replies


def exchange(sites: Mapping[int, Trains], rounds: int, mu: float) -> int:
    """Run so many rounds of the sites of this process, and return the bytes that they send."""
    logger = logging.getLogger("flwr")
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1  # set by Flower's own processes; not public
    level, grid = logger.level, Grid(sites)
    logger.setLevel(logging.ERROR)
    try:
        serve(grid, len(sites), rounds, mu)
    finally:
        logger.setLevel(level)
    return grid.bytes_sent
