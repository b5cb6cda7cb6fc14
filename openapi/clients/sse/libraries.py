"""Each library of PyPI, as its documentation says, with what it needs to be set for this server.

    python3 libraries.py LIBRARY

reads /events of BE8_URL with the cookie BE8_COOKIE, and prints each message as one line of JSON: data and id."""

import asyncio
import json
import os
import sys
import time

URL = os.environ["BE8_URL"] + "/events"
HEADERS = {"Cookie": os.environ["BE8_COOKIE"]}
# A silent stream sends a comment line every 15 seconds.
SILENCE = 45


def show(data, id):
    print(json.dumps({"data": data, "id": id}), flush=True)


def again(read, passing):
    """What a library leaves to its user: to come back after a pause, with the last id."""
    last = None
    while True:
        try:
            for data, id in read({**HEADERS, **({"Last-Event-ID": last} if last else {})}):
                show(data, id)
                last = id or last
        except passing as error:
            print(type(error).__name__, error, file=sys.stderr)
        time.sleep(2.5)


def sseclient():
    import requests
    from sseclient import SSEClient

    # It comes back by itself, but raises what a server that is away raises.
    last = None
    while True:
        try:
            for event in SSEClient(URL, last_id=last, headers=dict(HEADERS), timeout=SILENCE):
                show(event.data, event.id)
                last = event.id or last
        except (requests.RequestException, OSError) as error:
            print(type(error).__name__, error, file=sys.stderr)
        time.sleep(2.5)


def sseclient_py():
    import requests
    from sseclient import SSEClient

    def read(headers):
        with requests.get(URL, headers=headers, stream=True, timeout=SILENCE) as answer:
            # The answer itself comes in pieces of 512 bytes; as they arrive it comes like this.
            for event in SSEClient(answer.iter_content(None)).events():
                yield event.data, event.id

    again(read, requests.RequestException)


def httpx_sse():
    import httpx
    from httpx_sse import connect_sse

    def read(headers):
        with httpx.Client(timeout=SILENCE) as client, connect_sse(client, "GET", URL, headers=headers) as source:
            for event in source.iter_sse():
                yield event.data, event.id

    again(read, httpx.TransportError)


def requests_sse():
    from requests_sse import EventSource

    with EventSource(URL, headers=HEADERS, timeout=SILENCE) as source:
        for event in source:
            show(event.data, event.last_event_id)


async def read_aiohttp(module):
    import aiohttp

    # Else the whole stream has 5 minutes.
    timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENCE)
    last = None
    while True:
        headers = {**HEADERS, **({"Last-Event-ID": last} if last else {})}
        try:
            async with module.EventSource(URL, headers=headers, timeout=timeout) as source:
                async for event in source:
                    show(event.data, event.last_event_id)
                    last = event.last_event_id
        # Comes back by itself after an end in good order only.
        except (aiohttp.ClientError, ConnectionError) as error:
            print(type(error).__name__, error, file=sys.stderr)
        await asyncio.sleep(2.5)


def aiohttp_sse_client():
    from aiohttp_sse_client import client

    asyncio.run(read_aiohttp(client))


def aiohttp_sse_client2():
    from aiohttp_sse_client2 import client

    asyncio.run(read_aiohttp(client))


def aiosseclient():
    import aiohttp
    from aiosseclient import aiosseclient

    async def read():
        last = None
        while True:
            try:
                async for event in aiosseclient(URL, last_id=last, headers=dict(HEADERS)):
                    show(event.data, event.id)
                    last = event.id or last
            except aiohttp.ClientError as error:
                print(type(error).__name__, error, file=sys.stderr)
            await asyncio.sleep(2.5)

    asyncio.run(read())


globals()[sys.argv[1].replace("-", "_").replace(" ", "_")]()
