#!/usr/bin/env python3
"""Runs the judges' scripts against one service and writes down what they saw.

    record.py URL OUT     URL of an empty Bare Metal service without authentication; OUT gets JSON

Started twice by `cargo xtask compat`, once for each service; what the two saw is compared there. A step is one
command of `openstack baremetal`, one call of openstacksdk's proxy or one raw request.
"""
import json
import os
import re
import sys
import time
import traceback
import urllib.error
import urllib.request


class Service:
    """The service under test, by raw requests."""

    def __init__(self, url):
        self.url = url.rstrip("/")

    def request(self, method, path, version, body=None, headers=None):
        """Status, the headers that clients read, and the body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if version:
            request.add_header("X-OpenStack-Ironic-API-Version", version)
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            answer = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        text = answer.read().decode()
        try:
            value = json.loads(text) if text else None
        except ValueError:
            value = text
        return answer.status, dict(answer.headers), value

    def wait(self, seconds):
        """Waits until a conductor has published its hardware types."""
        deadline = time.time() + seconds
        while time.time() < deadline:
            try:
                if self.request("GET", "/v1/drivers", "1.1")[2]["drivers"]:
                    return
            except (OSError, KeyError, TypeError):
                pass
            time.sleep(0.2)
        raise SystemExit(f"{self.url} has no drivers")

    def settle(self, node):
        """Waits until nothing works on a node any more, for at most twenty seconds; says where it stands."""
        deadline = time.time() + 20
        state = None
        while time.time() < deadline:
            status, _, node_now = self.request("GET", f"/v1/nodes/{node}", "1.115")
            if status != 200:
                return f"no node: {status}"
            state = node_now["provision_state"]
            busy = node_now["reservation"] or node_now["target_power_state"]
            moving = state in ("verifying", "cleaning", "deploying", "deleting", "inspecting", "adopting", "rescuing",
                               "unrescuing", "servicing")
            if not busy and not moving:
                return state
            time.sleep(0.05)
        return f"{state}, unsettled"


    def matched(self, allocation):
        """Waits until an allocation was looked at, for at most twenty seconds; says what became of it."""
        deadline = time.time() + 20
        while True:
            status, _, found = self.request("GET", f"/v1/allocations/{allocation}", "1.115")
            if status != 200:
                return f"no allocation: {status}"
            if found["state"] != "allocating" or time.time() > deadline:
                return found["state"]
            time.sleep(0.05)


class Record:
    """What was seen, step by step."""

    def __init__(self):
        self.steps = []
        self.broken = []

    def add(self, suite, version, name, request, **seen):
        self.steps.append({"suite": suite, "version": version, "name": name, "request": request, "seen": seen})

    def incomplete(self, text):
        """The script itself does not do what it should: the run fails, whatever the services answered."""
        self.broken.append(text)


def error_of(text):
    """A sentence without what is the client's own: line numbers and addresses of objects."""
    return re.sub(r"0x[0-9a-f]{6,}", "0x", text).strip()


def main():
    service, out = Service(sys.argv[1]), sys.argv[2]
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    record = Record()
    import raw_calls
    import sdk_calls
    import cli_calls
    os.chdir(os.path.dirname(os.path.abspath(out)))
    service.wait(120)
    for suite in (raw_calls, sdk_calls, cli_calls):
        if len(sys.argv) > 3 and suite.__name__ not in sys.argv[3:]:
            continue
        try:
            suite.tell(service, record)
        except Exception:
            record.incomplete(f"{suite.__name__} ended early: {traceback.format_exc()}")
    with open(out, "w") as file:
        json.dump({"url": service.url, "steps": record.steps, "broken": record.broken}, file, indent=1)


if __name__ == "__main__":
    main()
