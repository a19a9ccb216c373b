package redisconn

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // for the script
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
)

// ours is the prefix of what a snapshot holds. The queue's keys are hints and
// start empty.
const ours = "rd:*"

//go:embed snapshot.lua
var snapshotScript string

// snapshot is all of our keys as of one moment.
type snapshot struct {
	Keys []snapshotKey
}

// snapshotKey is one key. Values are, by Type: hash field, value, …; zset
// member, score, …; set and list members; the one value of a string.
type snapshotKey struct {
	Key, Type string
	ExpiresAt int64 // Unix milliseconds; 0 for never
	Values    []string
	Entries   []snapshotEntry // of a stream
}

type snapshotEntry struct {
	ID     string
	Fields []string
}

// takeSnapshot reads the whole store in one script, so that a record, its
// place in the index and its events belong together.
func takeSnapshot(ctx context.Context, client *redis.Client) (snapshot, error) {
	reply, err := client.Eval(ctx, snapshotScript, nil, ours).Slice()
	if err != nil {
		return snapshot{}, fmt.Errorf("read the store out: %w", err)
	}
	now := time.Now().UnixMilli()
	snap := snapshot{Keys: make([]snapshotKey, 0, len(reply))}
	for _, row := range reply {
		key, err := readKey(row, now)
		if err != nil {
			return snapshot{}, err
		}
		snap.Keys = append(snap.Keys, key)
	}
	return snap, nil
}

var errRow = errors.New("the store was read out in an unknown shape")

func readKey(row any, now int64) (snapshotKey, error) {
	cells, ok := row.([]any)
	if !ok || len(cells) != 4 {
		return snapshotKey{}, errRow
	}
	name, okName := cells[0].(string)
	kind, okKind := cells[1].(string)
	ttl, okTTL := cells[2].(int64)
	values, okValues := cells[3].([]any)
	if !okName || !okKind || !okTTL || !okValues {
		return snapshotKey{}, errRow
	}
	key := snapshotKey{Key: name, Type: kind}
	if ttl >= 0 {
		key.ExpiresAt = now + ttl
	}
	var err error
	if kind == "stream" {
		key.Entries, err = readEntries(values)
	} else {
		key.Values, err = texts(values)
	}
	return key, err
}

func readEntries(values []any) ([]snapshotEntry, error) {
	entries := make([]snapshotEntry, 0, len(values))
	for _, v := range values {
		pair, ok := v.([]any)
		if !ok || len(pair) != 2 {
			return nil, errRow
		}
		id, okID := pair[0].(string)
		fields, okFields := pair[1].([]any)
		if !okID || !okFields {
			return nil, errRow
		}
		list, err := texts(fields)
		if err != nil {
			return nil, err
		}
		entries = append(entries, snapshotEntry{ID: id, Fields: list})
	}
	return entries, nil
}

func texts(values []any) ([]string, error) {
	list := make([]string, 0, len(values))
	for _, v := range values {
		s, ok := v.(string)
		if !ok {
			return nil, errRow
		}
		list = append(list, s)
	}
	return list, nil
}

// The file is a line with the format's number, the SHA-256 of the rest, and
// the snapshot in gob.
const snapshotMagic = "refreshd snapshot 1\n"

func encodeSnapshot(snap snapshot) ([]byte, error) {
	var body bytes.Buffer
	if err := gob.NewEncoder(&body).Encode(snap); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body.Bytes())
	return bytes.Join([][]byte{[]byte(snapshotMagic), sum[:], body.Bytes()}, nil), nil
}

func decodeSnapshot(data []byte) (snapshot, error) {
	body, ok := bytes.CutPrefix(data, []byte(snapshotMagic))
	if !ok || len(body) < sha256.Size {
		return snapshot{}, errors.New("it is not a snapshot of this version")
	}
	sum, body := body[:sha256.Size], body[sha256.Size:]
	if want := sha256.Sum256(body); !bytes.Equal(sum, want[:]) {
		return snapshot{}, errors.New("its checksum does not match its content")
	}
	var snap snapshot
	if err := gob.NewDecoder(bytes.NewReader(body)).Decode(&snap); err != nil {
		return snapshot{}, err
	}
	return snap, nil
}

// readSnapshot reads the file and returns its checksum in hex with it. One
// that cannot be read is an error and not an empty store: starting without the
// credentials would look like a success.
func readSnapshot(path string) (snap snapshot, sum string, err error) {
	data, err := os.ReadFile(path) //nolint:gosec // made of data_dir, which the operator sets
	if err != nil {
		return snapshot{}, "", fmt.Errorf("snapshot: %w", err)
	}
	snap, err = decodeSnapshot(data)
	if err != nil {
		return snapshot{}, "", fmt.Errorf("%s cannot be used: %w; move it away to start empty", path, err)
	}
	whole := sha256.Sum256(data)
	return snap, hex.EncodeToString(whole[:]), nil
}

// replaceFile replaces the file in one step; a crash leaves the old or the new
// content.
func replaceFile(path string, data []byte) error {
	next := path + ".next"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // made of data_dir, which the operator sets
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path) //nolint:gosec // made of data_dir, which the operator sets
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
