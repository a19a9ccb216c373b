package rig

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
)

// Machine is what the figures were taken on.
type Machine struct {
	Cores     int     `json:"cores"`
	MemoryGiB float64 `json:"memory_gib"` // 0 where it is unknown
	Go        string  `json:"go"`
	Redis     string  `json:"redis"`
}

// ThisMachine looks at the machine and its redis-server, which is needed.
func ThisMachine(ctx context.Context) (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), MemoryGiB: memoryGiB("/proc/meminfo")}
	out, err := exec.CommandContext(ctx, "redis-server", "--version").Output()
	if err != nil {
		return m, fmt.Errorf("redis-server is needed: %w", err)
	}
	m.Redis = redisVersion(string(out))
	return m, nil
}

// redisVersion finds the version in what redis-server --version prints.
func redisVersion(out string) string {
	if found := regexp.MustCompile(`\bv=(\S+)`).FindStringSubmatch(out); found != nil {
		return found[1]
	}
	return "unknown"
}

// memoryGiB reads the size of the memory from a file such as /proc/meminfo.
func memoryGiB(path string) float64 {
	file, err := os.Open(path) //nolint:gosec // a constant of the caller
	if err != nil {
		return 0
	}
	defer file.Close() //nolint:errcheck // only read from
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var kib float64
		if n, _ := fmt.Sscanf(lines.Text(), "MemTotal: %f kB", &kib); n == 1 {
			return kib / (1 << 20)
		}
	}
	return 0
}
