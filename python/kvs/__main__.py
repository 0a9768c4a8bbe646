"""python -m kvs: the command line tool. It is the same code as the binary `kvs`; see python -m kvs --help."""

import signal
import sys


def main() -> int:
    """Runs the tool with the arguments of this process; returns its exit code."""
    from kvs._kvs import _cli

    # The tool runs outside of the interpreter, where Python's handler would only note the signal: let Ctrl-C end it, as it ends
    # the binary. A store survives that as it survives any death of its process.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _cli(["kvs", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
