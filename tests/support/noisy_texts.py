"""Texts of characters and phrases that a measure or a repair may stumble over."""

from hypothesis import strategies as st

__all__ = ["NOISY"]

NOISY = st.text(
    st.sampled_from(list("ab Zé\u0301.,|-:/()[]<>&;#3\u4e00\u0e01\u200d\U0001f600\U0001f1fb\U0001f1f3")), max_size=40
) | st.lists(
    st.sampled_from(
        [
            *("Click to enlarge", "dog", "a", ":", "|", "- stock photo", "https://a.b/c", "&amp;", "<b>", "5 likes"),
            *(".jpg", "Photo by Jane Doe", "(", ")", "&lt;", "www.x.y", ",", "|690x351", "[dog](https://a.b)"),
        ]
    ),
    max_size=8,
).map(" ".join)
