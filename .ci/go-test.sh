#!/usr/bin/env bash
# go-test.sh MODULE ARGUMENT...: runs `go test ARGUMENT...` in the module that
# lies in the folder MODULE.
#
# With the race detector where there is a C compiler, unless REFRESHD_NO_RACE is
# set, and with Redis required where there is a redis-server: a test that needs
# it then fails and never skips.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

module=$1
shift
if [[ -z ${REFRESHD_NO_RACE:-} ]] && .ci/has-cc.sh; then
	export CGO_ENABLED=1
	set -- -race "$@"
else
	export CGO_ENABLED=0
fi
if command -v redis-server >/dev/null; then
	export REFRESHD_REQUIRE_REDIS=1
fi
cd "${module}"
echo "+ (cd ${module} && go test $*)"
exec go test "$@"
