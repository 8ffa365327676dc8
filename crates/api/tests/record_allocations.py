#!/usr/bin/env python3
"""Records the stories of allocations, deploy templates, runbooks and inspection rules; see record.py.

    record_allocations.py URL VERSION
"""
import json
import time

from record import NEW, Story, call, uuid

# upstream notes the time of a change of power
POWERED = {"differs": ["driver_internal_info"]}
T1, T2, T3 = "CUSTOM_A1", "CUSTOM_A2", "HW_CPU_X86_VMX"
STEP = {"interface": "deploy", "step": "erase_devices", "args": {}, "priority": 10}


def matched(allocation):
    """Waits until upstream's conductor has looked at it; our test's conductor has at once."""
    deadline = time.time() + 60
    while True:
        now = json.loads(call("GET", f"/v1/allocations/{allocation}", NEW)[2])
        if now["state"] != "allocating":
            return
        if time.time() > deadline:
            raise SystemExit(f"{allocation} is {now}")
        time.sleep(0.1)


def available(s, number, name, **more):
    """A node that may be allocated: versions before 1.11 make it so. It has a power state once it was set."""
    s("POST", "/v1/nodes", "1.10", body={"uuid": uuid(number), "name": name, "driver": "fake-hardware"})
    patch = [{"op": "add", "path": f"/{key}", "value": value} for key, value in more.items()]
    if patch:
        s("PATCH", f"/v1/nodes/{uuid(number)}", NEW, body=patch)
    s("PUT", f"/v1/nodes/{uuid(number)}/states/power", NEW, body={"target": "power off"})
    s.settle(uuid(number), "available")


def allocations():
    s = Story("allocations")
    gates = ["1.1", "1.51", "1.52", "1.57", "1.58", "1.59", "1.60", NEW]
    s("GET", "/v1/allocations", gates)
    s("GET", "/v1/allocations/nosuch", gates)
    s("POST", "/v1/allocations", ["1.1", "1.51", "1.52"], body={})
    s("PATCH", "/v1/allocations/nosuch", ["1.1", "1.51", "1.52", "1.56", "1.57"], body=[])
    s("DELETE", "/v1/allocations/nosuch", ["1.1", "1.51", "1.52", NEW])
    s("GET", "/v1/nodes/nosuch/allocation", ["1.1", "1.51", "1.52", NEW])
    s("DELETE", "/v1/nodes/nosuch/allocation", ["1.51", "1.52", NEW])
    s("PUT", "/v1/allocations", NEW, body={})
    s("DELETE", "/v1/allocations", NEW, ours={"status": 405})
    s("POST", "/v1/allocations/x", NEW, body={}, ours={"status": 405})

    a = "/v1/allocations"
    for body in [{}, [], 5, {"resource_class": None}, {"resource_class": 5}, {"resource_class": "x" * 81},
                 {"resource_class": "rc", "nosuch": 1}, {"resource_class": "rc", "nosuch": 1, "other": 2},
                 {"resource_class": "rc", "name": "a b"}, {"resource_class": "rc", "name": 5},
                 {"resource_class": "rc", "traits": ["x"]}, {"resource_class": "rc", "traits": "x"},
                 {"resource_class": "rc", "traits": [T1, ""]}, {"resource_class": "rc", "traits": [5]},
                 {"resource_class": "rc", "traits": ["HW_NOSUCH"]},
                 {"resource_class": "rc", "candidate_nodes": ["nosuch"]},
                 {"resource_class": "rc", "candidate_nodes": ["a b"]},
                 {"resource_class": "rc", "candidate_nodes": [5]},
                 {"resource_class": "rc", "candidate_nodes": "x"},
                 {"resource_class": "rc", "extra": []}, {"resource_class": "rc", "owner": 5},
                 {"resource_class": "rc", "node": "nosuch"}, {"node": "nosuch"}, {"node": "a b"}, {"node": 5},
                 {"resource_class": "rc", "state": "active"}]:
        s("POST", a, NEW, body=body)
    s("POST", a, NEW, body={"resource_class": "rc", "uuid": 5})
    s("POST", a, NEW, raw="{", ours={"status": 400})
    s("POST", a, "1.57", body={"resource_class": "rc", "node": "nosuch"})
    s("POST", a, "1.59", body={"resource_class": "rc", "owner": "p"})

    # nobody fits
    s("POST", a, NEW, body={"uuid": uuid(1), "name": "nobody", "resource_class": "none"})
    matched("nobody")
    s("GET", f"{a}/nobody", ["1.52", "1.59", "1.60", NEW])
    s("GET", f"{a}/{uuid(1)}", NEW)
    s("POST", a, NEW, body={"uuid": uuid(1), "resource_class": "none"})
    s("POST", a, NEW, body={"uuid": uuid(2), "name": "nobody", "resource_class": "none"})

    available(s, 11, "n1", resource_class="rc")
    available(s, 12, "n2", resource_class="rc", owner="p1")
    available(s, 13, "n3", resource_class="other")
    s("PUT", f"/v1/nodes/{uuid(12)}/traits", NEW, body={"traits": [T1, T3]})
    s("POST", a, NEW, body={"uuid": uuid(3), "resource_class": "rc", "candidate_nodes": ["n3"]})
    matched(uuid(3))
    s("GET", f"{a}/{uuid(3)}", NEW)
    s("POST", a, NEW, body={"uuid": uuid(4), "resource_class": "rc", "traits": [T2]})
    matched(uuid(4))
    s("GET", f"{a}/{uuid(4)}", NEW)
    s("POST", a, NEW, body={"uuid": uuid(5), "resource_class": "rc", "owner": "p9"})
    matched(uuid(5))
    s("GET", f"{a}/{uuid(5)}", NEW)
    s("POST", a, NEW, body={"uuid": uuid(6), "name": "mine", "resource_class": "rc", "traits": [T1],
                            "extra": {"a": 1}, "candidate_nodes": ["n2", uuid(11)]})
    matched("mine")
    s("GET", f"{a}/mine", NEW)
    s("GET", f"{a}/mine?fields=node_uuid,state", NEW)
    s("GET", f"{a}/mine?fields=owner", ["1.59", "1.60"])
    s("GET", f"{a}/mine?fields=nosuch", NEW)
    s("GET", f"{a}/mine?nosuch=1", NEW)
    s("GET", f"{a}/a%20b", NEW)
    s("GET", "/v1/nodes/n2?fields=instance_uuid,instance_info", NEW)
    s("GET", "/v1/nodes/n2?fields=allocation_uuid", ["1.51", "1.52", NEW], )
    s("GET", "/v1/nodes/n2/allocation", ["1.52", "1.60", NEW])
    s("GET", "/v1/nodes/n2/allocation?fields=uuid", NEW)
    s("GET", "/v1/nodes/n2/allocation?fields=nosuch", NEW)
    s("GET", "/v1/nodes/n2/allocation?nosuch=1", NEW)
    s("GET", f"/v1/nodes/{uuid(12)}/allocation", NEW)
    s("GET", "/v1/nodes/n1/allocation", NEW)
    s("DELETE", "/v1/nodes/n1/allocation", NEW)
    s("DELETE", "/v1/nodes/n2", NEW)
    s("PATCH", "/v1/nodes/n2", NEW, body=[{"op": "replace", "path": "/instance_uuid", "value": uuid(77)}])

    # lists
    s("GET", a, ["1.52", NEW])
    s("GET", f"{a}?limit=2", NEW)
    s("GET", f"{a}?limit=2&marker={uuid(3)}&sort_key=uuid", NEW)
    s("GET", f"{a}?fields=uuid,name&limit=1", NEW)
    s("GET", f"{a}?sort_key=uuid&sort_dir=desc", NEW)
    s("GET", f"{a}?sort_key=name", NEW)
    s("GET", f"{a}?sort_key=state", NEW)
    for query in ["limit=0", "limit=-1", "limit=x", "sort_dir=x", "sort_key=extra", "sort_key=traits", "sort_key=nosuch",
                  "sort_key=candidate_nodes", "marker=x", f"marker={uuid(99)}", "fields=nosuch", "nosuch=1",
                  "state=active", "state=error", "state=nosuch", "resource_class=rc", "resource_class=nosuch",
                  "owner=p9", "owner=nosuch"]:
        s("GET", f"{a}?{query}", NEW)
    s("GET", f"{a}?owner=p9", "1.59")
    s("GET", f"{a}?node=a%20b", NEW)
    s("GET", f"{a}?detail=true", NEW)

    # patches
    m = f"{a}/mine"
    s("PATCH", m, "1.56", body=[])
    for body in [{}, [], [{"op": "replace", "path": "/resource_class", "value": "x"}],
                 [{"op": "add", "path": "/nosuch", "value": "x"}], [{"op": "replace", "path": "/name", "value": "a b"}],
                 [{"op": "replace", "path": "/extra", "value": "x"}], [{"op": "move", "path": "/extra"}],
                 [{"op": "replace", "path": "/name", "value": "nobody"}],
                 [{"op": "remove", "path": "/extra/nosuch"}],
                 [{"op": "add", "path": "/extra/b", "value": 2}],
                 [{"op": "remove", "path": "/name"}], [{"op": "add", "path": "/name", "value": "mine"}],
                 [{"op": "replace", "path": "/owner", "value": "p"}],
                 [{"op": "remove", "path": "/extra"}]]:
        s("PATCH", f"{a}/{uuid(6)}", NEW, body=body)
    s("PATCH", f"{a}/{uuid(6)}", NEW, body=[{"op": "add", "path": "x", "value": "x"}], ours={"status": 400})
    s("PATCH", f"{a}/{uuid(6)}", NEW, body=[{"op": "replace", "path": "/name", "value": 5}], ours={"status": 400})
    s("PATCH", f"{a}/nosuch", NEW, body=[{"op": "remove", "path": "/name"}])

    # removal
    s("DELETE", f"{a}/{uuid(4)}", NEW)
    s("GET", f"{a}/{uuid(4)}", NEW)
    s("DELETE", f"{a}/mine", NEW)
    s("GET", "/v1/nodes/n2?fields=instance_uuid,instance_info,allocation_uuid", NEW)
    s("POST", a, NEW, body={"uuid": uuid(7), "resource_class": "rc", "name": "n1"})
    matched(uuid(7))
    s("GET", f"{a}/{uuid(7)}", NEW)
    s("DELETE", "/v1/nodes/n1/allocation", NEW)
    s("GET", "/v1/nodes/n1/allocation", NEW)
    s("POST", a, NEW, body={"uuid": uuid(8), "resource_class": "rc", "candidate_nodes": [uuid(11)]})
    matched(uuid(8))
    s("PATCH", "/v1/nodes/n1", NEW, body=[{"op": "remove", "path": "/instance_uuid"}], ours=POWERED)
    s("GET", f"{a}/{uuid(8)}", NEW)
    s("GET", "/v1/nodes/n1?fields=instance_uuid,allocation_uuid", NEW)
    # an instance that is no allocation's
    s("PATCH", "/v1/nodes/n1", NEW, body=[{"op": "add", "path": "/instance_uuid", "value": uuid(9)}], ours=POWERED)
    s("POST", a, NEW, body={"uuid": uuid(9), "resource_class": "rc", "candidate_nodes": ["n2"]})
    matched(uuid(9))
    s("GET", f"{a}/{uuid(9)}", NEW)
    s("PATCH", "/v1/nodes/n1", NEW, body=[{"op": "remove", "path": "/instance_uuid"}], ours=POWERED)

    # owner
    s("POST", a, NEW, body={"uuid": uuid(14), "resource_class": "rc", "owner": "p1"})
    matched(uuid(14))
    s("GET", f"{a}/{uuid(14)}", NEW)
    s("PATCH", "/v1/nodes/n2", NEW, body=[{"op": "replace", "path": "/owner", "value": "p2"}])
    s("PUT", "/v1/nodes/n2/maintenance", NEW, body={})
    s("DELETE", "/v1/nodes/n2", NEW)
    s("GET", f"{a}/{uuid(14)}", NEW)

    # nodes that are in use: these cannot be, so they are refused
    s("PATCH", "/v1/nodes/n1", NEW, body=[{"op": "add", "path": "/instance_uuid", "value": uuid(15)}], ours=POWERED)
    s("POST", a, NEW, body={"node": "n1"}, ours={"status": 409})
    s("POST", a, NEW, body={"node": "n1", "resource_class": "x", "traits": [T1], "uuid": uuid(16)}, ours={"status": 409})
    s("GET", f"{a}/{uuid(15)}", NEW)
    s("PATCH", "/v1/nodes/n1", NEW, body=[{"op": "remove", "path": "/instance_uuid"}], ours=POWERED)
    for node in ["n1", "n3"]:
        s("DELETE", f"/v1/nodes/{node}", NEW)
    for n in [1, 3, 5, 9, 15, 16]:
        s("DELETE", f"{a}/{uuid(n)}", NEW)
    s("GET", a, NEW)
    s.save()


def templates():
    s = Story("deploy_templates")
    d = "/v1/deploy_templates"
    s("GET", d, ["1.1", "1.54", "1.55", NEW])
    s("GET", f"{d}/x", ["1.1", "1.54", "1.55", NEW])
    s("POST", d, ["1.1", "1.54", "1.55"], body={})
    s("PATCH", f"{d}/x", ["1.54", "1.55"], body=[{"op": "remove", "path": "/extra"}])
    s("DELETE", f"{d}/x", ["1.54", "1.55", NEW])
    s("PUT", d, NEW, body={})
    s("DELETE", d, NEW, ours={"status": 405})

    def body(**more):
        return {"name": T1, "steps": [STEP], **more}

    def step(**more):
        return {"name": T1, "steps": [{**STEP, **more}]}

    def without(key):
        return {"name": T1, "steps": [{k: v for k, v in STEP.items() if k != key}]}

    for bad in [[], 5, "x", {"name": T1}, {"steps": [STEP]}, body(steps=[]), body(steps={}), body(steps=[5]), body(name="x"),
                body(name=5), body(name=""), body(name=None), body(name="CUSTOM_" + "A" * 249), body(nosuch=1),
                body(nosuch=1, also=2), body(extra=[]), body(uuid="x"), body(uuid=5), body(description=5),
                body(description="x" * 256), step(interface="x"), step(interface="network"), step(interface=5), step(step=""),
                step(step=5), step(args=[]), step(args=None), step(priority=-1), step(priority="x"), step(priority=""),
                step(priority=None), step(priority=1.5), step(priority=True), step(nosuch=1), without("interface"),
                without("step"), without("args"), without("priority"), body(steps=[STEP, STEP]),
                {"name": T1, "steps": [{**STEP, "interface": "x"}, {**STEP, "step": ""}]}]:
        s("POST", d, NEW, body=bad)
    s("POST", d, NEW, raw="null", ours={"status": 400})
    s("POST", d, NEW, raw="{", ours={"status": 400})
    s("POST", d, "1.55", body=body(uuid=uuid(21), extra={"a": {"b": [1]}}, description="d"))
    s("POST", d, NEW, body={"uuid": uuid(22), "name": T3, "extra": None, "steps": [
        {"interface": "bios", "step": "apply_configuration", "args": {"password": "secret", "settings": [{"name": "x", "token": "y"}]},
         "priority": 150},
        {"interface": "raid", "step": "apply_configuration", "args": {"deep": {"admin_password": "secret", "n": 1}}, "priority": 0}]})
    s("POST", d, NEW, body=body(uuid=uuid(23)))
    s("POST", d, NEW, body={"uuid": uuid(21), "name": T2, "steps": [STEP]})
    s("GET", f"{d}/{uuid(21)}", ["1.55", NEW])
    s("GET", f"{d}/{T3}", NEW)
    s("GET", f"{d}/{T3}?fields=name,steps", NEW)
    for query in ["fields=nosuch", "fields=description", "nosuch=1", "fields=Name"]:
        s("GET", f"{d}/{T1}?{query}", NEW)
    s("GET", f"{d}/a%20b", NEW)
    s("GET", f"{d}/{uuid(99)}", NEW)
    s("GET", d, ["1.55", NEW])
    for query in ["detail=true", "detail=false", "detail=x", "fields=name", "fields=name&detail=true", "fields=nosuch",
                  "fields=description", "limit=1", "limit=1&detail=true", "limit=1&fields=uuid,extra", f"marker={uuid(21)}",
                  f"marker={uuid(99)}", "marker=a%20b", f"marker={T1}", "limit=0", "limit=x", "sort_dir=x", "sort_dir=desc",
                  "sort_key=name&sort_dir=desc", "sort_key=steps", "sort_key=extra", "sort_key=nosuch", "sort_key=created_at",
                  "nosuch=1"]:
        s("GET", f"{d}?{query}", NEW)
    s("GET", f"{d}?sort_key=lessee", ["1.64", NEW])

    t = f"{d}/{uuid(21)}"
    for patch in [{}, [], [{"op": "replace", "path": "/nosuch", "value": 1}], [{"op": "replace", "path": "/uuid", "value": uuid(1)}],
                  [{"op": "add", "path": "/description", "value": "x"}], [{"op": "replace", "path": "/description", "value": "x"}],
                  [{"op": "replace", "path": "/name", "value": "x"}], [{"op": "replace", "path": "/name", "value": T3}],
                  [{"op": "remove", "path": "/name"}], [{"op": "remove", "path": "/steps"}],
                  [{"op": "replace", "path": "/steps", "value": []}],
                  [{"op": "add", "path": "/steps/-", "value": STEP}], [{"op": "add", "path": "/steps/-", "value": {"interface": "x"}}],
                  [{"op": "remove", "path": "/steps/0"}], [{"op": "remove", "path": "/steps/7"}],
                  [{"op": "replace", "path": "/steps/0/priority", "value": -1}],
                  [{"op": "remove", "path": "/steps/0/args"}],
                  [{"op": "replace", "path": "/extra/a/b/0", "value": 2}], [{"op": "remove", "path": "/extra"}],
                  [{"op": "replace", "path": "/name", "value": T2}], [{"op": "add", "path": "x", "value": 1}]]:
        s("PATCH", t, NEW, body=patch)
    s("PATCH", t, NEW, body=[{"op": "replace", "path": "/steps", "value": 5}], ours={"status": 400})
    s("PATCH", t, NEW, body=[{"op": "replace", "path": "/steps/0/priority", "value": "10"}], ours={"status": 200})
    s("PATCH", f"{d}/{T1}", NEW, body=[{"op": "remove", "path": "/extra"}])
    s("PATCH", f"{d}/a%20b", NEW, body=[{"op": "remove", "path": "/extra"}])
    s("GET", t, NEW)
    s("DELETE", t, NEW)
    s("DELETE", t, NEW)
    s("DELETE", f"{d}/{T3}", NEW)
    s("GET", d, NEW)
    s.save()


def runbooks():
    s = Story("runbooks")
    r = "/v1/runbooks"
    one = {"interface": "deploy", "step": "erase_devices", "order": 1}
    s("GET", r, ["1.1", "1.91", "1.92", "1.112", NEW])
    s("GET", f"{r}/x", ["1.1", "1.91", "1.92", NEW])
    s("POST", r, ["1.1", "1.91", "1.92", NEW], body={})
    s("PATCH", f"{r}/x", ["1.91", "1.92"], body=[{"op": "remove", "path": "/extra"}])
    s("DELETE", f"{r}/x", ["1.91", "1.92", NEW])
    s("PUT", r, NEW, body={})
    s("DELETE", r, NEW, ours={"status": 405})
    for method in ["GET", "PUT", "DELETE"]:
        s(method, f"{r}/x/traits", ["1.91", "1.92", "1.111", "1.112"], body={"traits": [T1]} if method == "PUT" else None)
        if method != "GET":
            s(method, f"{r}/x/traits/{T1}", ["1.91", "1.111", "1.112"])

    def body(**more):
        return {"name": T1, "steps": [one], **more}

    def step(**more):
        return {"name": T1, "steps": [{**one, **more}]}

    for bad in [[], 5, {"name": T1}, {"steps": [one]}, body(steps=[]), body(steps=[5]), body(name=5), body(name=""), body(name=None),
                body(nosuch=1), body(extra=[]), body(uuid="x"), body(uuid=5), body(description=5), body(description="x" * 256),
                body(traits=[T1]), body(public="x"), body(disable_ramdisk=5), body(owner=5), body(owner="x" * 256),
                body(name="a b"), body(name="x" * 256), step(interface="network"), step(step=""), step(args=[]), step(order=-1), step(order="x"),
                step(order=None), step(priority=1), {"name": T1, "steps": [{"interface": "deploy", "step": "x"}]},
                body(steps=[one, one])]:
        s("POST", r, NEW, body=bad)
    for bad in [body(name="free"), body(description="x"), body(traits=[T1])]:
        s("POST", r, "1.111", body=bad)
    s("POST", r, NEW, raw="null", ours={"status": 400})
    s("POST", r, "1.92", body=body(uuid=uuid(31), extra={"a": 1}))
    s("POST", r, "1.112", body={"uuid": uuid(32), "name": "free.name~1", "description": "d", "public": True, "disable_ramdisk": True, "steps": [
        {"interface": "bios", "step": "apply_configuration", "args": {"password": "secret", "n": 1}, "order": "2"}, one]})
    s("POST", r, NEW, body={"uuid": uuid(33), "name": "owned", "steps": [one]})
    s("POST", r, NEW, body=body(uuid=uuid(34)))
    s("POST", r, NEW, body={"uuid": uuid(31), "name": "x", "steps": [one]})
    for ident in [uuid(31), T1, "free.name~1"]:
        s("GET", f"{r}/{ident}", ["1.92", "1.111", "1.112", NEW])
    s("GET", f"{r}/owned", NEW)
    s("GET", f"{r}/{T1}?fields=name,steps", NEW)
    for query in ["fields=traits", "fields=description"]:
        s("GET", f"{r}/{T1}?{query}", ["1.111", "1.112"])
    for query in ["fields=nosuch", "nosuch=1"]:
        s("GET", f"{r}/{T1}?{query}", NEW)
    s("GET", f"{r}/a%20b", NEW)
    s("GET", f"{r}/{uuid(99)}", NEW)
    s("GET", r, ["1.92", "1.112", NEW])
    for query in ["detail=true", "detail=false", "detail=x", "fields=name", "fields=name&detail=true", "fields=nosuch", "limit=1",
                  "limit=1&detail=true", f"marker={uuid(31)}", f"marker={uuid(99)}", "marker=a%20b", "marker=owned", "limit=0", "sort_dir=x",
                  "sort_dir=desc", "sort_key=name", "sort_key=steps", "sort_key=extra", "sort_key=traits", "sort_key=nosuch",
                  "sort_key=public", "nosuch=1", "project=true", "project=false", "project=x"]:
        s("GET", f"{r}?{query}", NEW)
    s("GET", f"{r}?detail=true", ["1.92", "1.111"])
    s("GET", f"{r}?fields=traits", ["1.111", "1.112"])

    # traits
    t = f"{r}/free.name~1/traits"
    s("GET", t, ["1.112", NEW])
    s("PUT", t, NEW, body={"traits": [T1, T2]})
    s("GET", t, NEW)
    for bad in [{}, [], {"traits": "x"}, {"traits": ["x"]}, {"nosuch": 1}, {"traits": None}]:
        s("PUT", t, NEW, body=bad)
    s("PUT", t, NEW)
    s("PUT", f"{t}/{T3}", NEW)
    s("PUT", f"{t}/{T3}", NEW)
    s("PUT", f"{t}/x", NEW)
    s("PUT", f"{t}/{T3}", NEW, body={"traits": [T1]})
    s("GET", t, NEW)
    s("DELETE", f"{t}/{T1}", NEW)
    s("DELETE", f"{t}/{T1}", NEW)
    s("DELETE", f"{t}/nosuch", NEW)
    s("GET", t, NEW)
    s("GET", f"{r}/free.name~1", NEW)
    s("DELETE", t, NEW)
    s("GET", t, NEW)
    s("POST", t, NEW, body={})
    s("GET", f"{t}/{T1}", NEW)
    s("GET", f"{r}/{T1}/nosuch", NEW, ours={"status": 404})

    p = f"{r}/{uuid(31)}"
    for patch in [{}, [], [{"op": "replace", "path": "/nosuch", "value": 1}], [{"op": "replace", "path": "/uuid", "value": uuid(1)}],
                  [{"op": "replace", "path": "/traits", "value": [T1]}],
                  [{"op": "replace", "path": "/name", "value": "a b"}], [{"op": "replace", "path": "/name", "value": "owned"}],
                  [{"op": "remove", "path": "/name"}], [{"op": "remove", "path": "/steps"}],
                  [{"op": "replace", "path": "/steps", "value": []}], [{"op": "add", "path": "/steps/-", "value": one}],
                  [{"op": "replace", "path": "/steps/0/order", "value": "x"}],
                  [{"op": "add", "path": "/description", "value": "more"}],
                  [{"op": "replace", "path": "/public", "value": "x"}],
                  [{"op": "replace", "path": "/public", "value": True}, {"op": "replace", "path": "/owner", "value": "p1"}],
                  [{"op": "replace", "path": "/owner", "value": "p1"}],
                  [{"op": "replace", "path": "/public", "value": True}],
                  [{"op": "replace", "path": "/owner", "value": "p1"}],
                  [{"op": "replace", "path": "/public", "value": False}, {"op": "replace", "path": "/owner", "value": "p1"}],
                  [{"op": "replace", "path": "/disable_ramdisk", "value": True}],
                  [{"op": "replace", "path": "/steps/0/order", "value": 7}],
                  [{"op": "remove", "path": "/extra"}], [{"op": "replace", "path": "/name", "value": "fresh"}]]:
        s("PATCH", p, NEW, body=patch)
    s("PATCH", p, NEW, body=[{"op": "remove", "path": "/public"}])
    s("PATCH", p, "1.111", body=[{"op": "add", "path": "/description", "value": "x"}])
    s("PATCH", p, "1.92", body=[{"op": "add", "path": "/extra", "value": {"b": 2}}])
    s("PATCH", f"{r}/{T1}", NEW, body=[{"op": "remove", "path": "/extra"}])
    s("PATCH", f"{r}/a%20b", NEW, body=[{"op": "remove", "path": "/extra"}])
    s("GET", p, NEW)

    # as the steps of a provision request
    s("POST", "/v1/nodes", "1.10", body={"uuid": uuid(35), "name": "rb", "driver": "fake-hardware"})
    s("PUT", "/v1/nodes/rb/states/provision", NEW, body={"target": "manage"})
    s.settle("rb", "manageable")
    n = "/v1/nodes/rb/states/provision"
    s("PUT", n, "1.91", body={"target": "clean", "runbook": "fresh"})
    s("PUT", n, NEW, body={"target": "clean", "runbook": 5})
    s("PUT", n, NEW, body={"target": "clean", "runbook": "nosuch"})
    s("PUT", n, NEW, body={"target": "clean", "runbook": "a b"})
    s("PUT", n, NEW, body={"target": "clean", "runbook": ""})
    s("PUT", n, ["1.92", "1.111", "1.112"], body={"target": "clean", "runbook": "fresh"})
    s("PUT", f"{r}/fresh/traits", NEW, body={"traits": [T1, T2]})
    s("PUT", n, ["1.111", "1.112"], body={"target": "clean", "runbook": "fresh"})
    s("PUT", f"/v1/nodes/rb/traits/{T2}", NEW)
    s("PUT", n, NEW, body={"target": "clean", "runbook": "fresh", "clean_steps": [{"interface": "deploy", "step": "x"}]})
    s("PUT", n, NEW, body={"target": "provide", "runbook": "fresh"})
    s("PUT", n, NEW, body={"target": "provide", "runbook": "fresh", "clean_steps": [{"interface": "deploy", "step": "x"}]})
    s("PUT", n, NEW, body={"target": "service", "runbook": "fresh"})
    s("DELETE", "/v1/nodes/rb", NEW)

    for ident in ["fresh", "owned", "free.name~1", "owned"]:
        s("DELETE", f"{r}/{ident}", NEW)
    s("GET", r, NEW)
    s.save()


def rules():
    s = Story("inspection_rules")
    i = "/v1/inspection_rules"
    # upstream's links lead to /v1/inspection, which does not exist
    links = {"differs": ["links", "next"]}
    log = {"op": "log", "args": {"msg": "x"}}
    s("GET", i, ["1.1", "1.95"])
    s("GET", i, ["1.96", NEW])
    s("GET", f"{i}/{uuid(41)}", ["1.95", "1.96", NEW])
    s("POST", i, ["1.95", "1.96"], body={})
    s("PATCH", f"{i}/{uuid(41)}", ["1.95", "1.96"], body=[])
    s("DELETE", f"{i}/{uuid(41)}", ["1.95", "1.96", NEW])
    s("PUT", i, NEW, body={})
    s("DELETE", i, NEW, ours={"status": 405})

    def body(**more):
        return {"actions": [log], **more}

    for bad in [[], 5, body(actions=[]), body(actions={}), body(actions=[5]), body(actions=[{}]), body(actions=[{"op": "log"}]),
                body(actions=[{"op": "nosuch", "args": {}}]), body(actions=[{"op": "log", "args": 5}]),
                body(actions=[{"op": "log", "args": {"msg": "x"}, "loop": 5}]),
                body(conditions={}), body(conditions=[{"op": "eq"}]), body(conditions=[{"op": "nosuch", "args": {}}]),
                body(conditions=[{"op": "! eq", "args": {}}]),
                body(conditions=[{"op": "eq", "args": {"values": [1, 1]}, "multiple": "x"}]),
                body(priority=-1), body(priority=10000), body(priority="x"), body(priority=None), body(priority=1.5), body(priority=True),
                body(phase="nosuch"), body(phase=None), body(phase="x" * 17), body(phase=5), body(phase="nosuch", priority=10000),
                body(sensitive="x"), body(description=5), body(description="x" * 256), body(nosuch=1), body(scope="x"), body(uuid=5)]:
        s("POST", i, NEW, body=bad)
    for bad in [body(actions=[{"op": "log", "args": {}}]), body(actions=[{"op": "log", "args": {"msg": "x", "nosuch": 1}}]),
                body(actions=[{"op": "set-attribute", "args": ["x"]}]),
                body(conditions=[{"op": "in-net", "args": {"adress": "x"}}]),
                ]:
        s("POST", i, NEW, body=bad, ours={"status": 400})
    s("POST", i, NEW, raw="null")
    # upstream answers 500 when conditions are absent, and has stored the rule all the same
    s("POST", i, NEW, body=body(uuid=uuid(44), sensitive=None), ours={"status": 201})
    s("DELETE", f"{i}/{uuid(44)}", NEW)
    s("POST", i, "1.96", body=body(uuid=uuid(41)), ours={"status": 201})
    s("POST", i, NEW, body={
        "uuid": uuid(42), "description": "d", "priority": 9999, "phase": "main",
        "conditions": [{"op": "!eq", "args": {"values": ["{node.driver}", "x"]}},
                       {"op": "one-of", "args": {"value": "{item}", "values": ["a"]}, "loop": ["a", "b"], "multiple": "all"},
                       {"op": "is-true", "args": {"value": "{item}"}, "loop": ["a"], "nosuch": 1},
                       {"op": "eq", "args": {"values": [1, 1]}, "loop": [], "multiple": "all"},
                       {"op": "matches", "args": ["a", "b"]}],
        "actions": [{"op": "set-attribute", "args": {"path": "/extra/a", "value": "{item}"}, "loop": {"a": 1}, "nosuch": 1}, log,
                    {"op": "api-call", "args": {"url": "http://192.0.2.1", "timeout": 5}}]}, ours=links)
    s("POST", i, NEW, body=body(uuid=uuid(43), sensitive=True, conditions=[]), ours=links)
    s("POST", i, NEW, body=body(uuid=uuid(41)))
    for n in [41, 42, 43]:
        s("GET", f"{i}/{uuid(n)}", ["1.96", NEW], ours=links)
    s("GET", f"{i}/{uuid(43)}?fields=actions,uuid", NEW, ours=links)
    for query in ["fields=nosuch", "nosuch=1"]:
        s("GET", f"{i}/{uuid(41)}?{query}", NEW)
    s("GET", f"{i}/x", NEW)
    s("GET", i, ["1.96", NEW], ours=links)
    for query in ["detail=true", "detail=false", "fields=uuid", "limit=1", "limit=1&detail=true", f"marker={uuid(41)}",
                  "sort_dir=desc", "sort_key=priority", "sort_key=priority&sort_dir=desc", "sort_key=description", "phase=main"]:
        s("GET", f"{i}?{query}", NEW, ours=links)
    for query in ["detail=x", "fields=uuid&detail=true", "fields=nosuch", f"marker={uuid(99)}", "marker=x", "limit=0", "limit=x", "sort_dir=x",
                  "sort_key=actions", "sort_key=conditions", "sort_key=nosuch", "nosuch=1"]:
        s("GET", f"{i}?{query}", NEW)

    u = f"{i}/{uuid(42)}"
    for patch in [{}, [{"op": "add", "path": "/nosuch", "value": 1}], [{"op": "replace", "path": "/nosuch", "value": 1}],
                  [{"op": "remove", "path": "/actions"}], [{"op": "replace", "path": "/actions", "value": []}],
                  [{"op": "replace", "path": "/priority", "value": -1}], [{"op": "replace", "path": "/priority", "value": 10000}],
                  [{"op": "replace", "path": "/phase", "value": "x"}], [{"op": "replace", "path": "/actions/0/op", "value": "x"}],
                  [{"op": "replace", "path": "/conditions/0/op", "value": "x"}], [{"op": "remove", "path": "/actions/7"}],
                  [{"op": "add", "path": "x", "value": 1}]]:
        s("PATCH", u, NEW, body=patch)
    for patch in [[], [{"op": "replace", "path": "/priority", "value": 7}], [{"op": "replace", "path": "/description", "value": "e"}],
                  [{"op": "remove", "path": "/description"}], [{"op": "replace", "path": "/conditions", "value": []}],
                  [{"op": "add", "path": "/actions/-", "value": log}],
                  [{"op": "replace", "path": "/sensitive", "value": False}], [{"op": "replace", "path": "/sensitive", "value": True}]]:
        s("PATCH", u, NEW, body=patch, ours=links)
    s("PATCH", u, NEW, body=[{"op": "replace", "path": "/sensitive", "value": False}])
    s("PATCH", u, NEW, body=[{"op": "replace", "path": "/uuid", "value": uuid(49)}], ours={"status": 400})
    s("PATCH", f"{i}/x", NEW, body=[])
    s("PATCH", f"{i}/{uuid(99)}", NEW, body=[])
    for n in [41, 42, 49, 43, 43]:
        call("DELETE", f"{i}/{uuid(n)}", NEW) if n in (42, 49) else s("DELETE", f"{i}/{uuid(n)}", NEW)
    s("DELETE", f"{i}/x", NEW)
    s.save()


for story in (allocations, templates, runbooks, rules):
    story()
