"""Run one worker of the stream until it is told to stop.

SIGTERM or Ctrl-C drains it within ten seconds. It serves /healthz, /readyz and /metrics on its port.

Example: [bold]neardup worker embed --port 9401[/bold]
"""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import Settings, load
from neardup.workers.commands.common import DeviceOption, ModelOption, PrecisionOption, ThreadsOption

app = typer.Typer(no_args_is_help=True)
HostOption = Annotated[str | None, typer.Option(help="Address of /healthz, /readyz, /metrics; default 127.0.0.1.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Their port; 0 takes a free one.")]


@app.command()
def embed(
    model: ModelOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    host: HostOption = None,
    port: PortOption = 9401,
) -> None:
    """Describe what comes in `media`; as many of these as you like share the work."""
    _run("embed", load(model=model, device=device, threads=threads, health_host=host), port)


@app.command()
def match(
    model: ModelOption = None,
    threshold_precision: PrecisionOption = None,
    state: Annotated[
        str | None, typer.Option(help="Folder of its state; default ~/.local/share/neardup/state.")
    ] = None,
    host: HostOption = None,
    port: PortOption = 9402,
) -> None:
    """Say what each item copies; one of these leads, further ones stand by."""
    _run("match", load(model=model, precision=threshold_precision, state_folder=state, health_host=host), port)


@app.command()
def flag(model: ModelOption = None, host: HostOption = None, port: PortOption = 9403) -> None:
    """Write what was said to Redis."""
    _run("flag", load(model=model, health_host=host), port)


def _run(name: str, settings: Settings, port: int) -> None:
    """Run the worker of `neardup.workers.<name>`, whose `connector(settings)` returns what connects one."""
    try:
        from neardup.workers.runner import run_worker

        module = importlib.import_module(f"neardup.workers.{name}")
    except ModuleNotFoundError as error:
        raise ConfigError(f"workers need {error.name}: pip install 'neardup[stream]'") from error
    run_worker(name, module.connector(settings), settings.health_host, port)
