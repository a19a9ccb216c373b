package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Tail is the append-only file of a redis-server of version 7 and later, as
// far as it was written since the start: what a power cut may take away.
type Tail struct {
	path string
}

var errTail = errors.New("harness: no append-only file of Redis 7")

// NewTail finds the file in the server's folder.
func NewTail(dir string) (*Tail, error) {
	found, err := filepath.Glob(filepath.Join(dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("%w in %s", errTail, dir)
	}
	return &Tail{path: found[len(found)-1]}, nil
}

// Size is how long the file is now.
func (t *Tail) Size() (int64, error) {
	info, err := os.Stat(t.path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Cut takes away what was written after size, from the end of the last whole
// transaction before it on, as a power cut may do between two syncs. The
// server must not be running. It returns how many bytes are gone.
func (t *Tail) Cut(size int64) (int64, error) {
	data, err := os.ReadFile(t.path)
	if err != nil {
		return 0, err
	}
	end, err := lastWhole(data, size)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", t.path, err)
	}
	return int64(len(data)) - end, os.Truncate(t.path, end)
}

// lastWhole is the end of the last whole transaction in data that does not
// reach beyond size.
func lastWhole(data []byte, size int64) (int64, error) {
	r := bufio.NewReader(bytes.NewReader(data))
	var at, whole int64
	open := false
	for {
		command, n, err := readCommand(r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return whole, nil
		}
		if err != nil {
			return 0, fmt.Errorf("at byte %d: %w", at, err)
		}
		at += n
		switch strings.ToUpper(command) {
		case "MULTI":
			open = true
		case "EXEC":
			open = false
		}
		if at > size {
			return whole, nil
		}
		if !open {
			whole = at
		}
	}
}

// readCommand reads one command of the append-only file (the Redis protocol:
// an array of bulk strings, annotations begin with #) and returns its name and
// length.
func readCommand(r *bufio.Reader) (name string, length int64, err error) {
	count, length, err := readCount(r, '*')
	if err != nil || count < 0 {
		return "", length, err
	}
	for i := range count {
		size, n, err := readCount(r, '$')
		if err != nil {
			return "", 0, unexpected(err)
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(r, word); err != nil {
			return "", 0, unexpected(err)
		}
		if i == 0 {
			name = string(word[:size])
		}
		length += n + size + 2
	}
	return name, length, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readCount reads a line such as "*3"; an annotation counts as -1.
func readCount(r *bufio.Reader, kind byte) (count, length int64, err error) {
	line, err := r.ReadString('\n')
	switch {
	case err != nil && line != "":
		return 0, 0, io.ErrUnexpectedEOF
	case err != nil:
		return 0, 0, err
	case line[0] == '#':
		return -1, int64(len(line)), nil
	case line[0] != kind:
		return 0, 0, fmt.Errorf("%q where %q was expected", line[0], kind)
	}
	count, err = strconv.ParseInt(strings.TrimSpace(line[1:]), 10, 64)
	return count, int64(len(line)), err
}
