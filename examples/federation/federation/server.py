"""The app of the server: Flower's mean of the sites' weights."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from benchmark.methods.flower import serve

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run all rounds."""
    config = context.run_config
    serve(grid, int(config["sites"]), int(config["rounds"]), float(config["mu"]))
