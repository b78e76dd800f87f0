"""What asking a server came to: counted, priced, kept over runs, and read with suspicion."""

from dfndr_builders.captions.captioner import Asked
from dfndr_builders.captions.chat import Question
from dfndr_builders.captions.endpoint import Endpoint
from dfndr_builders.captions.patience import Address, Patience
from dfndr_builders.captions.tally import Ledger, Prices, Tally, read_tallies
from support.chat import MODEL, Chat
from support.pairs import glyph_table

PATIENCE = Patience(60.0, tries=2, first_wait_s=0.005)


def test_tokens_requests_and_cost_of_all_workers_and_runs_are_added_up(tmp_path):
    images = glyph_table(6, seed=1)["image"].to_pylist()
    asked = [Asked(f"{row:032x}", image, (0, 1)) for row, image in enumerate(images)]
    ledger = Ledger(str(tmp_path / "asked"))
    with Chat() as chat:
        about = Endpoint("vlm", Question(MODEL, "p"), Address(chat.url), 0, patience=PATIENCE, ledger=ledger)
        priced = Endpoint(**{**vars(about), "prices": Prices(2.0, 10.0)})
        first = priced.open()
        first(asked[:2])
        first(asked[2:4])
        chat.trouble(status=503)
        priced.open()(asked[4:])
    told = read_tallies(ledger.folder)["vlm"]
    assert (told.pictures, told.requests, told.retries, told.unanswered) == (6, 13, 1, 0)
    assert (told.tokens_in, told.tokens_out) == (1200, 84)
    assert told.cost == (1200 * 2 + 84 * 10) / 1e6
    assert 0 < told.seconds < 60


def test_what_was_paid_before_a_server_died_is_kept(tmp_path):
    ledger = Ledger(str(tmp_path / "asked"))
    asked = [Asked(f"{row:032x}", image, (0,)) for row, image in enumerate(glyph_table(4, seed=1)["image"].to_pylist())]
    with Chat() as chat:
        chat.trouble(status=401, on=lambda question: len(chat.questions) > 2)
        about = Endpoint("vlm", Question(MODEL, "p"), Address(chat.url), 0, concurrency=1, ledger=ledger)
        try:
            about.open()(asked)
        except Exception as error:  # whatever it is, what matters is what was written down
            assert "401" in str(error)
    assert (read_tallies(ledger.folder)["vlm"].requests, read_tallies(ledger.folder)["vlm"].tokens_out) == (3, 14)


def test_files_that_are_no_tallies_are_left_out(tmp_path):
    Ledger(str(tmp_path)).write("a-00000000.json", Tally(pictures=3, seconds=2.0))
    for number, text in enumerate(("", "[]", "{}", '{"pictures": "many"}', "[" * 100_000, '{"pictures": -1}')):
        (tmp_path / f"a-{number:08x}1.json").write_text(text)
    assert read_tallies(str(tmp_path)) == {"a": Tally(pictures=3, seconds=2.0)}
    assert read_tallies(str(tmp_path / "none")) == {}
    assert str(Tally(pictures=3, seconds=2.0)).startswith("3 pictures, 1.5 a second by each worker")
