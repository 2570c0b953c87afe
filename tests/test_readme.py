"""README is short and has the two commands; tests/test_docs.py has its tables, links and commands."""

from tests.support.pages import README, SET_UP

TEXT = README.read_text()


def test_it_is_short():
    assert len(TEXT.splitlines()) < 120


def test_there_are_two_commands_from_nothing_each_of_one_line():
    lines = [line for line in TEXT.splitlines() if line.startswith(SET_UP)]
    assert len(lines) == 2
    assert lines[0].endswith("-m benchmark run")
    assert "pytest" in lines[1]


def test_ci_finds_the_test_command_with_all_that_the_tests_need():
    after = TEXT.partition("<!-- tests -->")[2]
    assert "'.[test,ray,docs,federated]'" in next(line for line in after.splitlines() if line.startswith(SET_UP))
