package tasks_test

import (
	"testing"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/tasks"
)

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"provider":"acme","ids":["a","b"]}`, `{"id":"a","rejected_generation":7}`,
		`{"provider":"acme","slot":900,"resume":1}`, `{"subscription":"ui","lane":3}`,
		`null`, `[]`, `{"ids":[null]}`, "\xff\x00", `{"lane":1e400}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if b, err := tasks.DecodeBatch(payload); err != nil {
			require.ErrorIs(t, err, asynq.SkipRetry)
		} else if _, err := tasks.NewBatch(0, b); err != nil {
			t.Fatalf("decoded a batch that cannot be made: %v", err)
		}
		if s, err := tasks.DecodeSingle(payload); err != nil {
			require.ErrorIs(t, err, asynq.SkipRetry)
		} else if _, err := tasks.NewSingle(s); err != nil {
			t.Fatalf("decoded a single that cannot be made: %v", err)
		}
		if s, err := tasks.DecodeSweep(payload); err != nil {
			require.ErrorIs(t, err, asynq.SkipRetry)
		} else if _, err := tasks.NewSlot(s, 0); err != nil && s.Slot != 0 {
			t.Fatalf("decoded a sweep that cannot be made: %v", err)
		}
		if d, err := tasks.DecodeDelivery(payload); err != nil {
			require.ErrorIs(t, err, asynq.SkipRetry)
		} else if d.Lane < 0 {
			t.Fatal("decoded a negative lane")
		}
	})
}
