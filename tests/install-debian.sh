#!/bin/sh
# What some tests start for real: a browser, Java for the cluster, and the peers that our figures are compared with. Without root or apt those tests skip.
set -u
need=""
command -v pdftotext >/dev/null 2>&1 || need="$need poppler-utils"
command -v chromium >/dev/null 2>&1 || need="$need chromium"
command -v pflogsumm >/dev/null 2>&1 || need="$need pflogsumm"
command -v exigrep >/dev/null 2>&1 || need="$need exim4-base"
command -v logrotate >/dev/null 2>&1 || need="$need logrotate"
command -v openssl >/dev/null 2>&1 || need="$need openssl"
command -v systemd-analyze >/dev/null 2>&1 || need="$need systemd"
command -v java >/dev/null 2>&1 || need="$need openjdk-17-jre-headless"
[ -n "$need" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed:$need (tests that need them will skip)"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends $need >/dev/null || echo "could not install:$need (tests that need them will skip)"
exit 0
