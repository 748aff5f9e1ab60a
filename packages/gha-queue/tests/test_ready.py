from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gha_queue._keys import Attempt, Marker
from gha_queue._ready import select

NOW = 100.0
markers = st.builds(
    Marker,
    st.integers(0, 9),
    st.integers(90, 110),
    st.just(""),
    st.builds(Attempt, st.sampled_from(["a", "a.1", "b-c"]), st.integers(1, 3)),
)


def listing(found: set[Marker]) -> list[str]:
    return sorted(marker.key for marker in found)


@given(st.sets(markers, max_size=40), st.integers(1, 7))
def test_paging_finds_every_due_marker_by_priority(found: set[Marker], size: int) -> None:
    keys, resume = listing(found), ""
    picked: list[Marker] = []
    pages = 0
    while True:
        rest = [key for key in keys if key > resume]
        selection = select(rest[:size], NOW, more=len(rest) > size)
        picked += [marker for group in selection.due for marker in group]
        pages += 1
        if selection.resume is None:
            break
        assert selection.resume > resume
        resume = selection.resume
    assert set(picked) == {marker for marker in found if marker.due <= NOW}
    assert [marker.priority for marker in picked] == sorted(m.priority for m in picked)
    assert pages <= len(keys) + 1


def test_a_page_of_delayed_markers_is_passed_over_at_once() -> None:
    delayed = {Marker(3, 200, "", Attempt(f"j{number}", 1)) for number in range(5)}
    assert select(listing(delayed), NOW, more=True).resume == "ready/4"


def test_delayed_markers_of_the_last_priority_end_the_listing() -> None:
    assert select([Marker(9, 200, "", Attempt("a", 1)).key], NOW, more=True).resume is None


def test_foreign_keys_are_passed_over() -> None:
    assert select(["ready/nonsense"], NOW, more=True).resume == "ready/nonsense"
    assert select(["ready/nonsense"], NOW, more=False).due == ()
