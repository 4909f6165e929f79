#!/usr/bin/env python3
"""Compiles programs that misuse tarn.hpp, and reports in TAP whether each is refused in words that help.

    refusals.py [--structured] [--include DIR]... -- COMPILER...

With --structured those that misuse structured.hpp, too, which needs Boost.

A misuse that compiles fails at run time, in another process; a refusal that does not name the task sends the user into
template depths. So each program must fail to compile, and the message must hold every text listed for it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PRELUDE = """
#include <tarn/tarn.hpp>
#include <map>
std::int64_t count_errors(std::string_view lines) { return static_cast<std::int64_t>(lines.size()); }
TARN_TASK(count_errors);
"""

# Proves that what is refused below is refused for what it does, not for the prelude.
ACCEPTED = """
std::int64_t use(tarn::client& tarn, const tarn::object& text) {
  return tarn.submit(count_errors, text).get() + tarn.submit(count_errors, "some text").get();
}
"""

REFUSED = [
    (
        "an argument of a wrong type",
        "void use(tarn::client& tarn) { tarn.submit(count_errors, 42); }",
        ["submit(count_errors, 42)", "arguments_that_do_not_fit_the_task"],
    ),
    (
        "many values that lie nowhere",
        "void use(tarn::client& tarn, const std::vector<bool>& bits) { (void)tarn.put_many(bits); }",
        ["tarn: put_many reads the elements where they are"],
    ),
    (
        "the bytes of many objects that are gone at once",
        "void use(tarn::client& tarn) { (void)tarn.get_many(std::vector<tarn::object>(3)); }",
        ["deleted", "get_many"],
    ),
    (
        "too many arguments",
        'void use(tarn::client& tarn) { tarn.submit(count_errors, "a", "b"); }',
        ["submit(count_errors,", "arguments_that_do_not_fit_the_task"],
    ),
    (
        "too few arguments",
        "void use(tarn::client& tarn) { tarn.submit(count_errors); }",
        ["submit(count_errors)", "arguments_that_do_not_fit_the_task"],
    ),
    (
        "the future of another type",
        "void use(tarn::client& tarn, tarn::future<int>& f) { tarn.submit(count_errors, f); }",
        ["submit(count_errors, f)", "arguments_that_do_not_fit_the_task"],
    ),
    (
        "a result taken for another type",
        'void use(tarn::client& tarn) { tarn::future<int> f = tarn.submit(count_errors, "a"); }',
        ["future<int>", "count_errors"],
    ),
    (
        "a parameter that cannot travel",
        "int look_up(const std::map<int, int>& m) { return m.at(1); }  TARN_TASK(look_up);",
        ["look_up", "tarn: a parameter of this task cannot travel between processes"],
    ),
    (
        "a pointer as a parameter",
        "int read_through(const int* p) { return *p; }  TARN_TASK(read_through);",
        ["read_through", "tarn: a parameter of this task cannot travel between processes"],
    ),
    (
        "a result that cannot travel",
        "std::map<int, int> make_map() { return {}; }  TARN_TASK(make_map);",
        ["make_map", "tarn: the result of this task cannot travel between processes"],
    ),
    (
        "a result that holds a view",
        "struct Name { std::string_view text; };  Name find_name() { return {}; }  TARN_TASK(find_name);",
        ["find_name", "tarn: a result cannot hold views"],
    ),
    (
        "a task that yields and returns",
        "int count(tarn::yielder<int>& yield) { yield(1); return 2; }  TARN_TASK(count);",
        ["count", "tarn: a task that yields returns nothing"],
    ),
    (
        "a task that yields as a second parameter",
        "void count(int n, tarn::yielder<int>& yield) { yield(n); }  TARN_TASK(count);",
        ["count", "tarn: a task that yields returns nothing, and takes tarn::yielder<T>& first"],
    ),
    (
        "an item that cannot travel",
        "void list(tarn::yielder<std::map<int, int>>& yield) { yield({}); }  TARN_TASK(list);",
        ["map<int, int>", "tarn: the items of this task cannot travel between processes"],
    ),
    (
        "an item of another type",
        'void count(tarn::yielder<int>& yield) { yield("one"); }  TARN_TASK(count);',
        ["deleted", 'yield("one")'],
    ),
    (
        "arguments that do not fit a task that yields",
        "void count(tarn::yielder<int>& yield, int n) { yield(n); }  TARN_TASK(count);\n"
        'void use(tarn::client& tarn) { auto s = tarn.submit(count, "three"); }',
        ['submit(count, "three")', "arguments_that_do_not_fit_the_task"],
    ),
    (
        "a stream taken for a future",
        "void count(tarn::yielder<int>& yield, int n) { yield(n); }  TARN_TASK(count);\n"
        "void use(tarn::client& tarn) { tarn::future<int> f = tarn.submit(count, 3); }",
        ["future<int>", "stream<int>"],
    ),
    (
        "a parameter to be changed",
        "void shorten(std::string& s) { s.clear(); }  TARN_TASK(shorten);",
        ["shorten", "tarn: a task cannot change its arguments"],
    ),
    (
        "sealing what was not filled",
        "void use(tarn::client& tarn) { (void)tarn.create<int>(3).seal(); }",
        ["writer<int>", "seal"],
    ),
    (
        "submitting what was not sealed",
        "void use(tarn::client& tarn) { auto text = tarn.create<char>(3).fill('x'); tarn.submit(count_errors, text); }",
        ["submit(count_errors, text)", "arguments_that_do_not_fit_the_task"],
    ),
    (
        "filling twice",
        "void use(tarn::client& tarn) { auto text = tarn.create<char>(3); auto a = text.fill('x'); }",
        ["fill"],
    ),
    (
        "elements with pointers in shared memory",
        "void use(tarn::client& tarn) { auto names = tarn.create<std::string>(3); }",
        ["create<std::string>"],
    ),
    (
        "a view of an object that is gone at once",
        'std::string_view use(tarn::client& tarn) { return tarn.from_file("f").view(); }',
        ["deleted", "view"],
    ),
    (
        "a view of a result that is gone at once",
        "std::string make() { return {}; }  TARN_TASK(make);"
        " std::string_view use(tarn::client& tarn) { return tarn.submit(make).get_view(); }",
        ["get_view"],
    ),
    (
        "a lambda as a task",
        "TARN_TASK([](int x) { return x; });",
        ["tarn: a lambda cannot be a task"],
    ),
    (
        "a member function as a task",
        "struct Counter { int count(int by) { return by; } };  TARN_TASK(&Counter::count);",
        ["tarn: a member function cannot be a task"],
    ),
    (
        "putting strings as if they were bytes",
        "void use(tarn::client& tarn, const std::vector<std::string>& words) { (void)tarn.put(words); }",
        ["tarn: put copies bytes, and these elements hold their data elsewhere"],
    ),
    (
        "an array of strings",
        "void use(tarn::client& tarn) { (void)tarn.create_array<std::string>({3}); }",
        ["tarn: the elements of an array are bool, numbers or complex numbers of fixed size"],
    ),
    (
        "writing through the view of an array",
        "void use(const tarn::array_view<int>& cells) { cells(0) = 1; }",
        ["cells(0) = 1"],
    ),
    (
        "the label of an object that goes at once",
        "std::string_view use(tarn::client& tarn) { return tarn.put(1).label(); }",
        ["label"],
    ),
    (
        "indices for a task that takes text",
        "void use(tarn::client& tarn) { (void)tarn.map(count_errors, tarn::indices(3)); }",
        ["map(count_errors, tarn::indices(3))", "elements_or_arguments_that_do_not_fit_the_task"],
    ),
    (
        "an object as it is for a task that takes text",
        "void use(tarn::client& tarn, const tarn::object& o) { (void)tarn.map(count_errors, o); }",
        ["map(count_errors, o)", "elements_or_arguments_that_do_not_fit_the_task"],
    ),
    (
        "a map over a container of other values",
        "void use(tarn::client& tarn) { (void)tarn.map(count_errors, std::vector<int>{1}); }",
        ["map(count_errors, std::vector<int>{1})", "elements_or_arguments_that_do_not_fit_the_task"],
    ),
    (
        "a map over a container of objects",
        "void use(tarn::client& tarn, const std::vector<tarn::object>& o) { (void)tarn.map(count_errors, o); }",
        ["map(count_errors, o)", "for_objects_and_futures_there_is_submit_many"],
    ),
    (
        "a map with an argument too many",
        "void use(tarn::client& tarn, const std::vector<std::string>& t) { (void)tarn.map(count_errors, t, 1); }",
        ["map(count_errors, t, 1)", "elements_or_arguments_that_do_not_fit_the_task"],
    ),
    (
        "a map over one value",
        "int half(int n) { return n / 2; }  TARN_TASK(half); void use(tarn::client& tarn) { (void)tarn.map(half, 3); }",
        ["map(half, 3)", "elements_or_arguments_that_do_not_fit_the_task"],
    ),
    (
        "slices of an object that is gone at once",
        "void use(tarn::client& tarn) { (void)tarn.map(count_errors, tarn::slices(tarn.put(1), 3)); }",
        ["deleted", "slices"],
    ),
    (
        "futures as they finish that are gone at once",
        "void use(tarn::client& tarn) { tarn::as_completed all(std::vector<tarn::future<int>>{}); (void)tarn; }",
        ["as_completed"],
    ),
    (
        "one of several results, of another type",
        "void use(tarn::client& tarn, tarn::future<tarn::results<int, std::string>>& f) { tarn.submit(count_errors, f.part<0>()); }",
        ["submit(count_errors, f.part<0>())", "arguments_that_do_not_fit_the_task"],
    ),
    (
        "one more than there are of several results",
        "void use(tarn::future<tarn::results<int, int>>& f) { (void)f.part<2>(); }",
        ["part<2>"],
    ),
    (
        "one of several results of a task that has one",
        "void use(tarn::future<std::pair<int, int>>& f) { (void)f.part<0>(); }",
        ["part<0>", "future<std::pair<int, int>"],
    ),
    (
        "one of several results whose future is gone at once",
        "tarn::future<tarn::results<int, int>> made(); void use() { (void)made().part<0>(); }",
        ["deleted", "part"],
    ),
    (
        "several results as a parameter",
        "int first(const tarn::results<int, int>& r) { return std::get<0>(r); }  TARN_TASK(first);",
        ["tarn: a parameter cannot be tarn::results", "first"],
    ),
    (
        "several results of which one points elsewhere",
        "tarn::results<int, std::vector<std::string_view>> cut(std::string_view t) { return {1, {t}}; }  TARN_TASK(cut);",
        ["tarn: a result cannot hold views", "cut"],
    ),
    (
        "a copy of a future",
        "tarn::future<int> copy(tarn::future<int>& f) { return f; }",
        ["future<int>"],
    ),
]

STRUCTURED_PRELUDE = """
#include <tarn/structured.hpp>
#include <map>
using Numbers = tarn::structure::vector<int>;
"""

STRUCTURED_ACCEPTED = """
std::size_t use(tarn::client& tarn) {
  const tarn::object numbers = tarn::structured<Numbers>(tarn, 4096, [](Numbers& n) { n.push_back(1); });
  return tarn::view_structured<Numbers>(numbers).size();
}
"""

STRUCTURED_REFUSED = [
    (
        "a container of std in a structured object",
        "using Map = std::map<int, int>;"
        " void use(tarn::client& tarn) { (void)tarn::structured<Map>(tarn, 4096, [](Map&) {}); }",
        ["tarn: this type keeps data elsewhere"],
    ),
    (
        "a container of std with the allocator of structured objects",
        "using Map = std::map<int, int, std::less<int>, tarn::structure::allocator<std::pair<const int, int>>>;"
        " void use(tarn::client& tarn) { (void)tarn::structured<Map>(tarn, 4096, [](Map&) {}); }",
        ["tarn: this type keeps data elsewhere"],
    ),
    (
        "strings of std in a structured vector",
        "struct Names { tarn::structure::vector<std::string> names; };"
        " void use(tarn::client& tarn) { (void)tarn::structured<Names>(tarn, 4096, [](Names&) {}); }",
        ["tarn: this type keeps data elsewhere"],
    ),
    (
        "pointers in a structured object",
        "struct Entry { int number; const char* name; }; using Entries = tarn::structure::map<int, Entry>;"
        " void use(const tarn::object& o) { (void)tarn::view_structured<Entries>(o); }",
        ["tarn: this type keeps data elsewhere"],
    ),
    (
        "virtual functions in a structured object",
        "struct Shape { virtual int area() { return 0; } };"
        " void use(const tarn::object& o) { (void)tarn::view_structured<Shape>(o); }",
        ["tarn: this type keeps data elsewhere"],
    ),
    (
        "changing a structured object that is sealed",
        "void use(const tarn::object& o) { tarn::view_structured<Numbers>(o).push_back(1); }",
        ["push_back"],
    ),
    (
        "a value of an object that is gone at once",
        "const Numbers& use(tarn::client& tarn) {"
        " return tarn::view_structured<Numbers>(tarn::structured<Numbers>(tarn, 4096, [](Numbers&) {})); }",
        ["deleted", "view_structured"],
    ),
    (
        "filling a value of another type",
        "void use(tarn::client& tarn) { (void)tarn::structured<Numbers>(tarn, 4096, [](int&) {}); }",
        ["structured<Numbers>"],
    ),
    (
        "returning a value instead of filling it",
        "void use(tarn::client& tarn) {"
        " (void)tarn::structured<Numbers>(tarn, 4096, [](Numbers&) { return Numbers(); }); }",
        ["tarn: structured fills the value that it hands out"],
    ),
]


def compile_program(command: list[str], program: str) -> tuple[bool, str]:
    # A file, because messages show the line of a file, and not that of a pipe.
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "program.cpp"
        source.write_text(program)
        done = subprocess.run(
            [*command, source], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False
        )
    return done.returncode == 0, done.stderr


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--include", action="append", default=[])
    parser.add_argument("--structured", action="store_true")
    parser.add_argument("compiler", nargs="+")
    arguments = parser.parse_args()
    command = [*arguments.compiler, "-std=c++20", "-fsyntax-only", *(f"-I{path}" for path in arguments.include)]

    cases = [(name, PRELUDE + text, texts) for name, text, texts in [("right use", ACCEPTED, None), *REFUSED]]
    if arguments.structured:
        cases += [
            (name, STRUCTURED_PRELUDE + text, texts)
            for name, text, texts in [("right use of structured objects", STRUCTURED_ACCEPTED, None), *STRUCTURED_REFUSED]
        ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(lambda case: compile_program(command, case[1] + "\n"), cases))
    # Who compiles without coroutines has all but those; not every compiler can.
    without = [*command, "-fno-coroutines"]
    if compile_program(without, "")[0]:
        cases.append(("right use without coroutines", "", None))
        outcomes.append(compile_program(without, PRELUDE + ACCEPTED))

    print(f"1..{len(cases)}")
    for number, ((name, _, texts), (compiles, message)) in enumerate(zip(cases, outcomes), 1):
        refused = texts is not None
        missing = [text for text in texts or [] if text not in message]
        good = compiles != refused and not missing
        print("ok" if good else "not ok", number, "-", name, "is refused" if refused else "compiles")
        if not good:
            print("# it compiles" if compiles else f"# the message lacks {missing}")
            for line in message.splitlines()[:20]:
                print("#", line)


if __name__ == "__main__":
    sys.exit(main())
