"""Schedules for the daily report: a systemd service and timer, a line for cron, a task for Windows; made for a configuration."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from maillog_forensics.daily.config import Config

KINDS = ("systemd", "cron", "windows")
USER = "maillog-forensics"


def files(kind: str, config: Config, path: Path) -> dict[str, str]:
    """Names and texts of the files of a schedule.

    Parameters
    ----------
    kind
        One of `KINDS`.
    path
        Of the configuration file.
    """
    program = _program()
    if kind == "systemd":
        return {"maillog-forensics.service": _service(config, path, program), "maillog-forensics.timer": _TIMER}
    if kind == "cron":
        return {"maillog-forensics.cron": _cron(path, program)}
    return {"maillog-forensics.xml": _task(path, program)}


def _program() -> str:
    """How this program is called: by its full name, since a schedule has no PATH to speak of."""
    beside = Path(sys.executable).with_name("maillog-forensics.exe" if os.name == "nt" else "maillog-forensics")
    return str(beside if beside.exists() else Path("/usr/local/bin/maillog-forensics"))


def _service(config: Config, path: Path, program: str) -> str:
    mail = config.mail
    sends = bool(mail.to)
    folders = {config.archive, config.folder, *([config.report.prometheus.parent] if config.report.prometheus else [])}
    by_program = sends and mail.transport == "sendmail"
    lines = [
        "# Made by 'maillog-forensics schedule systemd'; make it again when the configuration changes its folders or its mail.",
        "[Unit]",
        "Description=Daily report on mail loops and the mail servers' operations",
        "Documentation=man:systemd.exec(5)",
        *(["Wants=network-online.target", "After=network-online.target"] if sends and not by_program else []),
        "",
        "[Service]",
        "Type=oneshot",
        f"User={USER}",
        f"Group={USER}",
        "# Debian's and Ubuntu's mail logs can be read by this group",
        "SupplementaryGroups=adm",
        f"ExecStart={program} daily --config {path}",
        "# 10: an incident that search.fail_on names was found; the report is made",
        "SuccessExitStatus=10",
        "Nice=10",
        "IOSchedulingClass=idle",
        "TimeoutStartSec=6h",
        "UMask=0027",
        "",
        "ProtectSystem=strict",
        *(f"ReadWritePaths={folder}" for folder in sorted(folders)),
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "ProtectHostname=yes",
        "ProtectClock=yes",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "ProtectProc=invisible",
        "ProcSubset=pid",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        "MemoryDenyWriteExecute=yes",
        "RemoveIPC=yes",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "SystemCallErrorNumber=EPERM",
    ]
    if by_program:
        lines += [
            "# sendmail gets its rights from its group (setgid postdrop), and writes to its own queue",
            "NoNewPrivileges=no",
            "ReadWritePaths=-/var/spool/postfix -/var/spool/exim4 -/var/log/exim4",
            "RestrictAddressFamilies=AF_UNIX AF_NETLINK",
        ]
    elif sends:
        lines += ["NoNewPrivileges=yes", "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"]
        if mail.host in ("localhost", "127.0.0.1", "::1"):
            lines += ["IPAddressDeny=any", "IPAddressAllow=localhost"]
    else:
        lines += [
            "# no mail is sent: no network at all",
            "NoNewPrivileges=yes",
            "PrivateNetwork=yes",
            "IPAddressDeny=any",
            "RestrictAddressFamilies=AF_UNIX",
        ]
    return "\n".join(lines) + "\n"


_TIMER = """[Unit]
Description=Every morning: the daily report on mail

[Timer]
OnCalendar=*-*-* 05:30:00
RandomizedDelaySec=15min
# a machine that was off catches up, one page for each day
Persistent=true

[Install]
WantedBy=timers.target
"""


def _cron(path: Path, program: str) -> str:
    return (
        f"# /etc/cron.d/maillog-forensics: the daily report on mail, as user {USER} (a member of group adm)\n"
        "# words go to MAILTO only when something is wrong: --quiet\n"
        f"30 5 * * * {USER} {shlex.quote(program)} daily --quiet --config {shlex.quote(str(path))}\n"
    )


def _task(path: Path, program: str) -> str:
    """For an Exchange server: schtasks /Create /XML FILE /TN maillog-forensics."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>Daily report on mail loops and the mail servers' operations</Description>
  </RegistrationInfo>
  <Triggers>
    <CalendarTrigger>
      <StartBoundary>2026-01-01T05:30:00</StartBoundary>
      <Enabled>true</Enabled>
      <RandomDelay>PT15M</RandomDelay>
      <ScheduleByDay>
        <DaysInterval>1</DaysInterval>
      </ScheduleByDay>
    </CalendarTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>S-1-5-19</UserId>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <ExecutionTimeLimit>PT6H</ExecutionTimeLimit>
    <Priority>8</Priority>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{escape(program)}</Command>
      <Arguments>daily --quiet --config "{escape(str(path))}"</Arguments>
    </Exec>
  </Actions>
</Task>
"""
