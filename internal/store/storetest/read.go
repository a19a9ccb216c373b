package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

func walkAll(b *bundle) {
	want := map[credential.ID]bool{}
	for i, id := range ids(120) {
		b.fresh(id)
		want[id] = true
		if i%10 == 0 {
			b.apply(credential.Delete(b.load(id), newNonce(), b.now))
			delete(want, id)
		}
	}
	b.due("open")
	attempt := b.begun("open").Attempt
	want["open"] = true
	require.NoError(b, b.Client.Del(b.ctx, b.key("open", "ids"), b.key("open", "due:"+provider)).Err(), "it does not need the indexes")
	b.apply(credential.Connect(nil, credential.Login{ID: "elsewhere", Provider: "other", Token: token("x")}, b.policy, newNonce(), b.now))

	got := map[credential.ID]bool{}
	for id, h := range b.walk(provider) {
		got[id] = true
		assert.True(b, h.Token.Refresh.IsZero())
		if id == "open" {
			assert.Equal(b, attempt, h.Attempt)
		}
	}
	assert.Equal(b, want, got)
	assert.Len(b, b.walk(""), len(want)+1)
}

// walk walks to the end.
func (b *bundle) walk(provider string) map[credential.ID]credential.Held {
	b.Helper()
	got := map[credential.ID]credential.Held{}
	cursor := ""
	for range 1000 {
		part, next, err := b.store.Walk(b.ctx, provider, cursor, 20)
		require.NoError(b, err)
		for _, h := range part {
			got[h.Record.ID] = h
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	require.Empty(b, cursor, "it has an end")
	return got
}

func walkCursor(b *bundle) {
	for _, cursor := range []string{"x", "-1:0", "0:x", "0", "100:0", "0:-1"} {
		_, _, err := b.store.Walk(b.ctx, provider, cursor, 10)
		assert.ErrorIs(b, err, store.ErrBadCursor, cursor)
	}
}

func listPages(b *bundle) {
	var want []credential.ID
	for i := range 75 {
		id := credential.ID(fmt.Sprintf("%c%03d", "aZ09z"[i%5], i))
		b.fresh(id)
		want = append(want, id)
	}
	slices.Sort(want)
	for _, limit := range []int{1, 10, 74, 75, 76, 500} {
		var got []credential.ID
		cursor := ""
		for {
			page, next, err := b.store.List(b.ctx, store.Filter{}, cursor, limit)
			require.NoError(b, err)
			for _, h := range page {
				got = append(got, h.Record.ID)
			}
			if next == "" {
				break
			}
			require.Len(b, page, limit, "only the last page is short")
			cursor = next
		}
		assert.Equal(b, want, got, "in pages of %d", limit)
	}
}

func listFilters(b *bundle) {
	for i, id := range ids(30) {
		login := credential.Login{
			ID: id, Provider: []string{"acme", "other"}[i%2], Token: token("x"), ExpiresIn: time.Hour,
			Labels: map[string]string{"team": []string{"red", "blue", "green"}[i%3], "n": fmt.Sprint(i)},
		}
		b.apply(credential.Connect(nil, login, b.policy, newNonce(), b.now))
		if i%5 == 0 {
			b.apply(credential.Logout(b.load(id), newNonce(), b.now))
		}
	}
	for name, tt := range map[string]struct {
		filter store.Filter
		want   int
	}{
		"all":                {store.Filter{}, 30},
		"a provider":         {store.Filter{Provider: "acme"}, 15},
		"a state":            {store.Filter{State: credential.StateLoggedOut}, 6},
		"a label":            {store.Filter{Labels: map[string]string{"team": "red"}}, 10},
		"two labels":         {store.Filter{Labels: map[string]string{"team": "red", "n": "3"}}, 1},
		"a label nobody has": {store.Filter{Labels: map[string]string{"color": ""}}, 0},
		"a prefix":           {store.Filter{Prefix: "user-001"}, 10},
		"everything":         {store.Filter{Provider: "acme", State: credential.StateActive, Prefix: "user-00", Labels: map[string]string{"team": "blue"}}, 4},
	} {
		var got []credential.ID
		cursor := ""
		for {
			page, next, err := b.store.List(b.ctx, tt.filter, cursor, 3)
			require.NoError(b, err, name)
			for _, h := range page {
				got = append(got, h.Record.ID)
			}
			if cursor = next; cursor == "" {
				break
			}
			require.Len(b, page, 3, name)
		}
		assert.Len(b, got, tt.want, name)
		assert.True(b, slices.IsSorted(got), name)
	}
}

func listSubject(b *bundle) {
	for i, id := range ids(40) {
		login := credential.Login{ID: id, Provider: provider, Subject: fmt.Sprintf("u-%d", i%4), Token: token("x"), ExpiresIn: time.Hour}
		if i%4 == 3 {
			login.Subject = ""
		}
		b.apply(credential.Connect(nil, login, b.policy, newNonce(), b.now))
		if i%5 == 0 { // somebody's, as far as anybody can tell
			require.NoError(b, b.Client.HSet(b.ctx, b.credKey(id), "h", "garbage").Err())
		}
	}
	for subject, want := range map[string]int{"u-1": 8, "u-2": 8, "u-3": 0, "u": 0, "u-10": 0} {
		got, cursor := 0, ""
		for {
			page, next, err := b.store.List(b.ctx, store.Filter{Subject: subject}, cursor, 3)
			require.NoError(b, err, "whose a record is that cannot be read cannot be told")
			for _, h := range page {
				assert.Equal(b, subject, h.Record.Subject)
			}
			got += len(page)
			if cursor = next; cursor == "" {
				break
			}
			require.Len(b, page, 3)
			assert.Equal(b, page[2].Record.ID, credential.ID(cursor), "a cursor names none of another's")
		}
		assert.Equal(b, want, got, subject)
	}
}

func listCursor(b *bundle) {
	for _, cursor := range []string{"{x}", "a b", "\xff"} {
		_, _, err := b.store.List(b.ctx, store.Filter{}, cursor, 10)
		require.ErrorIs(b, err, store.ErrBadCursor)
	}
	_, _, err := b.store.List(b.ctx, store.Filter{}, "", 0)
	require.Error(b, err)
}

// listUnreadable: what cannot be read is told in the page where it stands, and
// hides none of the others.
func listUnreadable(b *bundle) {
	var want, wantBad []credential.ID
	for i, id := range ids(150) {
		b.fresh(id)
		switch i % 4 {
		case 1:
			require.NoError(b, b.Client.HSet(b.ctx, b.credKey(id), "h", "somebody else's").Err())
		case 3:
			require.NoError(b, b.Client.Set(b.ctx, b.credKey(id), "somebody else's", 0).Err())
		default:
			want = append(want, id)
			continue
		}
		wantBad = append(wantBad, id)
	}
	for _, limit := range []int{1, 7, 64, 149, 150, 500} {
		var got, gotBad []credential.ID
		cursor := ""
		for {
			page, next, err := b.store.List(b.ctx, store.Filter{}, cursor, limit)
			var bad []credential.ID
			if err != nil {
				items := new(store.ItemsError)
				require.ErrorAs(b, err, &items)
				assert.NotContains(b, err.Error(), "somebody")
				bad = items.Failed()
			}
			for _, h := range page {
				got = append(got, h.Record.ID)
			}
			gotBad = append(gotBad, bad...)
			if next == "" {
				break
			}
			require.Equal(b, limit, len(page)+len(bad), "only the last page is short")
			cursor = next
		}
		assert.Equal(b, want, got, "in pages of %d", limit)
		assert.Equal(b, wantBad, gotBad, "in pages of %d", limit)
	}
}

func eventsOrder(b *bundle) {
	id := credential.ID("alice")
	shard := b.store.ShardOf(id)
	end, err := b.store.LastEvent(b.ctx, shard)
	require.NoError(b, err)
	assert.Equal(b, "0", end)
	w := b.login(id, 50*time.Minute)
	b.apply(w)
	install := b.install(b.begun(id), credential.Token{Access: credential.NewSecret("x"), Scope: "less"})
	require.Len(b, install.Events, 2, "refreshed, and the scope changed")
	b.apply(install)
	entries, err := b.store.Events(b.ctx, shard, "0", 10, 0)
	require.NoError(b, err)
	require.Len(b, entries, 3)
	want := []credential.Event{w.Events[0], install.Events[0], install.Events[1]}
	for i, entry := range entries {
		if len(want[i].Last) == 0 {
			want[i].Last = nil
		}
		assert.Equal(b, want[i], entry.Event)
		assert.GreaterOrEqual(b, entry.At, b.now)
		assert.LessOrEqual(b, entry.At, b.clock())
	}
	end, err = b.store.LastEvent(b.ctx, shard)
	require.NoError(b, err)
	assert.Equal(b, entries[2].Position, end)
	rest, err := b.store.Events(b.ctx, shard, entries[0].Position, 1, 0)
	require.NoError(b, err)
	assert.Equal(b, entries[1:2], rest)
	rest, err = b.store.Events(b.ctx, shard, end, 10, time.Millisecond)
	require.NoError(b, err)
	assert.Empty(b, rest)
	_, err = b.store.Events(b.ctx, -1, end, 10, 0)
	require.Error(b, err)
}

func eventsBlock(b *bundle) {
	id := credential.ID("alice")
	type answer struct {
		entries []credential.LogEntry
		err     error
	}
	got := make(chan answer)
	go func() {
		for {
			entries, err := b.store.Events(b.ctx, b.store.ShardOf(id), "0", 10, time.Second)
			if err != nil || len(entries) > 0 {
				got <- answer{entries, err}
				return
			}
		}
	}()
	b.fresh(id)
	a := <-got
	require.NoError(b, a.err)
	require.Len(b, a.entries, 1)
	assert.Equal(b, credential.EventConnected, a.entries[0].Event.Type)
}

func eventsUnreadable(b *bundle) {
	b.fresh("alice")
	key := b.key("alice", "events")
	for _, values := range [][]string{{"e", "\x09newer"}, {"e", ""}, {"other", "x"}} {
		require.NoError(b, b.Client.XAdd(b.ctx, &redis.XAddArgs{Stream: key, Values: values}).Err())
	}
	b.apply(credential.Logout(b.load("alice"), newNonce(), b.now))
	entries, err := b.store.Events(b.ctx, b.store.ShardOf("alice"), "0", 10, 0)
	require.NoError(b, err)
	require.Len(b, entries, 5)
	for _, entry := range entries[1:4] {
		assert.Zero(b, entry.Event)
		assert.NotEmpty(b, entry.Position)
		assert.NotZero(b, entry.At)
	}
	assert.Equal(b, credential.EventLoggedOut, entries[4].Event.Type)
}

func eventsTrim(b *bundle) {
	id := credential.ID("alice")
	shard, key := b.store.ShardOf(id), b.key(id, "events")
	from, err := b.store.TrimmedTo(b.ctx, shard)
	require.NoError(b, err)
	assert.Equal(b, "0", from)
	// One entry a minute, ten minutes long.
	first := int64(b.now) - 3_600_000
	for i := range 10 {
		require.NoError(b, b.Client.XAdd(b.ctx, &redis.XAddArgs{
			Stream: key, ID: fmt.Sprintf("%d-0", first+int64(i)*60_000), Values: []string{"e", "x"},
		}).Err())
	}
	n, err := b.store.TrimEvents(b.ctx, credential.Millis(first+4*60_000))
	require.NoError(b, err)
	assert.Equal(b, int64(4), n)
	from, err = b.store.TrimmedTo(b.ctx, shard)
	require.NoError(b, err)
	assert.Equal(b, fmt.Sprintf("%d-0", first+3*60_000), from)
	entries, err := b.store.Events(b.ctx, shard, "0", 100, 0)
	require.NoError(b, err)
	assert.Len(b, entries, 6)
	n, err = b.store.TrimEvents(b.ctx, b.now)
	require.NoError(b, err)
	assert.Equal(b, int64(6), n)
	end, err := b.store.LastEvent(b.ctx, shard)
	require.NoError(b, err)
	assert.Equal(b, fmt.Sprintf("%d-0", first+9*60_000), end, "an empty log still knows where it ends")
	n, err = b.store.TrimEvents(b.ctx, b.now)
	require.NoError(b, err)
	assert.Zero(b, n)
}
