"""The default rules on texts, each with where its limit is from, a text that it drops and one that it keeps.

Limits made for web pages of fifty words and more (Gopher, DCLM) are loosened where they would drop plain captions.
The first rule that a row meets names it, so what a text is comes before how long it is.
"""

from __future__ import annotations

from dfndr_builders.rules import Comparison, Default, DropRule, Value

__all__ = ["TEXT_RULES"]


def _rule(
    reason: str, column: str, comparison: Comparison, value: Value, *, source: str, drops: str, keeps: str
) -> Default:
    return Default(DropRule(reason, column, comparison, value), "text", source, drops, keeps)


_WHAT_IT_IS = (
    _rule(
        *("file_name", "is_file_name", "is", True),
        source="own: what cameras, phones and programs call their files",
        drops="DSC04818.jpg",
        keeps="A dog running on the beach.jpg",
    ),
    _rule(
        *("boilerplate", "boilerplate", "is", True),
        source="DCLM's boilerplate lines (arXiv 2406.11794), with phrases of alt text",
        drops="Click to enlarge",
        keeps="Click to enlarge: a red barn beside a frozen lake",
    ),
    _rule(
        *("banned_word", "banned", "is", True),
        source="C4's word list as an idea (arXiv 1910.10683); there is no list unless a recipe gives one",
        drops="Play at our online casino tonight",
        keeps="A street of casinos in Las Vegas at night",
    ),
    _rule(
        *("url", "has_url", "is", True),
        source="RefinedWeb (arXiv 2306.01116) takes addresses out; the repair step does, and this finds the rest",
        drops="Visit https://example.com/shop today for more pictures",
        keeps="The logo of Booking.com on a glass door",
    ),
)

_LENGTHS = (
    _rule(
        *("few_words", "words", "below", 3),
        source="DataComp's basic filter (arXiv 2304.14108): more than two words",
        drops="nice picture",
        keeps="几只狗在草地上奔跑",
    ),
    _rule(
        *("few_characters", "characters", "below", 6),
        source="DataComp's basic filter (arXiv 2304.14108): more than five characters",
        drops="a b c",
        keeps="a cat up",
    ),
    _rule(
        *("many_words", "words", "above", 256),
        source="own: over three times what a CLIP model with 77 tokens reads",
        drops=" ".join(["A man, a plan, a canal;"] * 50),
        keeps="A long table with plates, glasses, candles, flowers and a cake, seen from above in a bright room",
    ),
    _rule(
        *("long_words", "mean_word_length", "above", 15),
        source="Gopher (arXiv 2112.11446) has 10 for English prose; German compounds and names of chemicals pass 10",
        drops="gistr_map_render_final_v2 leaflet_choropleth_quantile ms_aggregate_polygons",
        keeps="Precipitation Hyetograph and Stream-flow Hydrograph",
    ),
    _rule(
        *("short_words", "mean_word_length", "below", 2),
        source="Gopher (arXiv 2112.11446) has 3; Vietnamese and Hindi captions lie around 3",
        drops="S M L XL 2X 3X",
        keeps="cô bé đi ra bờ ao",
    ),
)

_CHARACTERS = (
    _rule(
        *("symbols", "symbol_share", "above", 0.3),
        source="Gopher (arXiv 2112.11446) limits # and … to 0.1 per word; by characters, 0.17 is the most on Flickr8k",
        drops=">>> new!!! *** (((summer))) *** (((sale))) <<<",
        keeps="Hello, world: it's 5 o'clock (again)!",
    ),
    _rule(
        *("digits", "digit_share", "above", 0.4),
        source="DCLM's numeric lines (arXiv 2406.11794), by characters; 0.11 is the most on Flickr8k",
        drops="SKU 4711-0815 EAN 4006381333931",
        keeps="Flight 370 over runway 27 in 1998",
    ),
    _rule(
        *("upper_case", "upper_share", "above", 0.8),
        source="DCLM's upper-case lines (arXiv 2406.11794) have 0.5; names in capitals pass it in short texts",
        drops="BUY NOW FREE SHIPPING WORLDWIDE",
        keeps="HTTPS URL on desktop",
    ),
    _rule(
        *("few_letters", "alphabetic_share", "below", 0.5),
        source="Gopher (arXiv 2112.11446) has 0.8; a full stop set apart, as in Flickr8k, is a part without letters",
        drops="cats - - - dogs & & birds",
        keeps="Two dogs , one ball .",
    ),
)

_REPETITION = (
    _rule(
        *("repetition_2grams", "top_2gram_share", "above", 0.7),
        source="Gopher (arXiv 2112.11446) has 0.20 for pages of fifty words and more",
        drops="red shoes red shoes red shoes sale",
        keeps="A peanut, a chocolate covered peanut, and a peanut M&M",
    ),
    _rule(
        *("repetition_3grams", "top_3gram_share", "above", 0.7),
        source="Gopher (arXiv 2112.11446) has 0.18 for pages of fifty words and more",
        drops="blue wool hat, blue wool hat for men",
        keeps="A boy in a red shirt and a girl in a red dress",
    ),
    _rule(
        *("repetition_4grams", "top_4gram_share", "above", 0.75),
        source="Gopher (arXiv 2112.11446) has 0.16 for pages of fifty words and more",
        drops="cheap red running shoes - cheap red running shoes for women",
        keeps="geofecetAR R package hex logo on the left and original polAr R package hex logo on the right",
    ),
    _rule(
        *("repetition_5grams", "repeated_5gram_share", "above", 0.7),
        source="Gopher (arXiv 2112.11446) has 0.15 for pages of fifty words and more",
        drops="a small white dog on a long red sofa, a small white dog on a long red sofa",
        keeps="a man with a blue hat on the left and a man with a blue hat on the right of a long wooden table",
    ),
)

TEXT_RULES: tuple[Default, ...] = (*_WHAT_IT_IS, *_LENGTHS, *_CHARACTERS, *_REPETITION)
"""The rules that `use = ["text"]` means, in the order in which they are tried."""
