"""The scripts repeat each other on purpose; tests/copies.py says what is the same."""

import ast

import copies
import pytest

TEXTS = {path.name: path.read_text() for path in copies.SCRIPTS}
HINT = "meant? delete its line `# As in ...`; else `python tests/copies.py --fix` copies the original over it"


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_has_drifted(name):
    assert copies.MAIN in TEXTS[name] and copies.HELPERS in TEXTS[name], f"{name} lacks a banner"
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


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - {"dmg_offline.py"}))
def test_what_is_shared_is_marked(name):
    """A definition that equals dmg_offline.py's bears a mark, so that it is kept in step."""
    method, original = copies.split(TEXTS[name])[0], copies.split(TEXTS["dmg_offline.py"])[0]
    unmarked = []
    for node in ast.parse(original).body:
        text = hasattr(node, "name") and copies.definition(original, node.name)
        if text and f"\n{text}\n" in method and f".py\n{text}" not in method:
            unmarked.append(node.name)
    assert not unmarked, f"{name}: put `# As in dmg_offline.py` above what equals it: {', '.join(unmarked)}"


def test_marks_and_banners_that_are_wrong(monkeypatch, tmp_path):
    text = TEXTS["dmg_xql.py"].replace("def value_loss", "# As in dmg_offline.py\ndef other_loss")
    with pytest.raises(SystemExit, match="it has no other_loss"):
        copies.in_step(text, TEXTS.get)
    path = tmp_path / "mine.py"
    path.write_text(TEXTS["dmg_xql.py"].replace("# You may stop here", "# Stop"))
    monkeypatch.setattr(copies, "SCRIPTS", [path])
    monkeypatch.setattr(copies, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="mine.py lacks a banner"):
        copies.main()
