package credential_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestMillisAndTime(t *testing.T) {
	t.Parallel()
	moment := time.Date(2027, 3, 1, 13, 5, 6, 789_999_999, time.FixedZone("", 3600))
	m := credential.At(moment)
	assert.Equal(t, credential.Millis(1_803_902_706_789), m)
	assert.Equal(t, time.Date(2027, 3, 1, 12, 5, 6, 789_000_000, time.UTC), m.Time())
	assert.Zero(t, credential.At(time.Time{}))
	assert.True(t, credential.Millis(0).Time().IsZero())
}

func TestMillisArithmetic(t *testing.T) {
	t.Parallel()
	assert.Equal(t, noon+1500, noon.Add(1500*time.Millisecond))
	assert.Equal(t, noon+1, noon.Add(1999*time.Microsecond))
	assert.Equal(t, noon-1, noon.Add(-1999*time.Microsecond))
	assert.Equal(t, 20*time.Minute, noon.Sub(issued))
	assert.Equal(t, -20*time.Minute, issued.Sub(noon))
}

// A duration holds 292 years: an expiry in the year 9999 must not come out as
// one long past.
func TestMillisSubSaturates(t *testing.T) {
	t.Parallel()
	const year9999 = credential.Millis(253_402_300_799_000)
	assert.Equal(t, time.Duration(math.MaxInt64), year9999.Sub(issued))
	assert.Equal(t, time.Duration(math.MinInt64), issued.Sub(year9999))
	assert.Equal(t, time.Duration(math.MaxInt64), credential.Millis(math.MaxInt64).Sub(-1))
	assert.Equal(t, time.Duration(math.MinInt64), credential.Millis(math.MinInt64).Sub(1))
	const most = math.MaxInt64 / int64(time.Millisecond)
	assert.Equal(t, time.Duration(most)*time.Millisecond, credential.Millis(most).Sub(0))
	assert.Equal(t, time.Duration(math.MaxInt64), credential.Millis(most+1).Sub(0))
}
