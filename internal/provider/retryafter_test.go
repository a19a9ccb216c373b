package provider_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		after, date string
		want        time.Duration
	}{
		"none":                 {"", "", 0},
		"seconds":              {"120", "", 2 * time.Minute},
		"zero":                 {"0", "", 0},
		"an hour":              {"3600", "", time.Hour},
		"more":                 {"3601", "", time.Hour + time.Second},
		"a day":                {"86400", "", 24 * time.Hour},
		"more than a day":      {"86401", "", 24 * time.Hour},
		"much more":            {"1000000000", "", 24 * time.Hour},
		"no int64":             {"99999999999999999999", "", 24 * time.Hour},
		"negative":             {"-1", "", 0},
		"a fraction":           {"1.5", "", 0},
		"words":                {"soon", "", 0},
		"a date":               {"Tue, 01 Jan 2030 12:01:00 GMT", "", time.Minute},
		"a date in hours":      {"Tue, 01 Jan 2030 17:00:00 GMT", "", 5 * time.Hour},
		"an old date":          {"Tue, 01 Jan 2030 11:59:00 GMT", "", 0},
		"a far date":           {"Tue, 01 Jan 2130 12:00:00 GMT", "", 24 * time.Hour},
		"by the server's time": {"Mon, 01 Jan 2001 00:00:30 GMT", "Mon, 01 Jan 2001 00:00:00 GMT", 30 * time.Second},
		"an unreadable Date":   {"Tue, 01 Jan 2030 12:01:00 GMT", "now", time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			h.Set("Retry-After", test.after)
			h.Set("Date", test.date)
			assert.Equal(t, test.want, provider.RetryAfter(h, now))
		})
	}
}

// FuzzRetryAfter: whatever a provider asks for lies between now and a day,
// and whole seconds up to that are taken as they are.
func FuzzRetryAfter(f *testing.F) {
	f.Add("120", "", int64(1_893_499_200))
	f.Add("Tue, 01 Jan 2030 12:01:00 GMT", "Tue, 01 Jan 2030 12:00:00 GMT", int64(0))
	f.Add("-1", "now", int64(-1))
	f.Fuzz(func(t *testing.T, after, date string, now int64) {
		h := http.Header{"Retry-After": {after}, "Date": {date}}
		got := provider.RetryAfter(h, time.Unix(now, 0))
		assert.GreaterOrEqual(t, got, time.Duration(0))
		assert.LessOrEqual(t, got, credential.MaxRetryAfter)
		if seconds, err := strconv.ParseUint(after, 10, 16); err == nil {
			assert.Equal(t, time.Duration(seconds)*time.Second, got)
		}
	})
}
