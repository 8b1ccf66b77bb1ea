"""$(NAME) in commands, arguments and environment values (Kubernetes' third_party/forked/golang/expansion)."""

from collections.abc import Mapping


def expand(text: str, values: Mapping[str, str]) -> str:
    """`text` with $(NAME) replaced where NAME is known; $$ is one $, so that $$(NAME) stays $(NAME)."""
    if "$" not in text:
        return text
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            out.append(text[at])
            at += 1
        elif text[at + 1] == "$":
            out.append("$")
            at += 2
        elif text[at + 1] == "(" and (end := text.find(")", at + 2)) >= 0:
            name = text[at + 2 : end]
            out.append(values.get(name, f"$({name})"))
            at = end + 1
        else:
            out.append(text[at : at + 2])
            at += 2
    return "".join(out)
