"""What the lines of a training log tell. The lines are those of real CNTK 2.7."""

import pytest

from openbatchai.quickstart.progress import Epoch, Final, Lines, parse


def test_an_epoch():
    line = (
        "Finished Epoch[3 of 40]: [Training] loss = 0.079708 * 60000, "
        "metric = 2.30% * 60000 29.357s (2043.8 samples/s);"
    )
    assert parse(line) == Epoch(number=3, loss=0.079708, error=2.3, samples=60000, seconds=29.357)


def test_an_epoch_of_unknown_many_without_tag():
    line = "Finished Epoch[1]: loss = 0.549295 * 40, metric = 22.50% * 40 0.022s (1818.2 samples/s);"
    assert parse(line) == Epoch(number=1, loss=0.549295, error=22.5, samples=40, seconds=0.022)


def test_a_loss_that_is_no_number_any_more():
    line = "Finished Epoch[2 of 3]: [Training] loss = nan * 40, metric = 90.00% * 40 0.022s (1818 samples/s);"
    assert repr(parse(line).loss) == "nan"


def test_the_final_results():
    assert parse("Final Results: Minibatch[1-11]: errs = 0.58% * 10000") == Final(error=0.58, samples=10000)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Learning rate per 1 samples: 0.001",
        "Training 98778 parameters in 10 parameter tensors.",
        "Finished Evaluation [1]: Minibatch[1-3]: metric = 0.00% * 12;",
        " Minibatch[   1-   3]: loss = 0.636107 * 12, metric = 50.00% * 12;",
    ],
)
def test_other_lines_tell_nothing(line):
    assert parse(line) is None


def test_lines_come_whole_however_the_bytes_arrive():
    content = "erste Zeile\nzweite: 100 % größer\r\nohne Ende".encode()
    for size in range(1, len(content) + 1):
        lines = Lines()
        found = [line for at in range(0, len(content), size) for line in lines.feed(content[at : at + size])]
        assert found + lines.rest() == ["erste Zeile", "zweite: 100 % größer", "ohne Ende"]
        assert lines.rest() == []
