"""A real Ray cluster of two nodes on this machine, started and stopped by its command line."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Cluster:
    """Two nodes, each a process group of its own, so that one can be killed as a machine that fails is."""

    def __init__(self, folder: Path, processors: int = 2):
        self.address = f"127.0.0.1:{_free_port()}"
        self._folder, self._nodes = folder, []
        port = self.address.split(":")[1]
        self._start("--head", "--port", port, processors=processors)
        self._wait_for(1)
        self._start("--address", self.address, processors=processors)
        self._wait_for(2)

    def kill_second_node(self) -> None:
        """As when a machine loses its power: every process of the node, at once."""
        self._kill(self._nodes[1])

    def stop(self) -> None:
        for node in reversed(self._nodes):
            self._kill(node)

    def _start(self, *options: str, processors: int) -> None:
        environment = os.environ | {
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path]),
            "OMP_NUM_THREADS": "1",
            "AITIA_PROGRESS": "0",
            "OPENAI_API_KEY": "a word",
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        command += ["--node-ip-address", "127.0.0.1", "--num-cpus", str(processors), "--num-gpus", "0"]
        command += ["--object-store-memory", "80000000", "--include-dashboard", "false"]
        if "--head" in options:
            command += ["--temp-dir", str(self._folder)]
        else:
            command.remove("--include-dashboard")
            command.remove("false")
        with (self._folder / f"node-{len(self._nodes)}.log").open("wb") as log:
            self._nodes.append(
                subprocess.Popen(
                    [*command, *options], env=environment, stdout=log, stderr=log, start_new_session=True
                )
            )

    def _wait_for(self, nodes: int) -> None:
        code = (
            "import ray, sys; ray.init(address=sys.argv[1], logging_level='ERROR'); "
            "sys.exit(sum(node['Alive'] for node in ray.nodes()) < int(sys.argv[2]))"
        )
        command = [sys.executable, "-c", code, self.address, str(nodes)]
        environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
        for _ in range(30):
            assert self._nodes[-1].poll() is None, (
                self._folder / f"node-{len(self._nodes) - 1}.log"
            ).read_text()
            with contextlib.suppress(subprocess.TimeoutExpired):
                done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
                if done.returncode == 0:
                    return
            time.sleep(0.5)
        raise AssertionError(f"no {nodes} nodes at {self.address}: {done.stderr.decode()[-500:]}")

    def _kill(self, node) -> None:
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            parts = [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
            for part in parts:
                with contextlib.suppress(psutil.NoSuchProcess):
                    part.send_signal(signal.SIGKILL)
        node.wait(timeout=30)
