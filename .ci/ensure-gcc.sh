#!/usr/bin/env bash
# Makes sure that a C compiler with its headers is there: Go's race detector
# needs one. Where it cannot be installed this says what to do and goes on; the
# tests then run without the race detector.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if ./has-cc.sh; then
	exit 0
fi
if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
	echo 'no working C compiler: installing gcc' >&2
	export DEBIAN_FRONTEND=noninteractive
	if apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev >&2 && ./has-cc.sh; then
		exit 0
	fi
fi
cat >&2 <<'TEXT'
No working C compiler was found or installed: the tests run without the race detector.
Install gcc and the C library's headers (Debian, Ubuntu: apt-get install gcc libc6-dev).
TEXT
