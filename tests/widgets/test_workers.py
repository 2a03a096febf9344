"""Sliders ask for more than can be computed: only the newest request counts, and rest is used."""

from __future__ import annotations

from threading import Event, get_ident

import pytest
from qtpy.QtCore import QCoreApplication, QEvent, QObject, QThreadPool, QTimer

from napari_brainvae.widgets.workers import REST_MS, AtRest, Latest

LONG = 10_000


class Desk:
    """A `Latest` whose computations wait for a word, and that notes what happens."""

    def __init__(self):
        self.begun, self.shown, self.failures = [], [], 0
        self.go = Event()
        self.here = get_ident()
        self.latest = Latest(self.compute, self.show, self.failed)

    def compute(self, position):
        assert get_ident() != self.here, "computed in a background thread"
        self.begun.append(position)
        assert self.go.wait(10)
        if position < 0:
            raise ValueError("no such position")
        return position

    def show(self, position):
        assert get_ident() == self.here, "shown in the GUI thread"
        self.shown.append(position)

    def failed(self, message):
        assert message
        self.failures += 1


@pytest.fixture
def desk(qapp):
    desk = Desk()
    yield desk
    desk.go.set()


def test_what_was_superseded_is_neither_computed_nor_shown(desk, qtbot):
    for position in range(20):
        desk.latest.request(position)
    qtbot.waitUntil(lambda: desk.begun == [0], timeout=LONG)
    for position in range(20, 40):
        desk.latest.request(position)
    assert not desk.latest.idle
    desk.go.set()
    qtbot.waitUntil(lambda: desk.latest.idle, timeout=LONG)
    assert desk.begun == desk.shown == [0, 39]


def test_the_last_thing_shown_is_the_last_that_was_asked(desk, qtbot):
    """Requests that come while results are on their way, in every state of the worker."""
    desk.go.set()
    for position in range(200):
        desk.latest.request(position)
        if position % 7 == 0:
            qtbot.wait(1)
        if position % 50 == 0:
            qtbot.waitUntil(lambda: desk.latest.idle, timeout=LONG)
    qtbot.waitUntil(lambda: desk.latest.idle, timeout=LONG)
    assert desk.shown == sorted(desk.shown), "never an older one after a newer one"
    assert desk.shown[-1] == 199
    assert desk.shown == desk.begun


def test_a_request_made_while_a_result_is_shown_is_answered(desk, qtbot):
    show = desk.show

    def show_and_ask(position):
        show(position)
        if position < 3:
            desk.latest.request(position + 1)

    desk.latest._show = show_and_ask
    desk.go.set()
    desk.latest.request(0)
    qtbot.waitUntil(lambda: desk.shown == [0, 1, 2, 3] and desk.latest.idle, timeout=LONG)


def test_the_window_gets_its_turn_between_two_answers(desk, qtbot):
    """Also if the second is there before the first is painted."""
    happened = desk.shown

    class Picture(QObject):
        def customEvent(self, event):
            happened.append("painted")
            QThreadPool.globalInstance().waitForDone(LONG)

    picture, show = Picture(), desk.show

    def show_and_paint(position):
        show(position)
        QCoreApplication.postEvent(picture, QEvent(QEvent.Type.User))

    desk.latest._show = show_and_paint
    mouse = QTimer()  # of which Qt hears in its turn, as of a timer
    mouse.timeout.connect(lambda: happened.append("moved"))
    desk.latest.request(0)
    qtbot.waitUntil(lambda: desk.begun == [0], timeout=LONG)
    desk.latest.request(1)
    mouse.start(0)
    desk.go.set()
    qtbot.waitUntil(lambda: desk.latest.idle, timeout=LONG)
    mouse.stop()
    assert "moved" in happened[happened.index("painted") : happened.index(1)]


def test_after_a_failure_the_newest_is_answered(desk, qtbot):
    with qtbot.captureExceptions() as exceptions:
        desk.latest.request(-1)
        qtbot.waitUntil(lambda: desk.begun == [-1], timeout=LONG)
        desk.latest.request(5)
        desk.latest.request(6)
        desk.go.set()
        qtbot.waitUntil(lambda: desk.latest.idle, timeout=LONG)
    assert desk.failures == 1
    assert desk.shown == [6]
    assert "no such position" in str(exceptions[0][1])


def test_once_closed_nothing_is_shown(desk, qtbot):
    desk.latest.request(1)
    qtbot.waitUntil(lambda: desk.begun == [1], timeout=LONG)
    desk.latest.request(2)
    desk.latest.close()
    desk.go.set()
    qtbot.waitUntil(lambda: desk.latest.idle, timeout=LONG)
    desk.latest.request(3)
    qtbot.wait(50)
    assert desk.begun == [1]
    assert desk.shown == []


def test_what_is_asked_while_the_application_ends_is_not_begun(desk, qapp, qtbot):
    """A worker that outlives the application aborts the process."""
    qapp.aboutToQuit.emit()
    desk.latest.request(1)
    qtbot.wait(50)
    assert desk.begun == []
    assert desk.latest.idle


class Steps:
    """Work at rest that notes where and for what each of its steps ran."""

    def __init__(self):
        self.taken, self.go = [], Event()
        self.work = AtRest(self.steps)

    def steps(self, position):
        for i in range(1000):
            self.taken.append((position, i, get_ident()))
            assert self.go.wait(10)
            yield


@pytest.fixture
def steps(qapp):
    steps = Steps()
    yield steps
    steps.work.stop()
    steps.go.set()


def test_nothing_is_done_before_there_is_rest(steps, qtbot):
    for position in range(10):
        steps.work.begin(position)
        qtbot.wait(REST_MS // 4)
    assert steps.taken == []
    qtbot.waitUntil(lambda: len(steps.taken) == 1, timeout=LONG)
    [(position, step, thread)] = steps.taken
    assert (position, step) == (9, 0)
    assert thread != get_ident(), "in a background thread"


@pytest.mark.parametrize("running", [False, True])
def test_stopped_it_takes_no_further_step(steps, qtbot, running):
    steps.work.begin(1)
    if running:
        qtbot.waitUntil(lambda: len(steps.taken) == 1, timeout=LONG)
    steps.work.stop()
    steps.go.set()
    qtbot.wait(2 * REST_MS)
    assert len(steps.taken) == running


def test_begun_again_it_leaves_what_it_did(steps, qtbot):
    steps.work.begin(1)
    qtbot.waitUntil(lambda: len(steps.taken) == 1, timeout=LONG)
    steps.work.begin(2)
    steps.go.set()
    qtbot.waitUntil(lambda: len(steps.taken) == 1001, timeout=LONG)
    assert [position for position, *_ in steps.taken] == [1] + 1000 * [2]
