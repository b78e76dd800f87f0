"""The default rules on pictures: the cheap checks of cleanvision and the limits of DataComp, tried on real pools.

A limit of a source is taken over where it does no harm. Where it would drop what is worth keeping (charts on white,
photographs at night), ours is laxer, and the source's is named. A rule drops what fails it whatever the rest says, so
a default must be right about nearly every row it drops. `grayscale_image` and `odd_format` are a matter of taste.
"""

from __future__ import annotations

from dfndr_builders.rules import Comparison, Default, DropRule, Value

__all__ = ["IMAGE_RULES"]


def _default(
    reason: str, column: str, comparison: Comparison, value: Value, *, source: str, drops: str, keeps: str
) -> Default:
    return Default(DropRule(reason, column, comparison, value), "image", source, drops, keeps)


IMAGE_RULES: tuple[Default, ...] = (
    _default(
        "narrow_image",
        "width",
        "below",
        200,
        source="DataComp basic filter; COYO-700M",
        drops="noise 199x300",
        keeps="noise 200x300",
    ),
    _default(
        "short_image",
        "height",
        "below",
        200,
        source="DataComp basic filter; COYO-700M",
        drops="noise 300x199",
        keeps="noise 300x200",
    ),
    _default(
        "odd_aspect",
        "aspect",
        "above",
        3.0,
        source="DataComp basic filter; COYO-700M (cleanvision 0.3: 2.86)",
        drops="noise 640x200",
        keeps="noise 600x200",
    ),
    _default(
        "small_file",
        "image_bytes",
        "below",
        2_000,
        source="ours: LAION-400M and COYO-700M take 5,000, under which there are good photographs of 224 x 224",
        drops="white 300x200",
        keeps="noise 64x64 as jpeg",
    ),
    _default(
        "large_file",
        "image_bytes",
        "above",
        20_000_000,
        source="ours: a guard, far above any photograph of the pools it was tried on",
        drops="noise 2700x2500 as bmp",
        keeps="noise 640x480 as bmp",
    ),
    _default(
        "odd_format",
        "image_format",
        "one_of",
        ("bmp", "gif"),
        source="ours: of an animation only the first frame is seen",
        drops="noise 300x200 as gif",
        keeps="noise 300x200 as webp",
    ),
    _default(
        "grayscale_image",
        "grayscale",
        "is",
        True,
        source="cleanvision 0.3, but by the pixels and not by the file's colour mode",
        drops="grey noise 300x200",
        keeps="noise 300x200",
    ),
    _default(
        "dark_image",
        "luminance_p99",
        "below",
        0.15,
        source="cleanvision 0.3 takes 0.32, under which there are good photographs of the night, and flags",
        drops="dark noise 300x200",
        keeps="black 300x200 with a disc",
    ),
    _default(
        "light_image",
        "luminance_p01",
        "above",
        0.95,
        source="cleanvision 0.3 takes the 5th percentile, which is white in a line chart as well",
        drops="white 640x480 with a dot",
        keeps="white 640x480 with lines",
    ),
    _default(
        "low_information",
        "entropy",
        "below",
        0.2,
        source="ours: cleanvision 0.3 takes 1.4 or so (3 over the three bands together), which drops charts and flags",
        drops="white 640x480 with a dot",
        keeps="white 640x480 with lines",
    ),
    _default(
        "blurry_image",
        "sharpness",
        "below",
        0.03,
        source="ours: the check of cleanvision 0.3 on a larger copy; the softest of 6,108 real pictures has 0.033",
        drops="blurred noise 640x480",
        keeps="noise 640x480",
    ),
)
"""In the order in which a row that meets several is counted."""
