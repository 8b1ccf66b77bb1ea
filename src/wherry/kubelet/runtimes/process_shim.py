"""The supervisor of one child-process container: a small program of its own, so that containers outlive the kubelet.

process.py starts this file as a script with the container's directory as argument. It forks away (whoever started it
may end without taking it along), starts what run.json describes in a session of its own, writes the output to the log
in CRI's format, and records pid.json and, at the end, exit.json. When the program ends, everything it left behind is
killed, as the end of a container's process namespace would. Only the standard library is imported: one shim runs for
each container, and memory counts.
"""

import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

RUN, PID, EXIT, STDIN = "run.json", "pid.json", "exit.json", "stdin"
CHUNK_BYTES = 64 * 1024
LINE_MAX_BYTES = 16 * 1024
START_FAILURE_CODE = 128
_PR_SET_CHILD_SUBREAPER = 36


def write_json(path: str, value: dict[str, Any]) -> None:
    """Replace the file whole."""
    temporary = Path(f".{path}")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def identity(pid: int) -> str:
    """Tells this process from a later one with the same pid: boot and start time; "" for none, or one that has ended.

    Without /proc, `ps` is asked.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"
    except OSError:
        if sys.platform == "linux":
            return ""
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or ""


def now_nanoseconds() -> int:
    """The wall clock; nobody passes one to a process of its own."""
    return time.time_ns()


def set_terminal_size(fd: int, columns: int, rows: int) -> None:
    """Tell the terminal its size."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def control_terminal() -> None:
    """In a new child: make its standard input its controlling terminal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class LogWriter:
    """CRI's log format: whole lines with F, pieces of longer ones with P. A log moved aside is begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = {"stdout": b"", "stderr": b""}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, stream: str, data: bytes) -> None:
        """Output of the program."""
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        now, out = now_nanoseconds(), bytearray()
        for line in lines:
            while len(line) > LINE_MAX_BYTES:
                out += self._line(now, stream, b"P", line[:LINE_MAX_BYTES])
                line = line[LINE_MAX_BYTES:]
            out += self._line(now, stream, b"F", line)
        while len(rest) >= LINE_MAX_BYTES:
            out += self._line(now, stream, b"P", rest[:LINE_MAX_BYTES])
            rest = rest[LINE_MAX_BYTES:]
        self._rest[stream] = rest
        if out:
            self._append(out)

    def _line(self, now: int, stream: str, tag: bytes, text: bytes) -> bytes:
        seconds, nanoseconds = divmod(now, 10**9)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return f"{stamp}.{nanoseconds:09}Z {stream} ".encode() + tag + b" " + text + b"\n"

    def _append(self, data: bytes | bytearray) -> None:
        if not self._path.exists() or self._path.stat().st_ino != os.fstat(self._file.fileno()).st_ino:
            self._file.close()
            self._file = self._path.open("ab", buffering=0)
        self._file.write(data)

    def close(self) -> None:
        """What has no newline yet is written as a piece."""
        for stream, rest in self._rest.items():
            if rest:
                self._append(self._line(now_nanoseconds(), stream, b"P", rest))
        self._file.close()


class Shim:
    """One program under supervision. Raises OSError when it cannot be started."""

    def __init__(self, run: dict[str, Any]) -> None:
        self._run = run
        self._log = LogWriter(Path(run["log"]))
        self._selector = selectors.DefaultSelector()
        self._outputs: dict[int, str] = {}
        self._typed = bytearray()
        self._status: int | None = None
        self._wake, wake = socket.socketpair()
        self._wake_writer = wake
        self._wake.setblocking(False)
        wake.setblocking(False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)  # not SIG_IGN: the program would inherit that
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        _become_subreaper()
        self._input = os.open(STDIN, os.O_RDWR | os.O_NONBLOCK) if run["stdin"] else os.open(os.devnull, os.O_RDONLY)
        self._child = self._start_terminal() if run["tty"] else self._start_pipes()
        self.started_at = now_nanoseconds()
        shim, pid = os.getpid(), self._child.pid
        facts = {"shim": shim, "shim_identity": identity(shim), "pid": pid, "pid_identity": identity(pid) or "ended"}
        write_json(PID, facts | {"started_at": self.started_at})

    def _start(self, **options: Any) -> "subprocess.Popen[bytes]":
        run = self._run
        return subprocess.Popen(
            run["command"], cwd=run["cwd"], env=run["env"], start_new_session=True, bufsize=0, **options
        )

    def _start_pipes(self) -> "subprocess.Popen[bytes]":
        os.set_blocking(self._input, True)  # it is the program's own, and nobody expects otherwise
        child = self._start(stdin=self._input, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert child.stdout and child.stderr
        for name, pipe in (("stdout", child.stdout), ("stderr", child.stderr)):
            self._watch_output(os.dup(pipe.fileno()), name)
            pipe.close()
        return child

    def _start_terminal(self) -> "subprocess.Popen[bytes]":
        import pty

        master, slave = pty.openpty()
        try:
            child = self._start(stdin=slave, stdout=slave, stderr=slave, preexec_fn=control_terminal)
        finally:
            os.close(slave)
        self._watch_output(master, "stdout")
        if self._run["stdin"]:
            self._selector.register(self._input, selectors.EVENT_READ, lambda: self._type(master))
        return child

    def _watch_output(self, fd: int, name: str) -> None:
        os.set_blocking(fd, False)
        self._outputs[fd] = name
        self._selector.register(fd, selectors.EVENT_READ, lambda: self._read_output(fd))

    def stay(self) -> None:
        """Until the program has ended and everything is recorded."""
        self._selector.register(self._wake, selectors.EVENT_READ, self._reap)
        self._reap()
        while self._status is None:
            for key, _ in self._selector.select():
                key.data()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        _kill_strays()
        for fd in list(self._outputs):
            while self._read_output(fd):
                pass
        self._log.close()
        record_end(self._status if self._status >= 0 else 128 - self._status, self.started_at)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == self._child.pid:
                    self._status = self._child.returncode = os.waitstatus_to_exitcode(found[1])

    def _read_output(self, fd: int) -> bool:
        """True when there may be more."""
        try:
            data = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # a terminal without programs answers EIO
            data = b""
        if data:
            self._log.write(self._outputs[fd], data)
            return True
        self._selector.unregister(fd)
        os.close(fd)
        del self._outputs[fd]
        return False

    def _type(self, master: int) -> None:
        """Input for the terminal; what it does not take yet stays in the pipe or here."""
        if not self._typed:
            with suppress(BlockingIOError):
                self._typed += os.read(self._input, CHUNK_BYTES)
        with suppress(OSError):
            del self._typed[: os.write(master, self._typed)]


def record_end(code: int, started_at: int, message: str = "") -> None:
    """The last thing a container leaves."""
    facts = {"exit_code": code, "started_at": started_at, "finished_at": now_nanoseconds(), "message": message}
    write_json(EXIT, facts)


def _become_subreaper() -> None:
    """Programs that daemonize stay ours (Linux only)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _kill_strays() -> None:
    """Kill what was left to us, generation after generation."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while children.exists() and (pids := children.read_text().split()):
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(pid), signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(int(pid), 0)


def main(directory: str) -> None:
    """Fork away, start the program and stay with it."""
    os.chdir(directory)
    run = json.loads(Path(RUN).read_text())
    if os.fork():
        os._exit(0)
    os.setsid()
    try:
        shim = Shim(run)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        why = "executable file not found in $PATH" if missing else error.strerror
        record_end(START_FAILURE_CODE, now_nanoseconds(), f'StartError: exec: "{run["command"][0]}": {why}')
    else:
        shim.stay()


if __name__ == "__main__":
    main(sys.argv[1])
