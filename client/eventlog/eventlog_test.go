package eventlog_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
	"github.com/refreshd/refreshd/client/eventlog"
)

// stored is an entry as it stands in a log; that every entry is read as the
// service itself reads it is tested in internal/store.
const stored = "\x01ads" + "\x9f\x86\xd0\x81\x88\x4c\x7d\x65\x9a\x2f\xea\xa0\xc5\x5a\xd0\x15" +
	"\x02rc" + "\x0cgithub:alice" + "\x07" + "\x80\xfa\x99\x89\xe3\x68" + "\x00" + "\x06github" + "\x03u-7" +
	"\x01\x04team\x04blue" + "\x02\x02co\x01\x01d\x06"

func TestDecode(t *testing.T) {
	t.Parallel()
	event, err := eventlog.Decode("urn:refreshd:e", "1800000000000-3", stored)
	require.NoError(t, err)
	text, err := json.Marshal(event)
	require.NoError(t, err)
	assert.JSONEq(t, `{
		"specversion": "1.0", "id": "github:alice/7/9f86d081", "source": "urn:refreshd:e", "type": "credential.recovered",
		"subject": "github:alice", "time": "2027-01-15T08:00:00Z", "datacontenttype": "application/json",
		"data": {"credential": "github:alice", "provider": "github", "user": "u-7", "labels": {"team": "blue"}, "state": "active",
			"previous_state": "degraded", "initiated_by": "schedule", "version": 7, "previous_version": 6, "expires_at": "2027-01-15T09:00:00Z"}}`, string(text))

	var same client.Event
	require.NoError(t, json.Unmarshal(text, &same), "programs that use the SDK as well have one type for both")
	assert.Equal(t, event.ID, same.ID)
	assert.EqualValues(t, 6, same.PreviousVersion)
	assert.Equal(t, time.UnixMilli(1_800_003_600_000).UTC(), same.ExpiresAt)
}

func TestDecodeRefusals(t *testing.T) {
	t.Parallel()
	for n := range len(stored) {
		_, err := eventlog.Decode("urn:x", "1-1", stored[:n])
		require.ErrorIs(t, err, eventlog.ErrMalformed, "cut off after %d bytes", n)
	}
	for name, c := range map[string]struct {
		id, stored string
		want       error
	}{
		"more than an entry":   {"1-1", stored + "\x00", eventlog.ErrMalformed},
		"a later form":         {"1-1", "\x03" + stored[1:], eventlog.ErrUnknown},
		"a state of later":     {"1-1", strings.Replace(stored, "ads", "zds", 1), eventlog.ErrUnknown},
		"a previous state":     {"1-1", strings.Replace(stored, "ads", "azs", 1), eventlog.ErrUnknown},
		"an initiator":         {"1-1", strings.Replace(stored, "ads", "adz", 1), eventlog.ErrUnknown},
		"a type of later":      {"1-1", strings.Replace(stored, "\x02rc", "\x02zz", 1), eventlog.ErrUnknown},
		"a length of 2⁶⁴":      {"1-1", strings.Replace(stored, "\x0cgithub", strings.Repeat("\xff", 10)+"\x0cgithub", 1), eventlog.ErrMalformed},
		"no ID":                {"", stored, eventlog.ErrMalformed},
		"a negative ID":        {"-1-1", stored, eventlog.ErrMalformed},
		"an ID that is no one": {"$", stored, eventlog.ErrMalformed},
		"an ID beyond time":    {"9223372036854775808-0", stored, eventlog.ErrMalformed},
	} {
		_, err := eventlog.Decode("urn:x", c.id, c.stored)
		require.ErrorIs(t, err, c.want, name)
	}
}

func TestMissed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		last, trimmed string
		want          bool
	}{
		{"5-1", "", false},
		{"5-1", "5-1", false},
		{"5-1", "5-0", false},
		{"5-1", "4-9", false},
		{"5-1", "5-2", true},
		{"5-9", "5-10", true},
		{"9-1", "10-0", true},
		{"0-0", "1-0", true},
		{"0", "1-0", true},
	} {
		missed, err := eventlog.Missed(c.last, c.trimmed)
		require.NoError(t, err)
		assert.Equal(t, c.want, missed, "%s, trimmed %s", c.last, c.trimmed)
	}
	for _, pair := range [][2]string{{"x", "1-0"}, {"1-0", "x"}, {"1-0", "1-x"}} {
		_, err := eventlog.Missed(pair[0], pair[1])
		require.ErrorIs(t, err, eventlog.ErrMalformed)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("1800000000000-3", stored)
	f.Add("1-1", "\x02\x00\x00s"+strings.Repeat("\x01", 60))
	f.Fuzz(func(t *testing.T, id, entry string) {
		event, err := eventlog.Decode("urn:x", id, entry)
		if err != nil {
			return
		}
		require.NotEmpty(t, event.ID)
		require.NotEmpty(t, event.Type)
		require.NotEmpty(t, event.Data.InitiatedBy)
	})
}

// A program that only decodes gets nothing beyond the standard library.
func TestDependencies(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
	out, err := list.Output()
	require.NoError(t, err)
	assert.Equal(t, []string{"github.com/refreshd/refreshd/client/eventlog"}, strings.Fields(string(out)))
}
