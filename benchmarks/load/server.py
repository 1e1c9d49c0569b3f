"""A model server of this checkout as a process, on ports of 127.0.0.1."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """Serves models until the context ends.

    Args:
        models: base paths by name.
        scratch: an empty folder for its files.
        options: more of `tfrs-sage serve`.
    """

    def __init__(self, models: dict[str, Path], scratch: Path, *options: str) -> None:
        config = "".join(
            f'config {{ name: "{name}" base_path: "{path.resolve()}" '
            'model_platform: "tensorflow" }\n'
            for name, path in models.items()
        )
        (scratch / "models.config").write_text(f"model_config_list {{\n{config}}}\n")
        (scratch / "monitoring.config").write_text("prometheus_config { enable: true }\n")
        self.rest_port = _free_port()
        self._log = (scratch / "server.log").open("w+")
        command = [sys.executable, "-m", "tfrs_sage.cli", "serve", "--port", "0"]
        command += ["--model_config_file", str(scratch / "models.config")]
        command += ["--monitoring_config_file", str(scratch / "monitoring.config")]
        command += ["--rest_api_port", str(self.rest_port), *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=self._log, cwd=ROOT, env=environment
        )

    def __enter__(self) -> Self:
        while self._process.poll() is None:
            text = Path(self._log.name).read_text(encoding="utf-8")
            if found := re.search(r"serving on \S+:(\d+): ", text):
                self.port = int(found[1])
                return self
            try:
                self._process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
        raise RuntimeError(f"the server ended: {Path(self._log.name).read_text()[-2000:]}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()

    def log(self) -> str:
        """What it has said so far."""
        return Path(self._log.name).read_text(encoding="utf-8")

    def cpu_s(self) -> float:
        """Seconds of a core that it has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mib(self) -> float:
        """Memory that it holds."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return round(int(found[1]) / 1024, 1)

    def counter(self, name: str) -> float:
        """The sum of a metric over its labels; 0 where there is none."""
        url = f"http://127.0.0.1:{self.rest_port}/monitoring/prometheus/metrics"
        with urllib.request.urlopen(url, timeout=30) as response:
            text = response.read().decode()
        return sum(
            float(v) for v in re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.M)
        )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
