"""Comments as documentation: beside a field of a class or above it, as the project's code writes them."""

import io
import tokenize

import griffe


class FieldComments(griffe.Extension):
    """Ends the docstring of a class with a table of its fields' comments: on the field's line, else above."""

    def on_class_members(self, *, cls, **kwargs):
        """Read the class's file once more, for what the syntax tree leaves out."""
        if not cls.filepath or isinstance(cls.filepath, list):
            return
        comments, alone = _comments(cls.filepath.read_text(encoding="utf-8"))
        rows = []
        for member in cls.members.values():
            if member.is_alias or not member.is_attribute or member.docstring or member.name.startswith("_"):
                continue
            text = _text(member, comments, alone)
            if text:
                rows.append(f"| `{member.name}` | {text.replace('|', chr(92) + '|')} |")
        if rows and cls.docstring:
            table = "\n".join(["", "", "| field | meaning |", "|---|---|", *rows])
            cls.docstring = griffe.Docstring(cls.docstring.value.rstrip() + table, lineno=cls.lineno, parent=cls)


def _text(member, comments, alone):
    beside = [comments[n] for n in range(member.lineno, (member.endlineno or member.lineno) + 1) if n in comments]
    if beside:
        return " ".join(beside)
    above, line = [], member.lineno - 1
    while line in alone:
        above.insert(0, comments[line])
        line -= 1
    return " ".join(above)


def _comments(source):
    """Text of each line's comment, and the lines that hold nothing else."""
    found, alone = {}, set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(("# type:", "# noqa", "# fmt:")):
            found[token.start[0]] = token.string.lstrip("#").split("# type:")[0].strip()
            if not token.line[: token.start[1]].strip():
                alone.add(token.start[0])
    return found, alone
