"""The console script `neardup`. Nothing is imported before Ctrl-C and SIGTERM are taken care of."""

import io
import os
import sys


def main() -> None:
    """Run the command line."""
    # We use every core ourselves; threads of NumPy and torch that wait busily for each other would take half of them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name must not fail for a terminal that lacks its letters
            stream.reconfigure(errors="backslashreplace")
    try:
        from neardup.workers.run import stopping

        if stopping.is_service(sys.argv[1:]):
            stopping.end_at_once()
        from neardup.workers.cli.app import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.stderr.write("neardup: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
