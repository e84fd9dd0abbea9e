"""How a script pings: the line for the crontab, and the same in the words of other programs."""

from typing import NamedTuple

# Kubernetes takes 63 characters, and adds eleven to the name of a CronJob for each of its jobs.
_LONGEST_JOB_NAME = 52


class Recipe(NamedTuple):
    """Lines to copy, and what they are for."""

    title: str
    about: str
    lines: str


def ping_recipes(url: str, slug: str | None, schedule: str | None, timezone: str) -> list[Recipe]:
    """The lines for this ping URL, on the pipeline's schedule; without one at two in the morning."""
    when = schedule or "0 2 * * *"
    return [
        Recipe(
            "crontab, with curl",
            f"$? is the exit status: 0 is success. cron goes by the clock of its machine, the schedule by {timezone}.",
            f"{when} {_CURL} {url}/start; ./load.sh; {_CURL} {url}/$?",
        ),
        Recipe(
            "crontab, with wget", "The end alone: how long it took is not known.", f"{when} ./load.sh; {_WGET} {url}/$?"
        ),
        Recipe(
            "crontab, with watcher run",
            "The same with output and duration; nothing is lost while Watcher is away.",
            f"{when} WATCHER_PING_URL={url} watcher run -- ./load.sh",
        ),
        Recipe("Python", "Numbers and the watermark are sent as JSON.", _PYTHON.format(url=url)),
        Recipe("PowerShell", "For the Task Scheduler of Windows.", _POWERSHELL.format(url=url)),
        Recipe(
            "Kubernetes CronJob",
            "The image needs a shell and curl.",
            _CRON_JOB.format(url=url, name=_job_name(slug), when=when, timezone=timezone, curl=_CURL),
        ),
    ]


def _job_name(slug: str | None) -> str:
    return (slug or "").replace("_", "-").strip("-")[:_LONGEST_JOB_NAME].strip("-") or "load"


_CURL = "curl -fsS -m 10 --retry 5 -o /dev/null"
_WGET = "wget -q -T 10 -t 5 -O /dev/null"

_PYTHON = """
import json
import urllib.request

url = "{url}"
urllib.request.urlopen(f"{{url}}/start", timeout=10)
inserts = load()
report = json.dumps({{"inserts": inserts, "watermark": "2026-01-03"}}).encode()
headers = {{"Content-Type": "application/json"}}
urllib.request.urlopen(urllib.request.Request(url, report, headers), timeout=10)
""".strip()

_POWERSHELL = """
$url = "{url}"
Invoke-RestMethod "$url/start" -TimeoutSec 10
.\\load.exe
if ($LASTEXITCODE) {{ $url = "$url/fail" }}
Invoke-RestMethod $url -Method Post -TimeoutSec 10
""".strip()

_CRON_JOB = """
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {name}
spec:
  schedule: "{when}"
  timeZone: {timezone}
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: load
              image: your/image
              env:
                - name: PING_URL
                  value: {url}
              command: [sh, -c, './load.sh; S=$?; {curl} $PING_URL/$S; exit $S']
""".strip()
