"""The app of a site. Flower starts a process for each message, so this one asks the site's own, which lives on."""

import json
from multiprocessing.connection import Client

import numpy as np

from benchmark.methods.flower import client_app


class Remote:
    """A site in another process of this machine."""

    def __init__(self, address: str) -> None:
        self.address = address

    def weights(self) -> np.ndarray:
        """The weights (n,) that it exchanges."""
        return self._ask(None, b"")[0]

    def train(self, received: np.ndarray, mu: float) -> tuple[np.ndarray, int]:
        """Let it take over weights (n,) and train a round; return its weights (n,) and their share in the mean."""
        return self._ask(mu, received.astype(np.float32).tobytes())

    def _ask(self, mu: float | None, received: bytes) -> tuple[np.ndarray, int]:
        with Client(self.address, "AF_UNIX") as site:
            site.send_bytes(json.dumps(mu).encode())
            site.send_bytes(received)
            return np.frombuffer(site.recv_bytes(), np.float32), int(site.recv_bytes())


app = client_app(lambda context: Remote(str(context.node_config["address"])))
