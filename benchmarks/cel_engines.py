"""One validation rule on each CEL evaluator that is installed: microseconds per evaluation.

pip install cel-python common-expression-language cel-expr-python   # for the comparison; none is a dependency
python benchmarks/cel_engines.py
"""

import timeit
from collections.abc import Callable
from typing import Any

RULE = 'self.items.all(x, x.name.startsWith("a")) && self.min <= self.max && has(self.spec) && self.spec.replicas > 1'
SELF = {"items": [{"name": f"a{i}"} for i in range(5)], "min": 1, "max": 3, "spec": {"replicas": 3}}
ROUNDS = 1000


def own() -> Callable[[], Any]:
    from wherry.server.cel.environment import Environment
    from wherry.server.cel.types import DYN

    program = Environment({"self": DYN}).compile(RULE)
    return lambda: program.evaluate({"self": SELF})


def cel_python() -> Callable[[], Any]:
    import celpy

    environment = celpy.Environment()
    program = environment.program(environment.compile(RULE))
    return lambda: program.evaluate({"self": celpy.json_to_cel(SELF)})


def rust() -> Callable[[], Any]:
    import cel

    program = cel.compile(RULE)
    return lambda: program.execute({"self": SELF})


def cpp() -> Callable[[], Any]:
    from cel_expr_python import cel

    program = cel.NewEnv(variables={"self": cel.Type.DYN}).compile(RULE)
    return lambda: program.eval(data={"self": SELF})


def main() -> None:
    """Print a line for each."""
    for make in (own, cel_python, rust, cpp):
        try:
            run = make()
        except ImportError as error:
            print(f"{make.__name__:12} not installed ({error.name})")
            continue
        run()
        print(f"{make.__name__:12} {timeit.timeit(run, number=ROUNDS) / ROUNDS * 1e6:8.1f} us")


if __name__ == "__main__":
    main()
