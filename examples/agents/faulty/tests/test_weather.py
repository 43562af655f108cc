import asyncio
import io
import urllib.error
import urllib.request

from app.weather import weather


def test_what_the_provider_says(monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(b'{"wind": 12}'))
    assert asyncio.run(weather("ORD")) == {"wind": 12}


def test_a_provider_that_is_away(monkeypatch):
    def away(url, timeout):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", away)
    assert asyncio.run(weather("ORD")) is None
