package harness

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const block = "id: %d\nevent: credential.refreshed\ndata: {\"id\":\"alice/%d\",\"type\":\"credential.refreshed\",\"data\":{\"credential\":\"alice\",\"version\":%d}}\n\n"

// A stream whose server dies in the middle of an event has cut it off, and not
// spoilt it; a whole one that cannot be read is a fault.
func TestAStreamThatIsCutOff(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	var cursor atomic.Value
	spoilt := make(chan struct{})
	base := Serve(t, ServeHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch calls.Add(1) {
		case 1:
			_, _ = fmt.Fprintf(w, block, 1, 1, 1)
			whole := fmt.Sprintf(block, 2, 2, 2)
			_, _ = w.Write([]byte(whole[:len(whole)-20]))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case 2:
			cursor.Store(r.Header.Get("Last-Event-ID"))
			_, _ = fmt.Fprintf(w, block, 2, 2, 2)
		case 3:
			<-spoilt
			_, _ = fmt.Fprint(w, "id: 3\nevent: credential.refreshed\ndata: {\n\n")
		default:
			<-r.Context().Done()
			return
		}
		_ = http.NewResponseController(w).Flush()
	})))
	api := NewAPI(t, base, "key")
	f := Follow(t, func() *API { return api })
	require.Eventually(t, func() bool { return f.Last("alice") == 2 }, time.Minute, Look)
	assert.Len(t, f.Seen(), 2)
	assert.Equal(t, "1", cursor.Load())
	assert.Empty(t, f.Faults())
	close(spoilt)
	require.Eventually(t, func() bool { return len(f.Faults()) == 1 }, time.Minute, Look)
}
