#!/usr/bin/env python3
"""Lets schemathesis attack a service by the OpenAPI document that it serves.

    properties.py URL OUT EXAMPLES PHASES     OUT gets JSON: "operations" that were tested and that there are, "cases",
                                              "failures" (a list of lines)

EXAMPLES are the generated requests of each operation; PHASES are of schemathesis: coverage, fuzzing. Of every answer is asked: no 500, a status and a content type that are described, a body as described. The seed is fixed.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def main():
    url, out, examples, phases = sys.argv[1].rstrip("/"), *sys.argv[2:5]
    here = pathlib.Path(__file__).resolve().parent
    report = pathlib.Path(out).with_suffix(".report.json")
    program = pathlib.Path(sys.executable).parent / "schemathesis"
    run = subprocess.run(
        [str(program), "run", f"{url}/v1/openapi.json", "--url", url, "--checks", CHECKS, "--seed", "1",
         "--max-examples", examples, "--phases", phases, "--mode", "all", "--continue-on-failure", "--no-shrink",
         "--suppress-health-check", "all", "--request-timeout", "30", "--warnings", "off", "--no-color",
         "--report", "json", "--report-json-path", str(report)],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "properties_hooks", "PYTHONPATH": str(here), "BESSEMER_URL": url},
        capture_output=True, text=True)
    pathlib.Path(out).with_suffix(".log").write_text(run.stdout + run.stderr)
    # 0: nothing found, 1: failures; anything else is not a result
    if run.returncode not in (0, 1) or "Traceback" in run.stderr:
        raise SystemExit(f"schemathesis ended with {run.returncode}:\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}")
    failures = read(run.stdout)
    if run.returncode == 1 and not failures:
        failures = ["schemathesis failed without saying where:\n" + run.stdout[-3000:]]
    seen = json.loads(report.read_text())
    if seen["test_cases"]["errored"] or seen["operations"]["errored"] or seen["errors"]:
        failures.append(f"schemathesis itself failed: {seen['errors']}")
    with open(out, "w") as file:
        json.dump({"tested": seen["operations"]["tested"], "operations": seen["operations"]["total"],
                   "cases": seen["test_cases"]["generated"], "failures": failures}, file, indent=1)


def read(text):
    """Each failure in one line."""
    lines = text.splitlines()
    failures, block, title = [], [], None
    for line in lines:
        heading = re.match(r"_{3,} (.+) _{3,}$", line)
        if heading:
            title = heading.group(1)
        elif re.match(r"\d+\. Test Case ID", line) or line.startswith("====="):
            if block:
                failures.append(" ".join(" ".join(block).split())[:1500])
            block = [title or ""] if line[0].isdigit() else []
        elif block:
            block.append(line)
    if block:
        failures.append(" ".join(" ".join(block).split())[:1500])
    return failures


if __name__ == "__main__":
    main()
