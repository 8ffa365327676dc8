#!/usr/bin/env python3
"""Records what upstream's own service answers to every persona: goldens/personas.json.

    record_personas.py URL VERSION KEYSTONE   URL of a running, empty Ironic with auth_strategy = keystone and
                                              fake-hardware, the version of its package, and the file with the
                                              line that it/serve_keystone.py printed

Requests in order, each by one persona; what is kept of an answer is its status, the sentence of a refusal, and
of a node or a list what personas see differently.
"""
import datetime
import json
import pathlib
import sys
import time
import urllib.error
import urllib.request

BASE, RELEASE = sys.argv[1].rstrip("/"), sys.argv[2]
KEYSTONE = json.loads(pathlib.Path(sys.argv[3]).read_text().strip().splitlines()[-1])
OWNER, LESSEE, NEITHER = (KEYSTONE["projects"][p] for p in ("owner", "lessee", "neither"))
EVERYBODY = ["system-admin", "system-member", "system-reader", "owner-admin", "owner-manager", "owner-member",
             "owner-reader", "owner-service", "lessee-admin", "lessee-member", "lessee-reader", "neither-admin",
             "neither-member", "nova"]
SEEN = ["uuid", "owner", "lessee", "driver_info", "driver_internal_info", "last_error", "reservation", "instance_info"]
STEPS, TOKENS = [], {}


def uuid(n):
    return f"0000000a-0000-4000-8000-{n:012x}"


def token(user):
    if user not in TOKENS:
        role, project = KEYSTONE["scopes"][user]
        scope = {"project": {"id": KEYSTONE["projects"][project]}} if project else {"system": {"all": True}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": {
            "id": KEYSTONE["users"][user], "password": KEYSTONE["password"]}}}, "scope": scope}}
        request = urllib.request.Request(KEYSTONE["url"] + "/auth/tokens", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        TOKENS[user] = urllib.request.urlopen(request, timeout=120).headers["X-Subject-Token"]
    return TOKENS[user]


def call(user, method, path, body, version):
    request = urllib.request.Request(BASE + path, json.dumps(body).encode() if body is not None else None, method=method)
    request.add_header("X-OpenStack-Ironic-API-Version", version)
    if body is not None:
        request.add_header("Content-Type", "application/json")
    if user:
        request.add_header("X-Auth-Token", token(user))
    for _ in range(20):
        try:
            answer = urllib.request.urlopen(request, timeout=120)
        except urllib.error.HTTPError as error:
            answer = error
        if answer.status != 503:
            break
        time.sleep(1)  # Keystone was too slow: a busy machine
    return answer.status, answer.read().decode()


def seen(text):
    """What personas see differently in an answer."""
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    if "error_message" in answer:
        try:
            inner = json.loads(answer["error_message"])
        except ValueError:
            return {"refused": answer["error_message"]}
        return {"refused": inner.get("faultstring", inner.get("description"))}
    if "uuid" in answer and "driver_info" in answer:
        return {key: answer[key] for key in SEEN if key in answer}
    for name in ("nodes", "ports", "chassis", "conductors", "drivers"):
        if isinstance(answer.get(name), list) and name + "s" not in answer:
            return {name: [{key: item.get(key) for key in SEEN if key in item} for item in answer[name]]}
    return None


def step(user, method, path, body=None, version="1.115", ours=None, keep=True):
    status, text = call(user, method, path, body, version)
    if keep:
        one = {"user": user, "method": method, "path": path, "version": version, "status": status}
        for key, value in (("body", body), ("ours", ours), ("seen", seen(text))):
            if value is not None:
                one[key] = value
        STEPS.append(one)
    return status, text


def everybody(method, path, body=None, **more):
    for user in EVERYBODY:
        step(user, method, path, body() if callable(body) else body, **more)


def settle(node):
    until = time.time() + 120
    while True:
        status, text = step("system-admin", "GET", f"/v1/nodes/{node}?fields=reservation,target_power_state", keep=False)
        if status != 200:
            raise SystemExit(f"{node}: {status} {text}")
        now = json.loads(text)
        if not now["reservation"] and not now["target_power_state"]:
            return
        if time.time() > until:
            raise SystemExit(f"{node} is {now}")
        time.sleep(0.2)


def patch(path, value):
    return [{"op": "add", "path": path, "value": value}]


FORBIDDEN = {"status": 403}


def main():
    secret = {"ipmi_password": "secret", "ipmi_address": "192.0.2.1"}
    for n, owner, lessee in ((1, OWNER, LESSEE), (2, None, None), (3, NEITHER, None), (4, None, LESSEE)):
        body = {"uuid": uuid(n), "name": f"n{n}", "driver": "fake-hardware", "driver_info": secret,
                "instance_info": {"configdrive": "abc", "image_source": "http://i"}}
        if owner:
            body["owner"] = owner
        if lessee:
            body["lessee"] = lessee
        step("system-admin", "POST", "/v1/nodes", body)
    step("system-admin", "POST", "/v1/ports", {"uuid": uuid(101), "node_uuid": uuid(1), "address": "52:54:00:00:00:01"})
    step("system-admin", "POST", "/v1/ports", {"uuid": uuid(102), "node_uuid": uuid(2), "address": "52:54:00:00:00:02"})
    step("system-admin", "POST", "/v1/chassis", {"uuid": uuid(201), "description": "c"})
    # reading
    for path in ("/v1/nodes", "/v1/nodes/detail", "/v1/nodes?fields=uuid,driver_info,last_error",
                 f"/v1/nodes/{uuid(1)}", "/v1/nodes/n2", "/v1/nodes/n3", "/v1/nodes/n4", "/v1/nodes/n9",
                 f"/v1/nodes/{uuid(1)}/states", f"/v1/nodes/{uuid(1)}/traits", f"/v1/nodes/{uuid(1)}/history",
                 "/v1/nodes/n3/traits", f"/v1/nodes/{uuid(1)}/management/boot_device", "/v1/nodes/n1/validate",
                 f"/v1/nodes?project={OWNER}", f"/v1/nodes?project={NEITHER}", f"/v1/nodes?owner={OWNER}",
                 "/v1/ports", "/v1/ports/detail", f"/v1/ports/{uuid(101)}", f"/v1/ports/{uuid(102)}",
                 f"/v1/ports/{uuid(109)}", f"/v1/nodes/{uuid(1)}/ports", "/v1/conductors"):
        everybody("GET", path)
    # upstream answers 500 to tokens whose scope a policy is not for
    for path in ("/v1/chassis", f"/v1/chassis/{uuid(201)}", "/v1/drivers", "/v1/drivers/fake-hardware"):
        for user in EVERYBODY:
            wrong = KEYSTONE["scopes"][user][1] is not None
            step(user, "GET", path, ours=FORBIDDEN if wrong else None)
    # no token, and none that is one
    step(None, "GET", "/v1/nodes")
    step(None, "GET", "/v1")
    step(None, "POST", "/v1/nodes", {"driver": "fake-hardware"})
    # changing: fields with policies of their own
    for number in (1, 4):
        for path, value in (("/extra/a", 1), ("/description", "d"), ("/name", f"n{number}"), ("/instance_info/a", 1),
                            ("/driver_info/a", 1), ("/properties/a", 1), ("/lessee", LESSEE),
                            ("/resource_class", "rc"), ("/network_data", {}), ("/conductor_group", ""),
                            ("/retired", False), ("/shard", "s"), ("/disable_power_off", False),
                            ("/automated_clean", False), ("/automated_clean", True), ("/power_interface", "fake"),
                            ("/instance_name", "i"), ("/maintenance", False), ("/chassis_uuid", uuid(201))):
            everybody("PATCH", f"/v1/nodes/{uuid(number)}", patch(path, value))
    everybody("PATCH", f"/v1/nodes/{uuid(1)}", patch("/owner", OWNER))
    everybody("PATCH", "/v1/nodes/n3", patch("/extra/b", 2))
    everybody("PATCH", "/v1/nodes/n1", patch("/extra/b", 2) + patch("/driver_info/b", 2))
    everybody("PATCH", "/v1/nodes/n1", patch("/parent_node", uuid(3)))
    everybody("PUT", "/v1/nodes/n1/maintenance", {"reason": "r"})
    everybody("DELETE", "/v1/nodes/n1/maintenance")
    everybody("PUT", "/v1/nodes/n1/traits", {"traits": ["CUSTOM_A"]})
    everybody("DELETE", "/v1/nodes/n1/traits")
    everybody("PUT", "/v1/nodes/n3/traits/CUSTOM_B")
    for user in EVERYBODY:
        settle("n1")
        step(user, "PUT", "/v1/nodes/n1/states/power", {"target": "power on"})
    settle("n1")
    everybody("PUT", "/v1/nodes/n1/states/provision", {"target": "nosuch"})
    everybody("PUT", "/v1/nodes/n3/states/provision", {"target": "nosuch"})
    # ports
    numbers = iter(range(300, 400))
    def port(node):
        def one():
            n = next(numbers)
            return {"uuid": uuid(n), "node_uuid": uuid(node), "address": f"52:54:00:00:01:{n - 300:02x}"}
        return one
    everybody("POST", "/v1/ports", port(1))
    everybody("POST", "/v1/ports", port(9))
    everybody("PATCH", f"/v1/ports/{uuid(101)}", patch("/extra/a", 1))
    everybody("PATCH", f"/v1/ports/{uuid(102)}", patch("/extra/a", 1))
    for n, user in enumerate(EVERYBODY):
        step(user, "DELETE", f"/v1/ports/{uuid(300 + n)}")
    # nodes of one's own
    made = iter(range(500, 600))
    for owner in (None, OWNER):
        for user in EVERYBODY:
            n = next(made)
            body = {"uuid": uuid(n), "driver": "fake-hardware"}
            if owner:
                body["owner"] = owner
            step(user, "POST", "/v1/nodes", body)
    for n in range(500, 500 + 2 * len(EVERYBODY)):
        for user in ("neither-admin", "owner-member", "owner-admin"):
            step(user, "DELETE", f"/v1/nodes/{uuid(n)}")
    everybody("DELETE", "/v1/nodes/n9")
    for user in reversed(EVERYBODY):
        step(user, "DELETE", "/v1/nodes/n3")
    for user in EVERYBODY:
        wrong = KEYSTONE["scopes"][user][1] is not None
        step(user, "PATCH", f"/v1/chassis/{uuid(201)}", patch("/description", "d"), ours=FORBIDDEN if wrong else None)
    document = {"recorded_from": f"ironic {RELEASE}", "recorded_at": datetime.date.today().isoformat(),
                "base": BASE, "steps": STEPS}
    out = pathlib.Path(__file__).parent / "goldens" / "personas.json"
    out.write_text(json.dumps(document, separators=(",", ":")).replace('{"user"', '\n{"user"') + "\n")
    print(len(STEPS), "answers")


main()
