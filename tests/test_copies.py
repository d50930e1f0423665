"""The scripts repeat each other on purpose; tests/copies.py says what is the same."""

import copies
import pytest

TEXTS = {path.name: path.read_text() for path in copies.SCRIPTS}
HINT = "run `python tests/copies.py --fix`, or read benchmark/add_a_method.md"


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_has_drifted(name):
    assert copies.MAIN in TEXTS[name] and copies.HELPERS in TEXTS[name], f"{name} lacks a banner: {HINT}"
    text, drifted = copies.in_step(TEXTS[name], TEXTS.get)
    assert not drifted, f"{name}: {', '.join(drifted)} differ from the original: {HINT}"
    assert text == TEXTS[name]


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("helpers", "def play(env", "def play(environment"),
        ("main", "bar.close()", "bar.close"),
        ("update", "q_data.mean(-1)", "q_data.mean(0)"),
    ],
)
def test_an_edit_is_noticed_and_mended(name, old, new):
    text = TEXTS["dmg_xql.py"]
    assert old in text
    mended, drifted = copies.in_step(text.replace(old, new, 1), TEXTS.get)
    assert drifted == [name] and mended == text


def test_what_is_shared_is_marked():
    """A definition that equals the original's bears the mark, so that it is kept in step."""
    method = copies.split(TEXTS["dmg_offline.py"])[0]
    for name in ("Linear", "Critic", "Agent", "update", "train", "draw", "make_optimizers"):
        text = copies.split(TEXTS["dmg_xql.py"])[0]
        assert f"# As in dmg_offline.py\n{copies.definition(method, name)}" in text
