#!/usr/bin/env bash
# Makes sure that node and tsc are on PATH: the TypeScript example is checked by
# the one and run by the other. Where they cannot be installed this says what to
# do and goes on; the test that needs them is then skipped.
set -euo pipefail

if command -v node >/dev/null && command -v tsc >/dev/null; then
	exit 0
fi
if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
	echo 'node or tsc is not on PATH: installing them' >&2
	export DEBIAN_FRONTEND=noninteractive
	if apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs node-typescript >&2; then
		exit 0
	fi
fi
cat >&2 <<'TEXT'
node or tsc is not on PATH and was not installed: the test of the TypeScript example is skipped.
Install Node 18 or later and TypeScript as root (Debian: apt-get install nodejs node-typescript).
TEXT
