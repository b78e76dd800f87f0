"""A fork waits for what other threads are doing, and no longer than it is told."""

import os
import threading
import time

import pytest

from dfndr.forking import Gate, not_forked

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_waits_for_what_another_thread_is_doing_and_its_child_may_do_the_same():
    begun, ended = threading.Event(), []

    def work():
        with not_forked():
            begun.set()
            time.sleep(0.3)
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    child = os.fork()
    if not child:
        with not_forked():
            os._exit(7)
    assert ended, "the fork came after the work"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    thread.join()
    with not_forked():
        pass


def test_nobody_comes_in_while_a_gate_is_closed():
    gate, inside = Gate(), threading.Event()

    def work():
        with gate.passed():
            inside.set()

    assert gate.close()
    thread = threading.Thread(target=work)
    thread.start()
    assert not inside.wait(0.2)
    gate.open()
    assert inside.wait(10)
    thread.join()


def test_a_gate_waits_no_longer_than_it_is_told_for_those_inside():
    gate = Gate()
    with gate.passed():
        assert not gate.close(patience_s=0.01)
    assert gate.close(patience_s=0.01)
