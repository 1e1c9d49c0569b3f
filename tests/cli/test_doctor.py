"""`doctor` knows which versions must go together."""

import json
import re
import subprocess
import sys

import pytest

from tfrs_sage.cli.doctor import PACKAGES, cpu_flags, find_mismatches, memory_gib

GOOD = {
    **dict.fromkeys(PACKAGES, "1.0"),
    "tensorflow": "2.20.0",
    "tensorflow-text": "2.20.1",
    "tf-keras": "2.20.1",
    "tensorflow-serving-api": "2.20.0",
    "scann": "1.4.2",
}
LEGACY = {"TF_USE_LEGACY_KERAS": "1"}


def test_versions_that_fit() -> None:
    assert find_mismatches(GOOD, "3.11.9", LEGACY) == []
    assert find_mismatches(GOOD, "3.12.0", LEGACY) == []


@pytest.mark.parametrize(
    "change,message",
    [
        ({"tensorflow-text": "2.19.0"}, r"tensorflow-text 2.19.0 needs TensorFlow 2.19.*2.20.0"),
        ({"tf-keras": "2.21.0"}, r"tf-keras 2.21.0 needs TensorFlow 2.21"),
        ({"tensorflow-serving-api": "2.2.0"}, r"serving-api 2.2.0 needs TensorFlow 2.2\."),
        ({"scann": None}, r"scann must be installed"),
        ({"scann": "1.3.0"}, r"scann must be a version that was tried.*Found: 1.3.0"),
    ],
)
def test_a_pair_that_does_not_fit(change: dict, message: str) -> None:
    (told,) = find_mismatches({**GOOD, **change}, "3.11.9", LEGACY)
    assert re.search(message, told), told


def test_another_tensorflow_breaks_every_pair() -> None:
    told = find_mismatches({**GOOD, "tensorflow": "2.21.0"}, "3.11.9", LEGACY)
    assert [text.split()[0] for text in told] == [
        "tensorflow-text",
        "tf-keras",
        "tensorflow-serving-api",
        "scann",
    ]


@pytest.mark.parametrize("python", ["3.10.2", "3.13.0", "3.1.0"])
def test_python(python: str) -> None:
    (told,) = find_mismatches(GOOD, python, LEGACY)
    assert told.startswith("Python must be 3.11 or 3.12. Found: 3.1")


@pytest.mark.parametrize("environment", [{}, {"TF_USE_LEGACY_KERAS": "0"}])
def test_legacy_keras(environment: dict) -> None:
    (told,) = find_mismatches(GOOD, "3.11.9", environment)
    assert "TF_USE_LEGACY_KERAS must be 1" in told


def test_cpu_flags() -> None:
    cpuinfo = "processor : 0\nvmx flags : fma\nflags\t\t: fpu avx avx2 avx512fp16\n"
    assert cpu_flags(cpuinfo) == {"avx2": True, "fma": False, "avx512f": False}
    assert cpu_flags("") == {"avx2": None, "fma": None, "avx512f": None}


def test_memory() -> None:
    meminfo = "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:   8388608 kB\n"
    assert memory_gib(meminfo) == {"total": 16.0, "available": 8.0}
    assert memory_gib("") == {"total": None, "available": None}


def test_this_environment_fits() -> None:
    script = "from tfrs_sage.cli.main import entry; entry()"
    done = subprocess.run(
        [sys.executable, "-c", script, "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["ok"] is True
    assert result["packages"]["tensorflow"].startswith("2.20.")
    assert isinstance(result["gpus"], list)
