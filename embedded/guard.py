"""The process between a supervisor and a child that may not outlive it; run as a script.

`guard.py SUPERVISOR_PID REPORT_FD UID:GID COMMAND…` starts COMMAND and
- ends it, with everything it started, as soon as the supervisor is gone, however the supervisor died;
- ends what COMMAND left behind when COMMAND itself is gone;
- passes signals on to COMMAND, and exits with its status (128 + signal, as a shell would).

The kernel's parent-death signal alone would not do: it comes when the *thread* that forked ends, and
grandchildren never get it. So the guard is a subreaper: orphans below it become its children, where it finds
them.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
WATCH_SECONDS = 0.2
PASSED_ON = frozenset(
    {
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGCONT,
    }
)


def main(arguments: list[str]) -> int:
    """Guard a command until it and all its descendants are gone; returns the exit status to use."""
    supervisor, report, account, *command = arguments
    control(PR_SET_CHILD_SUBREAPER, 1)
    # Blocked before the fork, so that no signal falls between it and the loop that waits for signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
    child = start(int(report), account, command)
    try:
        return watch(int(supervisor), child)
    finally:
        end_descendants()


def control(option: int, value: int) -> None:
    """Call prctl; raises `OSError` where the kernel refuses."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def start(report: int, account: str, command: list[str]) -> int:
    """Fork and execute the command; its process id, or why it could not start, goes to `report`."""
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            become(guard, account)
            os.set_inheritable(report, False)
            os.write(report, f"{os.getpid()}\n".encode())
            os.execvp(command[0], command)  # noqa: S606 - running the command it is given is its job
        except BaseException as error:
            os.write(report, f"{error}\n".encode())
        finally:
            os._exit(127)
    os.close(report)
    return child


def become(guard: int, account: str) -> None:
    """Take the account and ask to die with the guard, in this order: changing accounts clears the request."""
    user, _, group = account.partition(":")
    if user:
        os.setgroups([])
        os.setgid(int(group))
        os.setuid(int(user))
    control(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(127)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def watch(supervisor: int, child: int) -> int:
    """Wait until the child has ended, or the supervisor has; returns the exit status."""
    while os.getppid() == supervisor:
        status = reap(child)
        if status is not None:
            return status
        received = signal.sigtimedwait(PASSED_ON | {signal.SIGCHLD}, WATCH_SECONDS)
        if received is not None and received.si_signo != signal.SIGCHLD:
            os.kill(child, received.si_signo)
    return 128 + signal.SIGKILL


def reap(child: int) -> int | None:
    """Collect everything that has ended; the child's exit status once it is among it."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                found = code if code >= 0 else 128 - code
    return found


def end_descendants() -> None:
    """Kill until none is left: what is orphaned by one round is our own child in the next."""
    while True:
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def descendants(root: int) -> list[int]:
    """Every process below `root`, found through the parents that /proc names."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - pathlib would double the start-up time
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as stat:  # noqa: PTH123
                parent = int(stat.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
