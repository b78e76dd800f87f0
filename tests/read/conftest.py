"""What the browser tests of the explore page share: one dataset, one server over it, one Chromium."""

from __future__ import annotations

import pytest
from support.explored import explored


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return explored(tmp_path_factory.mktemp("explored"))


@pytest.fixture(scope="module")
def url(dataset):
    from support.browsing import Served

    from dfndr.explore.queries import Explorer

    served = Served(Explorer(dataset))
    yield served.url
    served.stop()


@pytest.fixture(scope="module")
def uids(dataset):
    return dataset.rows(["uid"])["uid"].to_pylist()


@pytest.fixture(scope="module")
def browser():
    from support.browsing import launched

    yield from launched()


@pytest.fixture
def page(browser, url):
    from support.browsing import opened_page

    yield from opened_page(browser, url)
