#!/usr/bin/env bash
# Makes sure that a Chromium is on PATH: the example's web page is looked at in
# a real browser. Where it cannot be installed this says what to do and goes on;
# the test that needs it is then skipped.
set -euo pipefail

if command -v chromium >/dev/null; then
	exit 0
fi
if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
	echo 'chromium is not on PATH: installing it' >&2
	export DEBIAN_FRONTEND=noninteractive
	if apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >&2; then
		exit 0
	fi
fi
cat >&2 <<'TEXT'
chromium is not on PATH and was not installed: the test of the web page is skipped.
Install it as root (Debian: apt-get install chromium).
TEXT
