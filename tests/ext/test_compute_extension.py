"""The compute role of tidewater.so against a page service that is a stock standby."""
import glob
import os
import struct
import threading
import time

import psycopg2
import pytest

from conftest import LIBRARY, Server
from page_server import GET_PAGES


def test_starts_without_relation_files(cluster):
    assert cluster.compute.value("select count(*) from big") == 40000
    assert cluster.compute.value("select count(*) from big where filler = repeat(md5('77'), 8)") == 1
