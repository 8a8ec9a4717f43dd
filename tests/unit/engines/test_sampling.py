from itertools import pairwise

from openbatchai.engines.sampling import _is_written


def test_a_long_run_has_few_samples_evenly_spread_over_each_part():
    """A week, looked at every ten seconds."""
    written = [look for look in range(60_480) if _is_written(look)]

    assert written[:1000] == list(range(1000))
    assert written[1000:1002] == [1000, 1002]
    assert 5_000 < len(written) < 6_500
    assert max(b - a for a, b in pairwise(written)) == 32
