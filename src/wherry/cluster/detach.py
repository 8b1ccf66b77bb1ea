"""Starting a cluster in the background: a child of its own session, a log file, and a pipe that tells how it went."""

import os
import subprocess
import sys
from collections.abc import Callable

from wherry.cluster.failure import ClusterError
from wherry.cluster.options import UpOptions

# The child writes progress lines to this descriptor, then one line that starts with READY or FAILED.
REPORT_VARIABLE = "WHERRY_REPORT_FD"
READY = "READY"
FAILED = "FAILED"


def start_detached(options: UpOptions, *, verbose: bool, say: Callable[[str], None]) -> None:
    """Start `wherry up` in the background; returns when it is ready. Raises ClusterError with the child's reason."""
    directory = options.directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        log = (directory / "wherry.log").open("ab")
    except OSError as error:
        raise ClusterError(
            f"cannot use {directory}: {error.strerror}; choose another place with --data-dir or $WHERRY_HOME"
        ) from error
    read_end, write_end = os.pipe()
    with log:
        child = subprocess.Popen(
            [sys.executable, "-m", "wherry", *_arguments(options), *(["--verbose"] if verbose else [])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(write_end,),
            env=os.environ | {REPORT_VARIABLE: str(write_end)},
        )
    os.close(write_end)
    with os.fdopen(read_end) as report:
        for line in report:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == READY:
                # The child lives on; it is init's to reap.
                child.returncode = 0
                return
            if word == FAILED:
                child.wait()
                raise ClusterError(rest)
            say(line.rstrip("\n"))
    code = child.wait()
    raise ClusterError(f"the cluster stopped while starting (exit code {code}): see {directory / 'wherry.log'}")


def reporter(say: Callable[[str], None]) -> Callable[[str], None]:
    """How the process that runs the cluster tells its progress: through the pipe when detached, else through `say`."""
    descriptor = os.environ.pop(REPORT_VARIABLE, None)
    if descriptor is None:
        return lambda line: say(line) if not line.startswith((READY, FAILED)) else None
    pipe = os.fdopen(int(descriptor), "w", buffering=1)

    def tell(line: str) -> None:
        if pipe.closed:
            return
        pipe.write(line + "\n")
        if line.startswith((READY, FAILED)):
            pipe.close()

    return tell


def _arguments(options: UpOptions) -> list[str]:
    arguments = ["up", "--name", options.name, "--nodes", str(options.nodes), "--runtime", options.runtime]
    arguments += ["--port", str(options.port), "--wait", str(options.wait_seconds)]
    if options.data_dir is not None:
        arguments += ["--data-dir", str(options.data_dir.absolute())]
    if options.kubeconfig is not None:
        arguments += ["--kubeconfig", str(options.kubeconfig.absolute())]
    for name, texts in (("--runtime-config", options.runtime_config), ("--feature-gates", options.feature_gates)):
        arguments += [word for text in texts for word in (name, text)]
    return arguments
