"""A real SLURM on this one machine, for tests: two nodes on the loopback device, a GPU in name each.

Everything it writes lies in one folder, but for a link at the place where SLURM's commands look for their
configuration: jobs lose the variable SLURM_CONF on their way. To try something by hand,
``python tests/slurm/loopback.py FOLDER`` starts one, which ends with Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

CONFIGURATION = Path("/etc/slurm/slurm.conf")
NODES = ("n1", "n2")
DAEMONS = ("munged", "slurmctld", "slurmd")

# Memory and GPUs are of the scheduler's books: a node has more than this machine. A job that takes more memory than it
# asked for is ended all the same, by a look at its processes every second.
SLURM_CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
GresTypes=gpu
KillWait=2
MinJobAge=3600
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=64000 Gres=gpu:1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=64000 Gres=gpu:1
PartitionName=main Nodes=ALL Default=YES MaxTime=4:00:00
"""


class Slurm:
    """Two nodes, from start to stop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.daemons: dict[str, subprocess.Popen] = {}

    @staticmethod
    def hindrance() -> str:
        """Return why it cannot be started here; nothing where it can."""
        if missing := [name for name in DAEMONS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]:
            return f"{', '.join(missing)} not installed (on Debian: apt-get install slurm-wlm munge)"
        if os.geteuid():
            return "the daemons of SLURM need root"
        if CONFIGURATION.exists():
            return f"{CONFIGURATION} is there: this machine is of a cluster, or another loopback SLURM runs"
        return ""

    def start(self) -> Slurm:
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        configuration = SLURM_CONF.format(host=socket.gethostname().split(".")[0], folder=self.folder, ports=_ports(3))
        (self.folder / "slurm.conf").write_text(configuration)
        (self.folder / "cgroup.conf").touch()
        for node in NODES:  # a device that does nothing, as /dev/null
            os.mknod(self.folder / f"gpu-{node}", 0o20666, os.makedev(1, 3))
        gpus = (f"NodeName={node} Name=gpu File={self.folder}/gpu-{node}\n" for node in NODES)
        (self.folder / "gres.conf").write_text("".join(gpus))
        CONFIGURATION.parent.mkdir(exist_ok=True)
        CONFIGURATION.unlink(missing_ok=True)  # a link to nowhere, of one that was killed
        CONFIGURATION.symlink_to(self.folder / "slurm.conf")
        try:
            self._start_daemons()
        except BaseException:
            self.stop()
            raise
        return self

    def _start_daemons(self) -> None:
        munge, conf = self.folder / "munge.socket", str(self.folder / "slurm.conf")
        (self.folder / "munge.key").write_bytes(os.urandom(1024))
        (self.folder / "munge.key").chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        words = [f"--{option}={munge.with_suffix('.' + suffix)}" for option, suffix in files.items()]
        self._daemon("munged", "--foreground", "--force", *words)
        self.wait("munge answers", lambda: _works("munge", "-n", "-S", str(munge)))
        self._daemon("slurmctld", "-D", "-f", conf)
        self.wait("slurmctld answers", lambda: _works("scontrol", "ping"))
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node, "-f", conf, called=node)
        self.wait("all nodes are idle", lambda: said("sinfo", "-h", "-o", "%T %D").strip() == f"idle {len(NODES)}")

    def _daemon(self, name: str, *words: str, called: str = "") -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            die_with_me = ("setpriv", "--pdeathsig", "TERM")
            path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
            command = [*die_with_me, path, *words]
            self.daemons[called or name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def wait(self, what: str, true: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until something is true; AssertionError, with the ends of all logs, where that takes too long."""
        until = time.monotonic() + seconds
        while not true():
            if time.monotonic() > until:
                logs = {log.name: log.read_text(errors="replace")[-1500:] for log in self.folder.glob("*.log")}
                raise AssertionError("\n".join([f"in {seconds:.0f} s not: {what}", *map(": ".join, logs.items())]))
            time.sleep(0.1)

    def lose(self, node: str) -> None:
        """End a node as a power cut would: its daemon and all of its jobs, without a word to anyone."""
        jobs = said("squeue", "-h", "-w", node, "-o", "%A").split()
        self.daemons[node].kill()
        self.daemons[node].wait()
        for watcher in [pid for job in jobs for pid in processes(f"slurmstepd: [{job}.".encode(), "cmdline")]:
            os.kill(watcher, signal.SIGKILL)  # first, for it would tell of the others' end
        for process in processes(f"SLURMD_NODENAME={node}\0".encode(), "environ"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        said("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")  # as SLURM does after SlurmdTimeout

    def find(self, node: str) -> None:
        """Start a lost node again."""
        self._daemon("slurmd", "-D", "-N", node, "-f", str(self.folder / "slurm.conf"), called=node)
        said("scontrol", "update", f"nodename={node}", "state=resume")
        up = ("idle", "mixed")  # for a while it is thought to be at the jobs that were lost with it
        self.wait(f"{node} is back", lambda: said("sinfo", "-h", "-n", node, "-o", "%T").strip() in up)

    def stop(self) -> None:
        """Cancel all jobs, end the daemons that were started, last ones first, and take the link away."""
        if _works("scontrol", "ping"):
            subprocess.run(["scancel", "--user", "root"], timeout=20, check=False)
            self.wait("no job runs", lambda: not said("squeue", "-h", "-t", "running,completing", "-o", "%A"))
        for daemon in reversed(self.daemons.values()):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        if CONFIGURATION.is_symlink() and CONFIGURATION.readlink() == self.folder / "slurm.conf":
            CONFIGURATION.unlink()

    @property
    def jobs(self) -> list[Job]:
        """What SLURM has on record of all jobs so far, in the order in which they were submitted."""
        lines = said("scontrol", "--oneliner", "show", "jobs").splitlines()
        return sorted((Job(line) for line in lines if line.startswith("JobId=")), key=lambda job: job.number)


class Job:
    """The line of ``scontrol show job`` of a job: ``job["JobState"]``, with what words and numbers stand for."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.number = int(self["JobId"])

    def __getitem__(self, name: str) -> str:
        found = re.search(rf"(?:^|\s){name}=(\S*)", self.line)
        assert found, f"no {name} in {self.line}"
        return found[1]

    @property
    def rule(self) -> str:
        return self["Comment"].removeprefix("rule_").split("_wildcards_")[0]

    def tres(self, name: str) -> str:
        """Return how much of a resource it was given, such as 8000M of ``mem``; nothing where none."""
        return dict(part.split("=", 1) for part in self["TRES"].split(",")).get(name, "")

    def __repr__(self) -> str:
        return self.line


def processes(text: bytes, file: str) -> list[int]:
    """Return the processes that have a text in a file of /proc, such as ``cmdline``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text in (process / file).read_bytes():
                found.append(int(process.name))
    return found


def said(*command: str) -> str:
    """Return what a command prints; nothing where it fails."""
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


def _works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _ports(number: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    if hindrance := Slurm.hindrance():
        sys.exit(hindrance)
    slurm = Slurm(Path(sys.argv[1])).start()
    print("SLURM runs: try sinfo, srun hostname. Ctrl-C ends it.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        slurm.stop()
