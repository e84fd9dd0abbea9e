"""What is in the body of one request never changes what becomes of the next one on the same connection."""

import pytest

from tests.support.live import LiveServer
from tests.support.raw_http import RawConnection, RequestMaker, ask_once

REQUESTS = 150
GET = b"GET /pipeline/999999 HTTP/1.1\r\nHost: localhost\r\n\r\n"


def compare_with_fresh_connections(url: str, live: LiveServer, seed: int) -> None:
    """Random requests over one kept connection to ``url``, each beside the same one over a fresh connection."""
    maker = RequestMaker(seed)
    expected_get = ask_once(live.url, GET, method="GET")
    with RawConnection(url) as kept:
        for number in range(REQUESTS):
            request = maker.request()
            parts = maker.split(request)
            seen = kept.ask(*parts), kept.ask(GET, method="GET")
            assert seen == (ask_once(live.url, request), expected_get), (seed, number, parts)


@pytest.mark.parametrize("seed", range(3))
def test_every_answer_over_a_kept_connection_is_that_of_a_fresh_one(live: LiveServer, seed: int) -> None:
    compare_with_fresh_connections(live.url, live, seed)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_refused_body_with_an_offer_in_it_costs_the_next_request_nothing(live: LiveServer, chunked: bool) -> None:
    body = b"x\r\nUpgrade: h2c\r\ny"
    head = b"POST /pipeline HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    if chunked:
        request = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        request = head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)

    with RawConnection(live.url) as kept:
        kept.socket.settimeout(5)
        answers = [kept.ask(request).status, kept.ask(GET, method="GET").status]

    assert answers == [422, 404]
