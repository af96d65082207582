"""A script that runs a command for a supervisor, and ends it if the supervisor ends.

`guard.py SUPERVISOR_PID REPORT_FD UID:GID COMMAND…` starts COMMAND and
- kills it and all its descendants when the supervisor ends or is killed;
- kills the remaining descendants when COMMAND ends;
- forwards signals to COMMAND, and exits with its status, or with 128 + N if signal N ended it.

The kernel's parent-death signal is not enough: it is sent when the *thread* that forked ends, and only to children, not
to their descendants. So the guard is a subreaper: orphaned descendants become its children, and it can kill them.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
WATCH_SECONDS = 0.2
FORWARDED = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT}
)


def main(arguments: list[str]) -> int:
    """Run a command until it and all its descendants have ended. Return the exit status of the guard."""
    supervisor, report, account, *command = arguments
    control(PR_SET_CHILD_SUBREAPER, 1)
    # Blocked before the fork, so that no signal arrives before the loop that waits for signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED | {signal.SIGCHLD})
    child = start(int(report), account, command)
    try:
        return watch(int(supervisor), child)
    finally:
        end_descendants()


def control(option: int, value: int) -> None:
    """Call prctl. Raises `OSError`."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def start(report: int, account: str, command: list[str]) -> int:
    """Fork and execute the command. Write its process id to `report`, or the reason why it could not start."""
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            become(guard, account)
            os.set_inheritable(report, False)
            os.write(report, f"{os.getpid()}\n".encode())
            os.execvp(command[0], command)  # noqa: S606 - this is the purpose of the guard
        except BaseException as error:
            os.write(report, f"{error}\n".encode())
        finally:
            os._exit(127)
    os.close(report)
    return child


def become(guard: int, account: str) -> None:
    """Change to the account, then set the parent-death signal, which a change of accounts clears."""
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
    """Return the exit status of the child when it has ended, or 128 + SIGKILL when the supervisor has ended."""
    while os.getppid() == supervisor:
        status = reap(child)
        if status is not None:
            return status
        received = signal.sigtimedwait(FORWARDED | {signal.SIGCHLD}, WATCH_SECONDS)
        if received is not None and received.si_signo != signal.SIGCHLD:
            os.kill(child, received.si_signo)
    return 128 + signal.SIGKILL


def reap(child: int) -> int | None:
    """Wait for all ended children. Return the exit status of `child` if it is one of them."""
    result = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                result = code if code >= 0 else 128 - code
    return result


def end_descendants() -> None:
    """Kill all descendants. Repeats, because orphans of killed processes become children of the guard."""
    while True:
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def descendants(root: int) -> list[int]:
    """Return the ids of all descendants of `root`, from /proc."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - pathlib would double the start-up time
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as stat:  # noqa: PTH123
                parent = int(stat.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    processes: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        processes += below
        waiting += below
    return processes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
