"""Run one worker of the stream until it is stopped.

SIGTERM or Ctrl-C drains it within ten seconds. It serves /healthz, /readyz and /metrics on its port.

Example: [bold]neardup worker embed --port 9401[/bold]
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from functools import partial
from typing import Annotated

import typer

from neardup.pipeline.errors import ConfigError, install_command
from neardup.pipeline.settings import Settings, load
from neardup.workers.cli.common import CalibrationOption, DeviceOption, ModelOption, PrecisionOption, ThreadsOption
from neardup.workers.run import logs

_LAST_SECONDS = 12.0
"""A worker drains in 10."""

app = typer.Typer(no_args_is_help=True)
HostOption = Annotated[str | None, typer.Option(help="Address of /healthz, /readyz, /metrics; default 127.0.0.1.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port of /healthz, /readyz, /metrics; 0: any free.")]
StdinOption = Annotated[bool, typer.Option("--end-with-stdin", help="End when standard input does; for supervisors.")]


@app.command()
def embed(
    model: ModelOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    host: HostOption = None,
    port: PortOption = 9401,
    end_with_stdin: StdinOption = False,
) -> None:
    """Describe what comes in `media`; as many of these as you like share the work.

    Example: [bold]neardup worker embed --port 9401[/bold]
    """
    _run("embed", load(model=model, device=device, threads=threads, health_host=host), port, end_with_stdin)


@app.command()
def match(
    model: ModelOption = None,
    threshold_precision: PrecisionOption = None,
    calibration: CalibrationOption = None,
    state: Annotated[
        str | None, typer.Option(help="Folder of its state; default ~/.local/share/neardup/state.")
    ] = None,
    host: HostOption = None,
    port: PortOption = 9402,
    end_with_stdin: StdinOption = False,
) -> None:
    """Say what each item copies; one of these leads, further ones stand by.

    Example: [bold]neardup worker match --threshold-precision 0.999[/bold]
    """
    _run(
        "match",
        load(model=model, precision=threshold_precision, calibration=calibration, state_folder=state, health_host=host),
        port,
        end_with_stdin,
    )


@app.command()
def flag(
    model: ModelOption = None,
    host: HostOption = None,
    port: PortOption = 9403,
    end_with_stdin: StdinOption = False,
) -> None:
    """Write what was said to Redis.

    Example: [bold]neardup worker flag[/bold]
    """
    _run("flag", load(model=model, health_host=host), port, end_with_stdin)


@app.command()
def prove(
    model: ModelOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Pairs proved at once; default one per core.")] = None,
    host: HostOption = None,
    port: PortOption = 9406,
    end_with_stdin: StdinOption = False,
) -> None:
    """Prove what the match worker asks for; as many of these as you like share the work.

    Example: [bold]neardup worker prove --threads 4[/bold]
    """
    _run("prove", load(model=model, threads=threads, health_host=host), port, end_with_stdin)


@app.command()
def webhook(
    model: ModelOption = None,
    host: HostOption = None,
    port: PortOption = 9405,
    end_with_stdin: StdinOption = False,
) -> None:
    """Send what is flagged to a receiver over HTTP, signed; further ones of the same receiver stand by.

    Example: [bold]NEARDUP_WEBHOOK_URL=https://example.com/hook neardup worker webhook[/bold]
    """
    _run("webhook", load(model=model, health_host=host), port, end_with_stdin)


@app.command()
def api(
    model: ModelOption = None,
    device: DeviceOption = None,
    threshold_precision: PrecisionOption = None,
    calibration: CalibrationOption = None,
    state: Annotated[
        str | None, typer.Option(help="Folder of its state; default ~/.local/share/neardup/state.")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="Address of the API; default 127.0.0.1.")] = None,
    api_port: Annotated[int | None, typer.Option(help="Port of the API; default 8630.")] = None,
    host: HostOption = None,
    port: PortOption = 9404,
    end_with_stdin: StdinOption = False,
) -> None:
    """Answer lookups, take decisions and show pages, over HTTP; as many of these as you like.

    Example: [bold]neardup worker api --listen 0.0.0.0 --api-port 8630[/bold]
    """
    settings = load(
        model=model,
        device=device,
        precision=threshold_precision,
        calibration=calibration,
        state_folder=state,
        api_host=listen,
        api_port=api_port,
        health_host=host,
    )
    _run("api", settings, port, end_with_stdin)


def _run(name: str, settings: Settings, port: int, end_with_stdin: bool) -> None:
    """Run a worker; `connector(settings)` of its module returns what connects one."""
    logs.configure(settings.log_format, name)
    if end_with_stdin:
        threading.Thread(target=_end_with_stdin, name="stdin", daemon=True).start()
    try:
        from neardup.workers.run.kafka_probe import kafka_away
        from neardup.workers.run.runner import run_worker

        module = f"neardup.workers.{name}.{'server' if name == 'api' else 'worker'}"
        connect = importlib.import_module(module).connector(settings)
    except ModuleNotFoundError as error:
        extra = "api" if name == "api" else "stream"
        raise ConfigError(f"workers need {error.name}: {install_command(extra)}") from error
    run_worker(name, connect, settings.health_host, port, kafka_away=partial(kafka_away, settings))


def _end_with_stdin() -> None:
    """Wait for the end of standard input, then drain; a worker that hangs ends without."""
    while os.read(0, 1):  # not sys.stdin, whose lock a thread must not hold when Python ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LAST_SECONDS)
    os._exit(1)
