"""The endpoint captioner against a real server on loopback, and all that it may answer in place of a caption."""

import pickle
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from dfndr_builders.captions.captioner import Asked, Unwritten, caption_seed
from dfndr_builders.captions.chat import Question
from dfndr_builders.captions.endpoint import Endpoint
from dfndr_builders.captions.patience import Address
from PIL import Image
from support.chat import MODEL, Chat, say
from support.endpoints import QUICK, asked, endpoint, expected, picture


def test_each_caption_is_asked_for_with_its_own_seed_whatever_the_batch():
    pictures = asked(6, numbers=(0, 2))
    with Chat() as chat:
        write = endpoint(chat).open()
        whole = write(pictures)
        parts = [*write(pictures[:1]), *write(pictures[1:])]
        later = write([replace(one, attempt=1) for one in pictures[:2]])
    assert whole == [[expected(one, number) for number in (0, 2)] for one in pictures] == parts
    assert later == [[expected(replace(one, attempt=1), number) for number in (0, 2)] for one in pictures[:2]]
    assert later[0] != whole[0]


def test_what_is_sent_is_the_question_and_a_small_jpeg_without_what_else_the_file_holds():
    exif = Image.Exif()
    exif[0x010E] = "at home, 52.52 N"
    about = Question(MODEL, "What is it?", "Be brief.", 0.5, 0.8, 30, {"top_k": 40})
    with Chat() as chat:
        one = Asked("a" * 32, picture(90, size=(640, 320), exif=exif.tobytes()), (0,))
        replace(endpoint(chat), question=about, max_side=128).open()([one])
    (question,) = chat.questions
    sent = {key: value for key, value in question.body.items() if key != "messages"}
    assert sent == {
        "model": MODEL, "temperature": 0.5, "top_p": 0.8, "max_tokens": 30, "top_k": 40,
        "seed": caption_seed(5, "vlm", one, 0) % 2**31,
    }  # fmt: skip
    assert question.body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert question.body["messages"][1]["content"][1] == {"type": "text", "text": "What is it?"}
    assert (question.picture.format, question.picture.size, question.shade) == ("JPEG", (128, 64), 90)
    assert not question.picture.getexif()


def test_all_captions_of_a_picture_come_from_one_request_where_that_is_asked_for():
    pictures = asked(2, numbers=(0, 1, 2))
    with Chat() as chat:
        found = replace(endpoint(chat), together=True).open()(pictures)
    first = [caption_seed(5, "vlm", one, 0) % 2**31 for one in pictures]
    assert found == [[say(8 * place, first[place] + number) for number in range(3)] for place in range(2)]
    assert [question.body["n"] for question in chat.questions] == [3, 3]


def test_a_server_that_gives_one_choice_or_refuses_to_give_several_is_asked_for_the_rest():
    pictures = asked(1, numbers=(0, 1, 2))
    alone = [[expected(pictures[0], number) for number in range(3)]]
    with Chat(choices=1) as chat:
        assert replace(endpoint(chat), together=True).open()(pictures) == alone
        assert len(chat.questions) == 3
    with Chat() as chat:
        chat.trouble(status=400, on=lambda question: question.body.get("n", 1) > 1)
        assert replace(endpoint(chat), together=True).open()(pictures) == alone


def test_no_more_pictures_are_asked_about_at_once_than_allowed():
    with Chat() as chat:
        replace(endpoint(chat), concurrency=3).open()(asked(20))
    assert 1 <= chat.busiest <= 3


def test_an_endpoint_travels_and_its_record_holds_what_captions_depend_on_and_no_key():
    about = Endpoint("vlm", Question("m", "p", more={"top_k": 4}), Address("http://x/v1", "MY_KEY"), 5, license="mit")
    assert pickle.loads(pickle.dumps(about)) == about
    record = about.record()
    assert (record.kind, record.model, record.prompt, record.license) == ("endpoint", "m", "p", "mit")
    assert record.sampling == {
        "system": "", "temperature": 1.0, "top_p": 0.9, "max_tokens": 77, "max_side": 512, "top_k": 4,
    }  # fmt: skip
    assert record == replace(about, concurrency=99, address=Address("http://y/v1")).record()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(status):
    pictures = asked(3)
    with Chat() as chat:
        chat.trouble(status=status, times=2)
        assert endpoint(chat).open()(pictures) == [[expected(one, 0)] for one in pictures]
    assert len(chat.questions) == 5


@pytest.mark.parametrize("kind", ["cut", "half", "torn", "page"])
def test_a_broken_answer_is_asked_for_again(kind):
    pictures = asked(3)
    with Chat() as chat:
        chat.trouble(kind, times=2)
        assert endpoint(chat).open()(pictures) == [[expected(one, 0)] for one in pictures]
    assert len(chat.questions) == 5


@pytest.mark.parametrize("headers", [{"Retry-After": "0.3"}, {"Retry-After": "date"}], ids=["seconds", "date"])
def test_nobody_asks_a_server_again_before_the_time_it_names(headers):
    pictures = asked(6)
    with Chat() as chat:
        if headers["Retry-After"] == "date":
            until = datetime.now(UTC) + timedelta(seconds=1.3)  # dates have whole seconds
            headers = {"Retry-After": format_datetime(until, usegmt=True)}
        chat.trouble(status=429, headers=headers)
        about = replace(endpoint(chat), concurrency=1, patience=replace(QUICK, longest_wait_s=2.0))
        started = time.monotonic()
        assert about.open()(pictures) == [[expected(one, 0)] for one in pictures]
        assert time.monotonic() - started >= 0.29


def test_a_storm_of_429_is_weathered():
    pictures = asked(20)
    with Chat() as chat:
        chat.trouble(status=429, times=30, headers={"Retry-After": "0.01"})
        about = replace(endpoint(chat), patience=replace(QUICK, tries=12))
        assert about.open()(pictures) == [[expected(one, 0)] for one in pictures]
    assert len(chat.questions) == 50


@pytest.mark.parametrize(
    ("kind", "about", "told"),
    [
        ("reject", {"status": 500}, "status 500: 'made to fail'"),
        ("reject", {"status": 400, "body": {"error": {"message": "image too small"}}}, "status 400: 'image too small'"),
        ("reject", {"status": 422, "body": {"detail": "not so"}}, "status 422: 'not so'"),
        ("reject", {"status": 413, "body": b"<h1>too large</h1>"}, "status 413: '<h1>too large</h1>'"),
        ("cut", {}, "the connection failed"),
        ("half", {}, "the connection failed"),
        ("torn", {}, "an answer that is no JSON"),
        ("page", {}, "text/html; charset=utf-8 in place of JSON: '<html><title>Welcome"),
        ("answer", {"body": {"choices": []}}, "an answer without choices"),
        ("answer", {"body": {"ok": True}}, "JSON that is no answer of a chat"),
        ("answer", {"body": [1]}, "JSON that is no answer of a chat"),
        ("answer", {"body": {"choices": [{"message": None}]}}, "JSON that is no answer of a chat"),
    ],
)
def test_one_picture_that_a_server_cannot_answer_is_counted_and_the_others_go_on(kind, about, told):
    pictures = asked(5)
    with Chat() as chat:
        chat.trouble(kind, **about, times=float("inf"), on=lambda question: question.shade == 16)
        found = endpoint(chat).open()(pictures)
    (bad,) = found.pop(2)
    assert isinstance(bad, Unwritten)
    assert (bad.reason, bad.final) == ("unanswered", True)
    assert told in bad.detail
    assert found == [[expected(one, 0)] for place, one in enumerate(pictures) if place != 2]


@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_a_slow_answer_is_given_up_after_the_time_limit(kind):
    pictures = asked(3)
    with Chat() as chat:
        chat.trouble(kind, times=float("inf"), on=lambda question: question.shade == 16)
        about = replace(endpoint(chat), patience=replace(QUICK, timeout_s=0.5, tries=2))
        found = about.open()(pictures)
    assert found[2][0].detail == "no answer within 0.5 s"
    assert found[:2] == [[expected(one, 0)] for one in pictures[:2]]


@pytest.mark.parametrize(
    ("message", "finish", "reason"),
    [
        ({"content": None, "refusal": "I can't help with that."}, "stop", "refusing"),
        ({"content": ""}, "content_filter", "refusing"),
        ({"content": "  \n"}, "stop", "empty"),
        ({"content": None}, "stop", "empty"),
        ({"content": "A dog on a"}, "length", "unfinished"),
    ],
)
def test_an_answer_without_a_caption_gets_a_reason_and_may_be_asked_for_again(message, finish, reason):
    with Chat() as chat:
        body = {"choices": [{"message": message, "finish_reason": finish}]}
        chat.trouble("answer", body=body, on=lambda question: question.shade == 8)
        found = endpoint(chat).open()(asked(3))
    assert isinstance(found[1][0], Unwritten)
    assert (found[1][0].reason, found[1][0].final) == (reason, False)


def test_an_answer_in_parts_is_put_together():
    parts = [{"type": "text", "text": "A dog "}, {"type": "text", "text": "on grass."}]
    with Chat() as chat:
        chat.trouble("answer", body={"choices": [{"message": {"content": parts}}]})
        assert endpoint(chat).open()(asked(1)) == [["A dog on grass."]]


def test_a_picture_that_cannot_be_decoded_is_not_sent():
    with Chat() as chat:
        found = endpoint(chat).open()([Asked("a" * 32, b"no picture", (0, 1)), *asked(1)])
    assert [one.reason for one in found[0]] == ["image_unreadable"] * 2
    assert len(chat.questions) == 1
