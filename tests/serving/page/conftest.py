"""A run with pictures and users, and a server that shows it."""

import pytest

from tests.serving.page.shown_run import make_shown_run, shown


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_shown_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def server(run):
    with shown(run) as server:
        yield server
