"""Keep in step what the single-file scripts share on purpose.

    python tests/copies.py          # name what has drifted; exit code 1 if anything has
    python tests/copies.py --fix    # copy it from its original

Shared are: below the second banner the helpers of the harness, as in dmg_offline.py; between the banners
main() with what belongs to it, as in dmg_offline.py or, in scripts that go online, as in dmg_finetune.py;
and above the first banner every definition behind a line such as `# As in dmg_offline.py`.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RULE = "# " + "=" * 106 + "\n"
MAIN, HELPERS = RULE + "# You may stop here", RULE + "# The helpers of the harness"
ONLINE_MAIN = "is the same in both scripts that go online"
SCRIPTS = [path for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("baselines/*.py")])]


def split(text):
    """The method, main() with what belongs to it, and the helpers."""
    method, _, rest = text.partition(MAIN)
    between, _, helpers = rest.partition(HELPERS)
    return method, MAIN + between, HELPERS + helpers


def definition(text, name):
    """The source of the function or class with that name, or "" if there is none."""
    node = next((node for node in ast.parse(text).body if getattr(node, "name", "") == name), None)
    if not node:
        return ""
    start = min([node.lineno, *[decorator.lineno for decorator in node.decorator_list]]) - 1
    return "\n".join(text.splitlines()[start : node.end_lineno])


def in_step(text, read):
    """The text with what it shares as in the originals, and the names of what was different.

    read: name of a script -> its text.
    """
    method, between, helpers = split(text)
    original = "dmg_finetune.py" if ONLINE_MAIN in between else "dmg_offline.py"
    wanted = {"main": split(read(original))[1], "helpers": split(read("dmg_offline.py"))[2]}
    drifted = [name for name, own in (("main", between), ("helpers", helpers)) if own != wanted[name]]
    for original, name in re.findall(r"^# As in (\w+\.py)\n(?:@.*\n)*(?:def|class) (\w+)", method, re.M):
        own, new = definition(method, name), definition(split(read(original))[0], name)
        if not new:
            sys.exit(f"# As in {original}: it has no {name}; delete that line")
        if own != new:
            drifted.append(name)
            method = method.replace(own, new)
    return method + wanted["main"] + wanted["helpers"], drifted


def main():
    paths, has_drifted = {path.name: path for path in SCRIPTS}, False
    for path in SCRIPTS:
        if not (MAIN in path.read_text() and HELPERS in path.read_text()):
            sys.exit(f"{path.relative_to(ROOT)} lacks a banner: copy both from dmg_offline.py")
        text, drifted = in_step(path.read_text(), lambda name: paths[name].read_text())
        if drifted:
            has_drifted = True
            print(f"{path.relative_to(ROOT)}: {', '.join(drifted)} differ from the original", end="")
            print("; copied" if "--fix" in sys.argv else " (--fix copies it)")
            if "--fix" in sys.argv:
                path.write_text(text)
    sys.exit(has_drifted and "--fix" not in sys.argv)


if __name__ == "__main__":
    main()
