"""Servers that are wrong, down or dying: the endpoint captioner stops its work, and no picture is marked for it."""

from dataclasses import replace

import pytest
from dfndr_builders.captions.chat import Question
from dfndr_builders.captions.patience import Address
from support.chat import KEY, Chat
from support.endpoints import asked, endpoint, expected

from dfndr.errors import DataError, UsageError


def test_a_server_that_asks_for_an_hour_stops_the_work():
    with Chat() as chat:
        chat.trouble(status=429, headers={"Retry-After": "3600"}, times=99)
        with pytest.raises(DataError, match=r"left alone for 3,600 s"):
            endpoint(chat).open()(asked(3))


def test_a_wrong_key_stops_at_once_and_is_shown_nowhere(monkeypatch, caplog):
    caplog.set_level("DEBUG")
    with Chat(key=KEY) as chat:
        about = replace(endpoint(chat), address=Address(chat.url, "VLM_KEY"), concurrency=2)
        monkeypatch.setenv("VLM_KEY", KEY)
        assert about.open()(asked(1)) == [[expected(asked(1)[0], 0)]]
        monkeypatch.setenv("VLM_KEY", "sk-wrong-42")
        with pytest.raises(DataError, match=r"The key is what VLM_KEY holds") as error:
            about.open()(asked(30))
        assert len(chat.questions) <= 4
        chat.trouble(status=400, body={"error": {"message": f"what is {KEY}?"}}, times=99)
        monkeypatch.setenv("VLM_KEY", KEY)
        with pytest.raises(DataError) as echoed:
            about.open()(asked(30))
    told = f"{error.value} {echoed.value} {about} {caplog.text}"
    assert "[key]" in told
    assert "sk-wrong-42" not in told
    assert KEY not in told


def test_a_key_that_is_not_set_is_said_before_anything_is_asked(monkeypatch):
    monkeypatch.delenv("VLM_KEY", raising=False)
    with Chat() as chat, pytest.raises(UsageError, match="environment variable VLM_KEY, found not set"):
        replace(endpoint(chat), address=Address(chat.url, "VLM_KEY")).open()
    assert not chat.questions


def test_a_model_that_is_not_there_stops_at_once():
    with Chat() as chat:
        about = replace(endpoint(chat), question=Question("other", "p"), concurrency=1)
        with pytest.raises(DataError, match=r"status 404.*The model `other` does not exist"):
            about.open()(asked(30))
    assert len(chat.questions) <= 1


def test_a_wrong_address_stops_at_once():
    with Chat() as chat:
        about = replace(endpoint(chat), address=Address(chat.url + "/v1"))
        with pytest.raises(DataError, match=r"status 404.*no such address: 'Not Found'"):
            about.open()(asked(30))


def test_a_server_that_is_down_stops_the_work_and_marks_no_picture():
    with Chat() as chat:
        about = endpoint(chat)
    with pytest.raises(DataError, match=r"6 pictures in a row.*goes on where it stopped, and no picture was marked"):
        about.open()(asked(30))
    with pytest.raises(DataError, match="none about 2 pictures"):  # too few for a row, and none was answered
        about.open()(asked(2))


def test_a_server_that_dies_after_some_answers_marks_no_picture():
    pictures = asked(8)
    with Chat() as chat:
        write = endpoint(chat).open()
        write(pictures[:4])
        chat.trouble("cut", times=float("inf"))
        with pytest.raises(DataError, match=r"none even about a picture it knew"):
            write(pictures[4:])
        chat.troubles.clear()
        assert write(pictures[4:]) == [[expected(one, 0)] for one in pictures[4:]]


def test_pictures_in_a_row_that_a_server_answers_with_nothing_stop_the_work():
    with Chat() as chat:
        chat.trouble("answer", body={"choices": [{"message": {"content": ""}}]}, times=99)
        with pytest.raises(DataError, match="6 pictures in a row without one; the last: an answer without a text"):
            endpoint(chat).open()(asked(30))


def test_a_picture_that_fails_in_a_short_outage_is_asked_about_again_at_the_end():
    pictures = asked(8)
    with Chat() as chat:
        chat.trouble("cut", times=3, on=lambda question: question.shade == 24)
        assert endpoint(chat).open()(pictures) == [[expected(one, 0)] for one in pictures]
