#!/usr/bin/env bash
# Makes sure that redis-server is on PATH: the tests run against a real one.
# Where it cannot be installed this says what to do and goes on; the tests that
# need it are then skipped.
set -euo pipefail

if command -v redis-server >/dev/null; then
	exit 0
fi
if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
	echo 'redis-server is not on PATH: installing it' >&2
	export DEBIAN_FRONTEND=noninteractive
	if apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server >&2; then
		exit 0
	fi
fi
cat >&2 <<'TEXT'
redis-server is not on PATH and was not installed: the tests that need it are skipped.
Install version 7 or later (Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis).
TEXT
