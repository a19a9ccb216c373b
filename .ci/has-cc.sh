#!/usr/bin/env bash
# Succeeds if Go's C compiler works. One without the C library's headers is of
# no use to the race detector, so this compiles something.
set -euo pipefail

cc=$(go env CC)
printf '#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n' |
	${cc} -x c -o /dev/null - 2>/dev/null
